"""``/v1/responses``: replies and events that OpenAI's own client accepts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from taut.core import Finish, Piece
from taut.gateway.nouns import Ask, Problem, Spent
from taut.gateway.wire.responses import PATH, Writer, read
from tests.gateway.wire.replies import (
    ANSWER,
    CLOCK,
    HEAD,
    RECEIPT,
    SPENT,
    THINKING,
    WEATHER,
    calling,
    check_expected,
    events,
    outcome_of,
    serving,
    streamed,
    unknown_fields,
)

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
FULL = (*THINKING, *ANSWER, *calling(*WEATHER, *CLOCK))
OWN_FIELDS = {"taut", "store", "reasoning_tokens_estimated", "output_tokens_estimated"}
"""Fields that OpenAI's package has no name for: ours, and ``store``, which the service sends all the same."""


def ask(**fields: Any) -> Ask:
    return read({"model": "budget(512)", "input": "2+2?", "stream": True, **fields})


def whole(pieces: Sequence[Piece], finish: Finish = "stop", *, spent: Spent = SPENT, **fields: Any) -> dict[str, Any]:
    body = Writer(HEAD, ask(stream=False, **fields)).whole([outcome_of(pieces, finish)], spent, RECEIPT)
    document: dict[str, Any] = json.loads(body)
    response = Response.model_validate(document)
    assert unknown_fields(response) <= OWN_FIELDS
    return document


def stream_of(pieces: Sequence[Piece], finish: Finish = "stop", **fields: Any) -> list[dict[str, Any]]:
    found = events(streamed(Writer(HEAD, ask(**fields)), pieces, finish))
    for document in found:
        assert unknown_fields(EVENT.validate_python(document)) <= OWN_FIELDS
    return found


def test_events_come_in_the_order_written_down_by_hand() -> None:
    check_expected("responses.txt", stream_of(FULL))


def test_the_whole_reply_holds_the_items_that_a_stream_ends_with() -> None:
    final = stream_of(FULL)[-1]["response"]
    assert final == whole(FULL)
    assert [item["type"] for item in final["output"]] == ["reasoning", "message", "function_call", "function_call"]
    assert final["output"][0]["content"] == [{"type": "reasoning_text", "text": "Two and two make four."}]
    assert final["output"][0]["summary"] == []
    assert final["output"][3] == {
        "id": "fc_r1_3",
        "type": "function_call",
        "call_id": "call_b",
        "name": "clock",
        "arguments": "{}",
        "status": "completed",
    }


def test_items_that_end_are_the_items_of_the_response() -> None:
    found = stream_of(FULL)
    done = [document["item"] for document in found if document["type"] == "response.output_item.done"]
    assert done == found[-1]["response"]["output"]


def test_the_counts_and_the_receipt_are_on_the_response() -> None:
    document = whole(ANSWER, spent=Spent(prompt=11, cached=4, completion=20, reasoning=7, reasoning_estimated=True))
    assert document["usage"] == {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 7, "reasoning_tokens_estimated": True},
        "total_tokens": 31,
    }
    assert document["taut"] == RECEIPT


def test_the_request_is_echoed_and_nothing_is_stored() -> None:
    document = whole(ANSWER, store=True, metadata={"a": "b"}, temperature=0.5, instructions="x", max_output_tokens=9)
    assert document["metadata"] == {"a": "b"}
    assert (document["temperature"], document["instructions"], document["max_output_tokens"]) == (0.5, "x", 9)
    assert (document["store"], document["background"], document["model"]) == (False, False, "budget(512)")
    assert (document["tools"], document["tool_choice"]) == ([], "auto")
    assert document["text"] == {"format": {"type": "text"}}


def test_a_cut_answer_is_incomplete() -> None:
    found = stream_of((*THINKING, *ANSWER), "length")
    assert found[-1]["type"] == "response.incomplete"
    response = found[-1]["response"]
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]
    assert found[-2]["item"]["status"] == "incomplete"
    assert response == whole((*THINKING, *ANSWER), "length")


def test_a_cancelled_answer_is_incomplete_without_a_reason() -> None:
    response = whole(ANSWER, "cancelled")
    assert (response["status"], response["incomplete_details"]) == ("incomplete", None)


def test_thinking_only_is_one_reasoning_item() -> None:
    response = stream_of(THINKING, "length")[-1]["response"]
    assert [(item["type"], item["status"]) for item in response["output"]] == [("reasoning", "incomplete")]


def test_an_empty_answer_has_no_items() -> None:
    found = stream_of(())
    assert [document["type"] for document in found] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    assert found[-1]["response"]["output"] == whole(())["output"] == []


