"""The gateway in front of llama.cpp itself: nothing is changed on the way, counted twice, or left running."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from taut.engines.embedded import open_engine
from taut.engines.openai import OpenAIEngine
from tests.engines.servers import Server, serve_llama
from tests.gateway import processes, real
from tests.gateway.conftest import Serve
from tests.gateway.real import GREEDY, QUESTION, Counted

anthropic: Any = pytest.importorskip("anthropic", reason="the package anthropic is not installed")
pytestmark = pytest.mark.embedded

SHORT: dict[str, Any] = {"max_tokens": 12, **GREEDY, "extra_body": {"cache_prompt": False}}
CAPPED = "budget_forcing"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""Opens a thought; llama.cpp does not recognise that, and leaves the tags in the text."""


@pytest.fixture
async def engine(llama_server: Server) -> AsyncIterator[OpenAIEngine]:
    made = await OpenAIEngine.open(llama_server.url, server="llamacpp", max_retries=0)
    yield made
    await made.close()


@pytest.fixture
def look(llama_server: Server) -> real.Look:
    return lambda: looked(llama_server)


async def looked(server: Server) -> Counted:
    names = ("tokens_predicted_total", "prompt_tokens_total", "prompt_tokens_cached_total", "n_decode_total")
    found = await real.metrics(server.url, *(f"llamacpp:{name}" for name in (*names, "requests_processing")))
    completion, computed, cached, steps, running = found
    return Counted(completion, computed + cached, running, steps)


@pytest.fixture(scope="module")
def thinking_server() -> Iterator[Server]:
    """llama.cpp with a template that opens a thought."""
    with serve_llama(TEMPLATE) as server:
        yield server


@pytest.fixture
async def thinker(thinking_server: Server) -> AsyncIterator[OpenAIEngine]:
    opened = {"chat_template_kwargs": {"enable_thinking": True}, "temperature": 0}
    made = await OpenAIEngine.open(thinking_server.url, server="llamacpp", dialect="qwen3", body=opened)
    yield made
    await made.close()


ASKED = pytest.mark.parametrize("asked", [{"messages": QUESTION}, {"prompt": "One, two, three,"}], ids=["chat", "raw"])


@ASKED
async def test_a_stream_of_the_engines_own_model_passes_through_byte_for_byte(
    serve: Serve, engine: OpenAIEngine, llama_server: Server, asked: dict[str, Any]
) -> None:
    request = {"model": engine.model, "stream": True, **SHORT, **asked}
    async with serve(engine) as url:
        through = await real.body(url, **request)
    assert through == await real.body(llama_server.url, **request)
    assert len(through) > 100


@ASKED
@pytest.mark.parametrize("further", [{}, {"logprobs": 2, "n": 1}, {"n": 2}], ids=["plain", "logprobs", "n"])
async def test_a_whole_reply_of_the_engines_own_model_says_what_the_engine_says(
    serve: Serve, engine: OpenAIEngine, llama_server: Server, asked: dict[str, Any], further: dict[str, Any]
) -> None:
    # Put together from the stream, because this server goes on when the client of an unstreamed call has left.
    if "messages" in asked and "logprobs" in further:
        further = {"logprobs": True, "top_logprobs": 2}
    request = {"model": engine.model, **SHORT, **asked, **further}
    async with serve(engine) as url:
        through = json.loads(await real.body(url, unmasked=True, **request))
    direct = json.loads(await real.body(llama_server.url, unmasked=True, **request))
    for document in (through, direct):
        for key in ("id", "created", "timings"):
            document.pop(key)
        document["usage"].pop("prompt_tokens_details")
        for choice in document["choices"]:
            entries = (choice.get("logprobs") or {}).get("content") or []
            if entries and not entries[-1]["token"]:
                entries.pop()  # the end token, which a stream leaves out
            for entry in entries:
                entry.pop("logprob")
                entry.pop("top_logprobs", None)
    assert through == direct


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["direct", "budget_forcing(6)", "concise"])
async def test_the_receipt_and_the_usage_are_what_the_engine_has_counted(
    serve: Serve, engine: OpenAIEngine, look: real.Look, model: str, stream: bool
) -> None:
    before = await real.idle(look)
    async with serve(engine) as url:
        ask = real.chunks if stream else real.whole
        found: Any = await ask(url, model, max_tokens=24)
        reply = found[-1] if stream else found
    counted = await real.spent(look, before)
    assert reply.taut["tokens"]["total"] == reply.usage.completion_tokens == counted.completion
    assert reply.taut["tokens"]["prompt"] == reply.usage.prompt_tokens == counted.prompt
    assert reply.taut["calls"] == (2 if model == "budget_forcing(6)" else 1)
    assert set(reply.taut["tokens"]["source"].values()) <= {"reported", "counted"}


async def test_a_model_without_tags_thinks_as_many_tokens_as_it_may_and_then_answers(
    serve: Serve, engine: OpenAIEngine
) -> None:
    async with serve(engine) as url:
        found = await real.chunks(url, "budget_forcing(6)", max_tokens=24)
    told = found[-1].taut
    assert (told["budget"]["thinking_tokens"], told["budget"]["mechanism"]) == (6, "loop")
    assert told["budget"]["kept"] is True
    assert told["tokens"]["thinking"] == 6
    assert real.joined(found, "reasoning").strip()
    assert real.joined(found, "content").strip()


