"""The gateway before a real vLLM on the CPU: what passes through, what is counted, what stops, what is in force."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from taut.engines.openai import OpenAIEngine
from taut.methods.output_based.thinking import NATIVE_SLACK_TOKENS
from tests.engines.servers import Server
from tests.gateway import real
from tests.gateway.conftest import Serve
from tests.gateway.real import GREEDY, QUESTION, Counted
from tests.gateway.scripts import ADD_TOOL

anthropic: Any = pytest.importorskip("anthropic", reason="the package anthropic is not installed")
pytestmark = pytest.mark.vllm

BUDGET: dict[str, Any] = {"extra_body": {"thinking_token_budget": 5}}
BUDGET_TOKENS = 5


@pytest.fixture
async def engine(vllm_server: Server) -> AsyncIterator[OpenAIEngine]:
    """As `taut serve` opens it: nobody has said that it keeps a budget by itself."""
    made = await OpenAIEngine.open(vllm_server.url, max_retries=0)
    yield made
    await made.close()


@pytest.fixture
async def native(engine: OpenAIEngine, vllm_server: Server) -> AsyncIterator[OpenAIEngine]:
    """The operator has said that it does."""
    offers = tuple(sorted({*engine.offers, "thinking_budget"}))
    made = await OpenAIEngine.open(vllm_server.url, max_retries=0, offers=offers)
    yield made
    await made.close()


@pytest.fixture
def look(vllm_server: Server) -> real.Look:
    async def counted() -> Counted:
        names = ("generation_tokens_total", "prompt_tokens_total", "num_requests_running", "num_requests_waiting")
        completion, prompt, running, waiting = await real.metrics(vllm_server.url, *(f"vllm:{name}" for name in names))
        return Counted(completion, prompt, running + waiting, completion)

    return counted


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("asked", [{"messages": QUESTION}, {"prompt": "One, two, three,"}], ids=["chat", "raw"])
async def test_the_engines_own_model_passes_through_byte_for_byte(
    serve: Serve, engine: OpenAIEngine, vllm_server: Server, stream: bool, asked: dict[str, Any]
) -> None:
    request = {"model": engine.model, "stream": stream, "max_tokens": 8, **GREEDY, **asked}
    async with serve(engine) as url:
        through = await real.body(url, **request)
    assert through == await real.body(vllm_server.url, **request)
    assert len(through) > 100


async def ask(url: str, model: str, *, stream: bool, **request: Any) -> tuple[str, str, Any]:
    """Thinking, answer, and the reply or chunk that has the counts."""
    if stream:
        found = await real.chunks(url, model, **request)
        return real.joined(found, "reasoning"), real.joined(found, "content"), found[-1]
    reply = await real.whole(url, model, **request)
    message = reply.choices[0].message
    return getattr(message, "reasoning", None) or "", message.content or "", reply


@pytest.mark.parametrize("stream", [False, True])
async def test_the_loop_keeps_a_budget_exactly_and_counts_as_the_engine_does(
    serve: Serve, engine: OpenAIEngine, look: real.Look, stream: bool
) -> None:
    before = await real.idle(look)
    async with serve(engine) as url:
        thinking, answer, reply = await ask(url, engine.model, stream=stream, max_tokens=20, **BUDGET)
    counted = await real.spent(look, before)
    told = reply.taut
    assert (told["budget"]["mechanism"], told["calls"], told["budget"]["kept"]) == ("loop", 2, True)
    assert told["tokens"]["thinking"] == BUDGET_TOKENS
    assert thinking.strip()
    assert answer.strip()
    assert "think>" not in thinking + answer
    assert told["tokens"]["total"] == reply.usage.completion_tokens == counted.completion
    assert told["tokens"]["prompt"] == reply.usage.prompt_tokens == counted.prompt


@pytest.mark.parametrize("stream", [False, True])
async def test_the_servers_own_budget_takes_one_call_and_counts_as_the_engine_does(
    serve: Serve, native: OpenAIEngine, look: real.Look, stream: bool
) -> None:
    before = await real.idle(look)
    async with serve(native) as url:
        thinking, answer, reply = await ask(url, native.model, stream=stream, max_tokens=24, **BUDGET)
    counted = await real.spent(look, before)
    told = reply.taut
    assert (told["budget"]["mechanism"], told["calls"], told["budget"]["kept"]) == ("native", 1, True)
    assert 0 < told["tokens"]["thinking"] <= BUDGET_TOKENS + NATIVE_SLACK_TOKENS
    assert answer.strip()
    assert "think>" not in thinking + answer
    assert told["tokens"]["total"] == reply.usage.completion_tokens == counted.completion
    assert told["tokens"]["prompt"] == reply.usage.prompt_tokens == counted.prompt


async def test_thinking_that_is_switched_off_costs_nothing(serve: Serve, engine: OpenAIEngine) -> None:
    async with serve(engine) as url:
        thinking, answer, reply = await ask(url, engine.model, stream=True, max_tokens=8, reasoning_effort="none")
    assert (thinking, reply.taut["tokens"]["thinking"]) == ("", 0)
    assert answer.strip()


LEAVING = {
    # The first call of this preset ends after 4 tokens: whoever has seen answer text is in the second one.
    "second call": {"model": "budget_forcing(4)", "stream": True, "after": "content"},
    "first call": {"model": "budget_forcing(1400)", "stream": True, "after": "reasoning"},
    "whole, second call": {"model": "budget_forcing(4)", "stream": False},
    "passing": {"model": "smollm2-think", "stream": True, "after": "content"},
    "whole, passing": {"model": "smollm2-think", "stream": False},
}


@pytest.mark.parametrize("how", LEAVING.values(), ids=LEAVING)
async def test_a_client_that_leaves_stops_the_engine(
    serve: Serve, engine: OpenAIEngine, look: real.Look, how: dict[str, Any]
) -> None:
    before = await real.idle(look)
    async with serve(engine) as url:
        await real.leave(url, **how)
        counted = await real.spent(look, before)
    assert 0 < counted.completion < real.ENDLESS["max_tokens"]


async def test_a_client_that_leaves_under_the_servers_own_budget_stops_the_engine(
    serve: Serve, native: OpenAIEngine, look: real.Look
) -> None:
    before = await real.idle(look)
    async with serve(native) as url:
        await real.leave(url, native.model, stream=True, after="reasoning", reasoning_effort="low")
        counted = await real.spent(look, before)
    assert 0 < counted.completion < real.ENDLESS["max_tokens"]


@pytest.mark.parametrize("asked", [BUDGET, {"reasoning_effort": "none"}], ids=["budget", "off"])
@pytest.mark.parametrize("keeps_budgets", [False, True], ids=["loop", "native"])
async def test_an_answer_in_a_form_has_that_form_and_its_thought_is_free_of_it(
    serve: Serve, engine: OpenAIEngine, native: OpenAIEngine, keeps_budgets: bool, asked: dict[str, Any]
) -> None:
    found = native if keeps_budgets else engine
    async with serve(found) as url:
        thinking, answer, _ = await ask(
            url, found.model, stream=True, max_tokens=60, response_format=real.SUM_FORMAT, **asked
        )
    assert list(json.loads(answer)) == ["sum"]
    assert "{" not in thinking


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["smollm2-think", "concise"])
async def test_a_tool_call_comes_whole_however_it_is_asked_for(
    serve: Serve, engine: OpenAIEngine, model: str, stream: bool
) -> None:
    forced: Any = {"tools": [ADD_TOOL], "tool_choice": {"type": "function", "function": {"name": "add"}}}
    async with serve(engine) as url:
        if stream:
            found = await real.chunks(url, model, max_tokens=80, **forced)
            calls = [call for chunk in found for choice in chunk.choices for call in choice.delta.tool_calls or ()]
        else:
            calls = (await real.whole(url, model, max_tokens=80, **forced)).choices[0].message.tool_calls
    assert [call.function.name for call in calls if call.function.name] == ["add"]
    assert json.loads("".join(call.function.arguments or "" for call in calls))


async def test_anthropics_and_the_responses_route_show_the_thought_and_the_answer(
    serve: Serve, engine: OpenAIEngine
) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": BUDGET_TOKENS}
    async with serve(engine) as url, real.client(url) as ours:
        async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as theirs:
            ask_for: Any = theirs.messages.create
            # Greedy: a thought that was drawn may be nothing but line breaks.
            greedy: Any = {"max_tokens": 20, "thinking": thinking, "extra_body": {"temperature": 0}}
            message = await ask_for(model=engine.model, messages=QUESTION, **greedy)
        response = await ours.responses.create(
            model=engine.model, input="What is 17 + 25?", max_output_tokens=20, temperature=0, **BUDGET
        )
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[1].text.strip()
    assert message.usage.output_tokens_details.thinking_tokens == BUDGET_TOKENS
    assert response.output_text.strip()
    assert response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens == BUDGET_TOKENS