def test_excluded_thinking_is_counted_and_not_sent() -> None:
    found = stream_of((*THINKING, *ANSWER), reasoning={"exclude": True})
    assert not any("reasoning_text" in document["type"] for document in found)
    response = found[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["message"]
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == 7


def test_a_client_that_asks_for_a_summary_gets_the_thinking_there() -> None:
    found = stream_of((*THINKING, *ANSWER), reasoning={"effort": "low", "summary": "auto"})
    assert [document["type"].removeprefix("response.") for document in found[2:9]] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    response = found[-1]["response"]
    summary = [{"type": "summary_text", "text": "Two and two make four."}]
    assert response["output"][0] == {
        "id": "rs_r1_0",
        "type": "reasoning",
        "summary": summary,
        "status": "completed",
    }
    assert response["reasoning"] == {"effort": "low", "summary": "auto"}


def test_a_call_keeps_the_id_that_the_client_was_told() -> None:
    late = calling(
        {"index": 0, "function": {"name": "f", "arguments": "{"}},
        {"index": 0, "id": "x", "function": {"arguments": "}"}},
    )
    found = stream_of(late)
    items = [document["item"] for document in found if "item" in document] + found[-1]["response"]["output"]
    assert {one["call_id"] for one in items} == {"call_r1_0"}


def test_a_call_without_an_id_gets_one() -> None:
    nameless = calling({"index": 0, "function": {"name": "f", "arguments": "{}"}})
    assert stream_of(nameless)[-1]["response"]["output"][0]["call_id"] == "call_r1_0"


def test_further_candidates_are_left_out() -> None:
    assert Writer(HEAD, ask()).pieces(1, ANSWER) == b""


def test_a_keep_alive_is_one_comment() -> None:
    assert Writer(HEAD, ask()).keep_alive("3 of 8\ncandidates") == b": taut 3 of 8 candidates\n\n"


def test_a_failure_ends_the_stream_with_what_had_come() -> None:
    writer = Writer(HEAD, ask())
    begun = writer.begin() + writer.pieces(0, ANSWER)
    found = events(begun + writer.fail(Problem("The model went away.", status=502), SPENT, RECEIPT))
    for document in found:
        EVENT.validate_python(document)
    assert found[-1]["type"] == "response.failed"
    assert [document["sequence_number"] for document in found] == list(range(len(found)))
    response = found[-1]["response"]
    assert response["error"] == {"code": "server_error", "message": "The model went away."}
    assert response["output"][0]["content"][0]["text"] == "It is 4."
    assert (response["status"], response["output"][0]["status"]) == ("failed", "incomplete")
    assert response["taut"] == RECEIPT


def test_content_types_follow_the_request() -> None:
    assert Writer(HEAD, ask()).content_type == "text/event-stream"
    assert Writer(HEAD, ask(stream=False)).content_type == "application/json"


def client(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


@pytest.mark.parametrize("finish", ["stop", "length"])
async def test_openais_client_reads_a_stream(finish: Finish) -> None:
    writer = Writer(HEAD, ask())
    body = writer.keep_alive("one moment") + streamed(writer, FULL, finish)
    async with serving(PATH, body, content_type="text/event-stream") as url, client(url) as openai:
        stream = await openai.responses.create(model="budget(512)", input="2+2?", stream=True)
        types = [event.type async for event in stream]
    assert types[-1] == ("response.completed" if finish == "stop" else "response.incomplete")
    assert types == [document["type"] for document in events(body)]


async def test_openais_client_puts_a_stream_together() -> None:
    body = streamed(Writer(HEAD, ask()), FULL)
    async with (
        serving(PATH, body, content_type="text/event-stream") as url,
        client(url) as openai,
        openai.responses.stream(model="budget(512)", input="2+2?") as stream,
    ):
        texts = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert texts == ["It is ", "4."]
    assert final.output_text == "It is 4."
    assert final.usage is not None
    assert final.usage.output_tokens_details.reasoning_tokens == 7
    calls = [item for item in final.output if item.type == "function_call"]
    assert [(call.name, call.arguments) for call in calls] == [("weather", '{"city": "Oslo"}'), ("clock", "{}")]
    assert final.model_extra is not None
    assert final.model_extra["taut"] == RECEIPT


async def test_openais_client_reads_a_whole_reply() -> None:
    body = Writer(HEAD, ask(stream=False)).whole([outcome_of(FULL)], SPENT, RECEIPT)
    async with serving(PATH, body, content_type="application/json") as url, client(url) as openai:
        response = await openai.responses.create(model="budget(512)", input="2+2?")
    assert (response.status, response.output_text) == ("completed", "It is 4.")


@given(st.text())
def test_any_text_arrives_as_it_was(text: str) -> None:
    found = events(streamed(Writer(HEAD, ask()), [Piece("answer", text)]))
    assert "".join(document["delta"] for document in found if document["type"].endswith("text.delta")) == text


def test_what_was_answered_can_be_sent_back() -> None:
    output = whole(FULL)["output"]
    results = [{"type": "function_call_output", "call_id": name, "output": "1"} for name in ("call_a", "call_b")]
    messages = ask(input=[{"role": "user", "content": "2+2?"}, *output, *results]).messages
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    assert messages[1]["content"] == "It is 4."
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["call_a", "call_b"]
