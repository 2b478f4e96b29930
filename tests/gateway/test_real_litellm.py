"""LiteLLM's Python client against the gateway: as an OpenAI-compatible server, and as Anthropic's."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.engines.fake_upstream import MODEL, Reply
from tests.gateway import scripts
from tests.gateway.conftest import Serve
from tests.gateway.scripts import ANSWER, QUESTION, THINKING

# LiteLLM's own use of pydantic is warned about by pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
USAGE = {"include_usage": True}


@pytest.fixture
async def litellm(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The module, which otherwise fetches prices from the internet, prints advice, and keeps its sockets open."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    module = pytest.importorskip("litellm", reason="the package litellm is not installed")
    monkeypatch.setattr(module, "suppress_debug_info", True)
    yield module
    for kept in list(module.in_memory_llm_clients_cache.cache_dict.values()):
        closing = kept.close()
        if inspect.isawaitable(closing):
            await closing
    module.in_memory_llm_clients_cache.flush_cache()


def asked(url: str, model: str = "concise", **fields: Any) -> dict[str, Any]:
    """The arguments of a call over the OpenAI protocol, without retries."""
    common = {"api_base": f"{url}/v1", "api_key": "sk-test", "max_retries": 0, "num_retries": 0}
    return {"model": f"openai/{model}", "messages": QUESTION, **common, **fields}


def asked_as_anthropic(url: str, **fields: Any) -> dict[str, Any]:
    """The same over Anthropic's protocol."""
    common = {"api_base": url, "api_key": "sk-test", "num_retries": 0, "max_tokens": 4000}
    return {"model": "anthropic/concise", "messages": QUESTION, **common, **fields}


async def streamed(litellm: Any, call: dict[str, Any]) -> tuple[list[Any], Any]:
    """All chunks, and the reply that LiteLLM puts together from them."""
    chunks = [chunk async for chunk in await litellm.acompletion(stream=True, **call)]
    return chunks, litellm.stream_chunk_builder(chunks)


async def test_a_whole_reply_has_answer_reasoning_and_counts(serve: Serve, litellm: Any) -> None:
    async with serve(scripts.thinker()) as url:
        reply = await litellm.acompletion(**asked(url))
    message = reply.choices[0].message
    assert (message.content, message.reasoning_content) == (ANSWER, THINKING)
    assert reply.usage.completion_tokens == 9
    assert reply.usage.completion_tokens_details.reasoning_tokens == 6
    assert reply.taut["tokens"]["thinking"] == 6


async def test_a_stream_adds_up_to_the_same(serve: Serve, litellm: Any) -> None:
    async with serve(scripts.thinker()) as url:
        chunks, reply = await streamed(litellm, asked(url, stream_options=USAGE))
    message = reply.choices[0].message
    assert (message.content, message.reasoning_content) == (ANSWER, THINKING)
    assert reply.choices[0].finish_reason == "stop"
    counts = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    assert [usage.completion_tokens for usage in counts] == [9]
    assert counts[0].completion_tokens_details.reasoning_tokens == 6


@pytest.mark.parametrize("fields", [{}, {"stream_options": USAGE}])
async def test_the_receipt_of_a_stream_is_on_a_chunk_that_litellm_keeps(
    serve: Serve, litellm: Any, fields: dict[str, Any]
) -> None:
    async with serve(scripts.thinker()) as url:
        chunks, _ = await streamed(litellm, asked(url, **fields))
    receipts = [chunk.taut for chunk in chunks if getattr(chunk, "taut", None)]
    assert [receipt["tokens"]["thinking"] for receipt in receipts] == [6]


async def test_a_budget_reaches_the_gateway(serve: Serve, litellm: Any) -> None:
    async with serve(scripts.thinker()) as url:
        by_number = await litellm.acompletion(**asked(url, thinking_token_budget=3))
        by_effort = await litellm.acompletion(
            **asked(url, reasoning_effort="low", allowed_openai_params=["reasoning_effort"])
        )
    assert by_number.taut["budget"]["thinking_tokens"] == 3
    assert by_effort.taut["budget"]["thinking_tokens"] == 1024


@pytest.mark.parametrize("model", [MODEL, "concise"])
async def test_a_streamed_tool_call_arrives_whole(serve: Serve, litellm: Any, model: str) -> None:
    async with scripts.upstream(scripts.tool_called()) as (server, engine), serve(engine) as url:
        _, reply = await streamed(litellm, asked(url, model, tools=[scripts.ADD_TOOL]))
    (call,) = reply.choices[0].message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "add", scripts.ARGUMENTS)
    assert reply.choices[0].finish_reason == "tool_calls"
    assert server.calls[-1].body["tools"] == [scripts.ADD_TOOL]


async def test_a_picture_arrives_upstream(serve: Serve, litellm: Any) -> None:
    async with scripts.upstream(scripts.reasoned()) as (server, engine), serve(engine) as url:
        await litellm.acompletion(**asked(url, messages=scripts.LOOKING))
    assert scripts.LOOKING[0]["content"][1] in server.calls[-1].body["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (scripts.refused(429), "RateLimitError"),
        (scripts.refused(400), "BadRequestError"),
        (scripts.refused(503), "ServiceUnavailableError"),
    ],
)
async def test_errors_are_litellms_own_classes(serve: Serve, litellm: Any, reply: Reply, error: str) -> None:
    async with scripts.upstream(reply) as (_, engine), serve(engine) as url:
        for model in (MODEL, "concise"):
            with pytest.raises(getattr(litellm, error)):
                await litellm.acompletion(**asked(url, model))


async def test_a_name_that_is_not_known_is_not_found(serve: Serve, litellm: Any) -> None:
    async with serve(scripts.thinker()) as url:
        with pytest.raises(litellm.NotFoundError, match="did you mean 'concise'"):
            await litellm.acompletion(**asked(url, "concis"))


async def test_an_upstream_that_dies_on_the_way_raises(serve: Serve, litellm: Any) -> None:
    async with scripts.upstream(scripts.broken_off()) as (_, engine), serve(engine) as url:
        with pytest.raises(litellm.ServiceUnavailableError, match=r"cut|broke|ended"):
            await streamed(litellm, asked(url))


async def test_anthropics_protocol_works_whole_and_streamed(serve: Serve, litellm: Any) -> None:
    async with serve(scripts.thinker()) as url:
        whole = await litellm.acompletion(**asked_as_anthropic(url))
        _, pieces = await streamed(litellm, asked_as_anthropic(url))
    for reply in (whole, pieces):
        message = reply.choices[0].message
        assert (message.content, message.reasoning_content) == (ANSWER, THINKING)
        assert reply.usage.completion_tokens == 9


async def test_the_responses_route_works(serve: Serve, litellm: Any) -> None:
    async with serve(scripts.thinker()) as url:
        response = await litellm.aresponses(
            model="openai/concise", api_base=f"{url}/v1", api_key="sk-test", input="What is 1 + 2?"
        )
    assert response.output[-1].content[0].text == ANSWER
    assert response.usage.output_tokens_details.reasoning_tokens == 6
