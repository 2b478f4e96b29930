"""OpenAI's own Python client against the gateway's ``/v1/responses``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway import scripts
from tests.gateway.conftest import Serve
from tests.gateway.scripts import ANSWER, THINKING
from tests.gateway.test_real_openai import client, openai

QUESTION = "What is 1 + 2?"
ADD = {"type": "function", "name": "add", "parameters": scripts.NUMBERS}


def thought(response: Any) -> str:
    """The text of all reasoning items."""
    items = [item for item in response.output if item.type == "reasoning"]
    return "".join(part.text for item in items for part in [*(item.summary or []), *(item.content or [])])


async def streamed(openai_client: Any, **fields: Any) -> tuple[list[Any], Any]:
    """All events, and the response that the client put together."""
    async with openai_client.responses.stream(model="concise", input=QUESTION, **fields) as stream:
        return [event async for event in stream], await stream.get_final_response()


async def test_a_whole_response_has_text_thinking_and_counts(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url, client(url) as ours:
        response = await ours.responses.create(model="concise", input=QUESTION, instructions="Be brief.")
    assert (response.status, response.output_text, thought(response)) == ("completed", ANSWER, THINKING)
    assert response.usage.output_tokens == 9
    assert response.usage.output_tokens_details.reasoning_tokens == 6
    assert response.taut["tokens"]["thinking"] == 6


async def test_the_stream_helper_accepts_every_event_and_puts_the_response_together(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url, client(url) as ours:
        events, response = await streamed(ours)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER
    assert (response.output_text, thought(response)) == (ANSWER, THINKING)
    assert response.usage.output_tokens_details.reasoning_tokens == 6


async def test_a_budget_in_the_reasoning_field_is_in_force(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url, client(url) as ours:
        response = await ours.responses.create(model="fake-thinker", input=QUESTION, reasoning={"effort": "low"})
        none = await ours.responses.create(model="fake-thinker", input=QUESTION, reasoning={"effort": "none"})
    assert response.taut["budget"]["thinking_tokens"] == 1024
    assert thought(none) == ""
    assert none.usage.output_tokens_details.reasoning_tokens == 0
    assert none.output_text == ANSWER


async def test_a_tool_call_is_an_item_whose_arguments_come_as_events(serve: Serve) -> None:
    async with scripts.upstream(scripts.tool_called()) as (server, engine), serve(engine) as url, client(url) as ours:
        events, response = await streamed(ours, tools=[ADD])
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert (call.call_id, call.name, call.arguments) == ("call_1", "add", scripts.ARGUMENTS)
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == scripts.ARGUMENTS
    assert server.calls[-1].body["tools"][0]["function"]["name"] == "add"


async def test_the_result_of_a_tool_goes_back_to_the_model(serve: Serve) -> None:
    replies = scripts.tool_called(), scripts.reasoned()
    async with scripts.upstream(*replies) as (server, engine), serve(engine) as url, client(url) as ours:
        first = await ours.responses.create(model="concise", input=QUESTION, tools=[ADD])
        conversation = [{"role": "user", "content": QUESTION}, *[item.to_dict() for item in first.output]]
        conversation += [{"type": "function_call_output", "call_id": "call_1", "output": "3"}]
        second = await ours.responses.create(model="concise", input=conversation, tools=[ADD])
    assert second.output_text == "It is 3."
    asked, result = server.calls[-1].body["messages"][-2:]
    assert asked["tool_calls"][0]["function"] == {"name": "add", "arguments": scripts.ARGUMENTS}
    assert (result["role"], result["tool_call_id"], result["content"]) == ("tool", "call_1", "3")


async def test_pictures_and_a_schema_arrive_upstream_in_the_form_of_chat(serve: Serve) -> None:
    parts = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": scripts.PICTURE}]
    form = {"format": {"type": "json_schema", "name": "sum", "schema": scripts.SUM_SCHEMA}}
    async with scripts.upstream(scripts.reasoned()) as (server, engine), serve(engine) as url, client(url) as ours:
        await ours.responses.create(model="concise", input=[{"role": "user", "content": parts}], text=form)
    sent = server.calls[-1].body
    assert [part["type"] for part in sent["messages"][-1]["content"]][:2] == ["text", "image_url"]
    assert sent["messages"][-1]["content"][1]["image_url"]["url"] == scripts.PICTURE
    assert sent["response_format"]["json_schema"]["schema"] == scripts.SUM_SCHEMA


async def test_an_answer_that_is_cut_is_incomplete_and_says_why(serve: Serve) -> None:
    cut = scripts.reasoned(finish="length")
    async with scripts.upstream(cut) as (_, engine), serve(engine) as url, client(url) as ours:
        response = await ours.responses.create(model="concise", input=QUESTION)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")


async def test_what_fails_before_the_first_token_is_a_typed_error(serve: Serve) -> None:
    async with scripts.upstream(scripts.refused(429)) as (_, engine), serve(engine) as url, client(url) as ours:
        with pytest.raises(openai.RateLimitError):
            await ours.responses.create(model="concise", input=QUESTION, stream=True)
        with pytest.raises(openai.NotFoundError):
            await ours.responses.create(model="concis", input=QUESTION)


async def test_what_fails_on_the_way_ends_the_stream_with_a_failed_response(serve: Serve) -> None:
    async with scripts.upstream(scripts.broken_off()) as (_, engine), serve(engine) as url, client(url) as ours:
        events = [event async for event in await ours.responses.create(model="concise", input=QUESTION, stream=True)]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "It is "
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.message