LEAVING = {
    # The first call of this preset ends after 4 tokens: whoever has seen answer text is in the second one.
    "second call": {"model": "budget_forcing(4)", "stream": True, "after": "content"},
    "first call": {"model": "budget_forcing(1400)", "stream": True, "after": "reasoning"},
    "direct": {"model": "direct", "stream": True, "after": "content"},
    "whole, second call": {"model": "budget_forcing(4)", "stream": False},
    "whole": {"model": "direct", "stream": False},
}


@pytest.mark.parametrize("how", LEAVING.values(), ids=LEAVING)
async def test_a_client_that_leaves_a_preset_stops_the_engine(
    serve: Serve, engine: OpenAIEngine, look: real.Look, how: dict[str, Any]
) -> None:
    before = await real.idle(look)
    async with serve(engine) as url:
        await real.leave(url, **how)
        counted = await real.spent(look, before)
    assert 0 < counted.completion < real.ENDLESS["max_tokens"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_a_reply_that_passes_through_stops_the_engine(
    serve: Serve, engine: OpenAIEngine, look: real.Look, stream: bool
) -> None:
    # Looking is itself work that would keep this server from noticing, if the call were not streamed upstream.
    before = await real.idle(look)
    async with serve(engine) as url:
        await real.leave(url, engine.model, stream=stream, after="content")
        counted = await real.spent(look, before)
    assert 0 < counted.completion < real.ENDLESS["max_tokens"]


@pytest.mark.parametrize("model", ["budget_forcing(6)", "direct", "no_thinking"])
async def test_an_answer_in_a_form_has_that_form_through_a_preset(
    serve: Serve, engine: OpenAIEngine, model: str
) -> None:
    async with serve(engine) as url:
        found = await real.chunks(url, model, max_tokens=60, response_format=real.SUM_FORMAT)
    assert list(json.loads(real.joined(found, "content"))) == ["sum"]


async def test_a_thought_is_free_of_the_answers_form(serve: Serve, thinker: OpenAIEngine) -> None:
    asked = {"response_format": real.SUM_FORMAT, "extra_body": {"thinking_token_budget": 5}}
    async with serve(thinker) as url:
        found = await real.chunks(url, thinker.model, max_tokens=60, **asked)
    assert "{" not in real.joined(found, "reasoning")
    assert list(json.loads(real.joined(found, "content"))) == ["sum"]


@pytest.mark.parametrize(
    ("asked", "thinking_tokens"),
    [({"extra_body": {"thinking_token_budget": 5}}, 5), ({"reasoning_effort": "none"}, 0)],
)
async def test_a_budget_holds_for_a_model_that_thinks_in_tags(
    serve: Serve, thinker: OpenAIEngine, asked: dict[str, Any], thinking_tokens: int
) -> None:
    async with serve(thinker) as url:
        reply = await real.whole(url, thinker.model, max_tokens=24, **asked)
    message = reply.choices[0].message
    assert reply.usage.completion_tokens_details.reasoning_tokens == thinking_tokens
    assert reply.taut["budget"]["kept"] is reply.taut["budget"]["enforced"] is True
    assert message.content.strip()
    assert "think>" not in message.content + (getattr(message, "reasoning", None) or "")


async def test_anthropics_and_the_responses_route_show_the_thought_and_the_answer(
    serve: Serve, thinker: OpenAIEngine
) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 5}
    async with serve(thinker) as url, real.client(url) as ours:
        async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as theirs:
            ask: Any = theirs.messages.create
            message = await ask(model=thinker.model, max_tokens=24, messages=QUESTION, thinking=thinking)
        extra: Any = {"thinking_token_budget": 5}
        response = await ours.responses.create(
            model=thinker.model, input="What is 17 + 25?", max_output_tokens=24, extra_body=extra
        )
    thought, text = message.content
    items = {item.type: item for item in response.output}
    assert thought.thinking == "".join(
        part.text for part in (*items["reasoning"].summary, *(items["reasoning"].content or []))
    )
    assert text.text == response.output_text != ""
    assert message.usage.output_tokens_details.thinking_tokens == 5
    assert response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens == 5


async def test_the_embedded_engine_is_served_with_nothing_to_configure(serve: Serve) -> None:
    engine = await open_engine(slots=1, context_tokens=512, threads=1)
    try:
        async with serve(engine) as url:
            found = await real.chunks(url, engine.model, max_tokens=4)
    finally:
        await engine.close()
    assert real.joined(found, "reasoning_content")
    assert found[-1].usage.completion_tokens == 4


async def test_taut_serve_on_the_embedded_engine_answers_and_ends_a_stream_in_good_order() -> None:
    async with processes.served("embedded") as gateway, real.client(gateway.url) as ours:
        names = [model.id async for model in ours.models.list()]
        own = next(name for name in names if name.startswith("tally"))
        assert {"direct", "budget_forcing", own} <= set(names)
        assert 20 < (await real.whole(gateway.url, "direct", max_tokens=40)).taut["tokens"]["total"] <= 40
        stream: Any = await ours.chat.completions.create(model=own, messages=QUESTION, stream=True, **SHORT)
        found = [await anext(stream)]
        gateway.signal(signal.SIGTERM)
        found += [chunk async for chunk in stream]
        assert found[-1].choices[0].finish_reason in ("stop", "length")
        assert await gateway.ended() == 0
    assert not any("Traceback" in line or "Warning" in line for line in gateway.errors)
