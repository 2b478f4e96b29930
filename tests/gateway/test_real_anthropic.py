"""Anthropic's own Python client against the gateway's ``/v1/messages``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.engines.fake_upstream import Reply
from tests.gateway import scripts
from tests.gateway.conftest import Serve
from tests.gateway.scripts import ANSWER, QUESTION, THINKING

anthropic = pytest.importorskip("anthropic", reason="the package anthropic is not installed")

ADD = {"name": "add", "description": "Adds.", "input_schema": scripts.NUMBERS}


@asynccontextmanager
async def client(url: str, **options: Any) -> AsyncIterator[Any]:
    """No retries: a test wants to see the first error."""
    settings = {"base_url": url, "api_key": "sk-test", "max_retries": 0, **options}
    async with anthropic.AsyncAnthropic(**settings) as made:
        yield made


async def ask(url: str, model: str = "concise", **fields: Any) -> Any:
    """One whole message."""
    async with client(url) as ours:
        return await ours.messages.create(**{"model": model, "max_tokens": 4000, "messages": QUESTION, **fields})


async def stream(url: str, model: str = "concise", **fields: Any) -> tuple[list[Any], Any]:
    """All events of one streamed message, and the message that the client put together."""
    request = {"model": model, "max_tokens": 4000, "messages": QUESTION, **fields}
    async with client(url) as ours, ours.messages.stream(**request) as events:
        seen = [event async for event in events]
        return seen, await events.get_final_message()


async def test_a_whole_message_has_thinking_text_and_counts(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        message = await ask(url)
    thinking, text = message.content
    assert (thinking.type, thinking.thinking) == ("thinking", THINKING)
    assert (text.type, text.text) == ("text", ANSWER)
    assert (message.role, message.stop_reason) == ("assistant", "end_turn")
    assert message.usage.output_tokens == 9
    assert message.usage.output_tokens_details.thinking_tokens == 6
    assert message.usage.input_tokens > 0
    assert message.taut["tokens"]["thinking"] == 6


async def test_a_streamed_message_is_put_together_by_the_client(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        events, message = await stream(url)
    assert [(block.type, getattr(block, "thinking", "") or block.text) for block in message.content] == [
        ("thinking", THINKING),
        ("text", ANSWER),
    ]
    assert "".join(event.text for event in events if event.type == "text") == ANSWER
    assert "".join(event.thinking for event in events if event.type == "thinking") == THINKING
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 9
    assert message.usage.output_tokens_details.thinking_tokens == 6
    assert message.usage.input_tokens > 0


async def test_the_budget_of_the_thinking_field_is_in_force(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        some = await ask(url, "fake-thinker", thinking={"type": "enabled", "budget_tokens": 1024})
        none = await ask(url, "fake-thinker", thinking={"type": "disabled"})
    assert some.taut["budget"]["thinking_tokens"] == 1024
    assert [block.type for block in none.content] == ["text"]
    assert none.usage.output_tokens_details.thinking_tokens == 0


async def test_a_tool_is_used_whole_and_streamed(serve: Serve) -> None:
    async with scripts.upstream(scripts.tool_called()) as (server, engine), serve(engine) as url:
        whole = await ask(url, tools=[ADD], tool_choice={"type": "any"})
        events, streamed = await stream(url, tools=[ADD])
    for message in (whole, streamed):
        (call,) = [block for block in message.content if block.type == "tool_use"]
        assert (call.id, call.name, call.input) == ("call_1", "add", {"a": 1, "b": 2})
        assert message.stop_reason == "tool_use"
    parts = [event.partial_json for event in events if event.type == "input_json"]
    assert json.loads("".join(parts)) == {"a": 1, "b": 2}
    assert server.calls[0].body["tools"][0]["function"]["parameters"] == scripts.NUMBERS
    assert server.calls[0].body["tool_choice"] == "required"


async def test_the_result_of_a_tool_goes_back_to_the_model(serve: Serve) -> None:
    replies = scripts.tool_called(), scripts.reasoned()
    async with scripts.upstream(*replies) as (server, engine), serve(engine) as url:
        first = await ask(url, tools=[ADD])
        result = {"type": "tool_result", "tool_use_id": "call_1", "content": "3"}
        conversation = [
            *QUESTION,
            {"role": "assistant", "content": [block.to_dict() for block in first.content]},
            {"role": "user", "content": [result]},
        ]
        second = await ask(url, messages=conversation, tools=[ADD])
    assert second.content[-1].text == "It is 3."
    asked, told = server.calls[-1].body["messages"][-2:]
    assert json.loads(asked["tool_calls"][0]["function"]["arguments"]) == {"a": 1, "b": 2}
    assert (told["role"], told["tool_call_id"], told["content"]) == ("tool", "call_1", "3")


async def test_a_picture_and_the_system_text_arrive_upstream_in_the_form_of_chat(serve: Serve) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": scripts.PICTURE.partition(",")[2]}
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image", "source": source}]
    async with scripts.upstream(scripts.reasoned()) as (server, engine), serve(engine) as url:
        message = await ask(url, messages=[{"role": "user", "content": parts}], system="Be brief.")
    first, last = server.calls[-1].body["messages"]
    assert (first["role"], first["content"]) == ("system", "Be brief.")
    assert last["content"][1] == {"type": "image_url", "image_url": {"url": scripts.PICTURE}}
    assert message.content[-1].text == "It is 3."


async def test_an_answer_that_is_cut_says_max_tokens(serve: Serve) -> None:
    async with scripts.upstream(scripts.reasoned(finish="length")) as (_, engine), serve(engine) as url:
        assert (await ask(url)).stop_reason == "max_tokens"


async def test_the_list_of_models_can_be_read(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url, client(url) as ours:
        names = [model.id async for model in ours.models.list()]
    assert {"concise", "fake-thinker"} <= set(names)


@pytest.mark.parametrize(
    ("reply", "error", "kind"),
    [
        (scripts.refused(429), "RateLimitError", "rate_limit_error"),
        (scripts.refused(400), "BadRequestError", "invalid_request_error"),
        (scripts.refused(500), "APIStatusError", "api_error"),
        (scripts.refused(503), "APIStatusError", "overloaded_error"),
    ],
)
async def test_what_the_upstream_refuses_is_the_clients_own_error(
    serve: Serve, reply: Reply, error: str, kind: str
) -> None:
    async with scripts.upstream(reply) as (_, engine), serve(engine) as url:
        with pytest.raises(getattr(anthropic, error)) as whole:
            await ask(url)
        with pytest.raises(getattr(anthropic, error)) as streamed:
            await stream(url)
    assert (whole.value.type, streamed.value.type) == (kind, kind)
    assert whole.value.status_code == streamed.value.status_code >= 400


async def test_a_wrong_request_is_a_typed_error(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        with pytest.raises(anthropic.NotFoundError, match="did you mean 'concise'"):
            await ask(url, "concis")
        with pytest.raises(anthropic.BadRequestError, match="budget_tokens"):
            await ask(url, thinking={"type": "enabled", "budget_tokens": "many"})


async def test_a_key_is_asked_for_where_there_are_keys(serve: Serve) -> None:
    async with serve(scripts.thinker(), keys=scripts.KEYS) as url:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await ask(url)
        async with client(url, api_key=scripts.KEY) as ours:
            message = await ours.messages.create(model="concise", max_tokens=4000, messages=QUESTION)
    assert caught.value.type == "authentication_error"
    assert message.content[-1].text == ANSWER


async def test_leaving_a_stream_stops_the_upstream(serve: Serve) -> None:
    request = {"model": "concise", "max_tokens": 4000, "messages": QUESTION}
    async with scripts.upstream(scripts.endless()) as (server, engine), serve(engine) as url, client(url) as ours:
        async with ours.messages.stream(**request) as events:
            async for text in events.text_stream:
                if "well" in text:
                    break
        await scripts.until(lambda: server.left == 1)


async def test_an_upstream_that_dies_on_the_way_raises_after_the_pieces_that_came(serve: Serve) -> None:
    seen: list[Any] = []
    request = {"model": "concise", "max_tokens": 4000, "messages": QUESTION}
    async with scripts.upstream(scripts.broken_off()) as (_, engine), serve(engine) as url, client(url) as ours:
        with pytest.raises(anthropic.APIStatusError) as caught:
            async with ours.messages.stream(**request) as events:
                seen += [event async for event in events.text_stream]
    assert caught.value.type == "api_error"
