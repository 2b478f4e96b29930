"""LangChain's ChatOpenAI against the gateway. It shows no reasoning on the chat route, whatever the server sends."""

from __future__ import annotations

import functools
import operator
from typing import Any

import pytest

from tests.engines.fake_upstream import MODEL
from tests.gateway import scripts
from tests.gateway.conftest import Serve
from tests.gateway.scripts import ANSWER, THINKING

openai = pytest.importorskip("openai", reason="the package openai is not installed")
langchain = pytest.importorskip("langchain_openai", reason="the package langchain-openai is not installed")

QUESTION = "What is 1 + 2?"


def chat(url: str, model: str = "concise", **options: Any) -> Any:
    """No retries: a test wants to see the first error."""
    return langchain.ChatOpenAI(model=model, base_url=f"{url}/v1", api_key="sk-test", max_retries=0, **options)


async def streamed(model: Any, question: str = QUESTION) -> Any:
    """All chunks of a stream, added up as LangChain adds them."""
    return functools.reduce(operator.add, [chunk async for chunk in model.astream(question)])


async def test_a_whole_reply_has_the_answer_and_the_thinking_tokens(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        message = await chat(url).ainvoke(QUESTION)
    assert message.content == ANSWER
    assert message.usage_metadata["output_tokens"] == 9
    assert message.usage_metadata["output_token_details"]["reasoning"] == 6
    assert message.response_metadata["finish_reason"] == "stop"


async def test_a_stream_adds_up_to_the_same(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        message = await streamed(chat(url, stream_usage=True))
    assert message.content == ANSWER
    assert message.usage_metadata["output_tokens"] == 9
    assert message.usage_metadata["output_token_details"]["reasoning"] == 6
    assert message.response_metadata["finish_reason"] == "stop"


async def test_the_receipt_can_be_read_from_the_headers(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        message = await chat(url, "concise(100)", include_response_headers=True).ainvoke(QUESTION)
    assert message.response_metadata["headers"]["x-taut-thinking-budget"] == "100"


async def test_an_effort_and_a_budget_in_extra_body_are_in_force(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        by_effort = await chat(url, reasoning_effort="low", include_response_headers=True).ainvoke(QUESTION)
        off = await chat(url, extra_body={"thinking_budget": 0}).ainvoke(QUESTION)
    assert by_effort.response_metadata["headers"]["x-taut-thinking-budget"] == "1024"
    assert off.usage_metadata["output_token_details"]["reasoning"] == 0


async def test_the_responses_route_works_whole_and_streamed(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        model = chat(url, use_responses_api=True)
        whole, pieces = await model.ainvoke(QUESTION), await streamed(model)
    assert (whole.text, pieces.text) == (ANSWER, ANSWER)
    assert whole.usage_metadata["output_token_details"]["reasoning"] == 6
    assert pieces.usage_metadata["output_token_details"]["reasoning"] == 6
    assert [block["type"] for block in whole.content] == ["reasoning", "text"]


@pytest.mark.parametrize("model", [MODEL, "concise"])
async def test_a_bound_tool_is_called_with_whole_arguments(serve: Serve, model: str) -> None:
    async with scripts.upstream(scripts.tool_called()) as (server, engine), serve(engine) as url:
        message = await streamed(chat(url, model).bind_tools([scripts.ADD_TOOL]))
    (call,) = message.tool_calls
    assert (call["name"], call["args"], call["id"]) == ("add", {"a": 1, "b": 2}, "call_1")
    assert message.invalid_tool_calls == []
    assert server.calls[-1].body["tools"][0]["function"]["name"] == "add"


async def test_structured_output_reaches_the_upstream_and_is_parsed(serve: Serve) -> None:
    reply = scripts.said('{"sum": 3}')
    async with scripts.upstream(reply) as (server, engine), serve(engine) as url:
        schema = {"title": "total", "description": "The sum.", **scripts.SUM_SCHEMA}
        found = await chat(url).with_structured_output(schema, method="json_schema").ainvoke(QUESTION)
    assert found == {"sum": 3}
    assert server.calls[-1].body["response_format"]["type"] == "json_schema"


async def test_errors_are_openais_own_classes(serve: Serve) -> None:
    async with scripts.upstream(scripts.refused(429)) as (_, engine), serve(engine) as url:
        with pytest.raises(openai.RateLimitError):
            await chat(url).ainvoke(QUESTION)
        with pytest.raises(openai.RateLimitError):
            await streamed(chat(url, MODEL))
        with pytest.raises(openai.NotFoundError, match="did you mean 'concise'"):
            await chat(url, "concis").ainvoke(QUESTION)


async def test_an_upstream_that_dies_on_the_way_raises(serve: Serve) -> None:
    async with scripts.upstream(scripts.broken_off()) as (_, engine), serve(engine) as url:
        with pytest.raises(openai.APIError):
            await streamed(chat(url))


async def test_the_thinking_is_shown_where_a_summary_was_asked_for(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        model = chat(url, use_responses_api=True, reasoning={"summary": "auto"})
        messages = [await model.ainvoke(QUESTION), await streamed(model)]
    for message in messages:
        blocks = [block for block in message.content_blocks if block["type"] == "reasoning"]
        assert "".join(block.get("reasoning", "") for block in blocks) == THINKING
