"""``/v1/messages``: replies and events that Anthropic's own client accepts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from taut.core import Finish, Piece
from taut.gateway.nouns import Ask, Problem, Spent
from taut.gateway.wire.messages import PATH, Writer, problem, read
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

FULL = (*THINKING, *ANSWER, *calling(*WEATHER, *CLOCK))
QUESTION = [{"role": "user", "content": "2+2?"}]
OWN_FIELDS = {"taut", "thinking_tokens_estimated", "output_tokens_estimated"}


@pytest.fixture(name="anthropic")
def anthropic_package() -> Any:
    return pytest.importorskip("anthropic", reason="the package anthropic is not installed (extra dev)")


def ask(**fields: Any) -> Ask:
    return read({"model": "budget(512)", "max_tokens": 2000, "messages": QUESTION, "stream": True, **fields})


def whole(pieces: Sequence[Piece], finish: Finish = "stop", *, spent: Spent = SPENT, **fields: Any) -> dict[str, Any]:
    body = Writer(HEAD, ask(stream=False, **fields)).whole([outcome_of(pieces, finish)], spent, RECEIPT)
    document: dict[str, Any] = json.loads(body)
    return document


def stream_of(pieces: Sequence[Piece], finish: Finish = "stop", **fields: Any) -> list[dict[str, Any]]:
    return events(streamed(Writer(HEAD, ask(**fields)), pieces, finish))


def last_of(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The ``message_delta``."""
    assert [document["type"] for document in found[-2:]] == ["message_delta", "message_stop"]
    return found[-2]


def test_events_come_in_the_order_written_down_by_hand() -> None:
    check_expected("messages.txt", stream_of(FULL))


def test_a_whole_reply_has_thinking_text_and_calls() -> None:
    assert whole(FULL)["content"] == [
        {"type": "thinking", "thinking": "Two and two make four.", "signature": ""},
        {"type": "text", "text": "It is 4."},
        {"type": "tool_use", "id": "call_a", "name": "weather", "input": {"city": "Oslo"}},
        {"type": "tool_use", "id": "call_b", "name": "clock", "input": {}},
    ]


def test_cached_tokens_are_counted_apart_from_the_input() -> None:
    usage = {
        "input_tokens": 7,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 7},
    }
    assert whole(ANSWER)["usage"] == usage
    assert last_of(stream_of(ANSWER))["usage"] == usage


def test_estimated_counts_are_marked() -> None:
    details = whole(ANSWER, spent=Spent(reasoning=3, reasoning_estimated=True))["usage"]["output_tokens_details"]
    assert details == {"thinking_tokens": 3, "thinking_tokens_estimated": True}


def test_the_receipt_is_on_the_message_and_on_the_last_delta() -> None:
    assert whole(ANSWER)["taut"] == RECEIPT
    assert last_of(stream_of(ANSWER))["taut"] == RECEIPT


@pytest.mark.parametrize(
    ("pieces", "finish", "reason"),
    [
        (ANSWER, "stop", "end_turn"),
        (ANSWER, "length", "max_tokens"),
        (ANSWER, "cancelled", "end_turn"),
        (calling(*CLOCK), "stop", "tool_use"),
        (calling(*WEATHER[:2]), "length", "max_tokens"),
        (THINKING, "length", "max_tokens"),
        ((), "stop", "end_turn"),
    ],
)
def test_stop_reasons(pieces: Sequence[Piece], finish: Finish, reason: str) -> None:
    assert whole(pieces, finish)["stop_reason"] == reason
    assert last_of(stream_of(pieces, finish))["delta"] == {"stop_reason": reason, "stop_sequence": None}


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("", {}),
        ('{"a": 1}', {"a": 1}),
        ('{"a": ', {"_raw": '{"a": '}),
        ("[1]", {"_raw": "[1]"}),
    ],
)
def test_arguments_that_are_no_object_are_kept_as_raw_text(text: str, given: dict[str, Any]) -> None:
    call = calling({"index": 0, "id": "a", "function": {"name": "f", "arguments": text}})
    assert whole(call)["content"][0]["input"] == given


def test_thinking_only_is_one_thinking_block() -> None:
    assert [block["type"] for block in whole(THINKING)["content"]] == ["thinking"]
    kinds = [document["content_block"]["type"] for document in stream_of(THINKING) if "content_block" in document]
    assert kinds == ["thinking"]


def test_an_empty_answer_has_no_blocks() -> None:
    assert whole(())["content"] == []
    assert [document["type"] for document in stream_of(())] == ["message_start", "message_delta", "message_stop"]


def test_excluded_thinking_is_counted_and_not_sent() -> None:
    found = stream_of((*THINKING, *ANSWER), reasoning={"exclude": True})
    assert [document["content_block"]["type"] for document in found if "content_block" in document] == ["text"]
    assert last_of(found)["usage"]["output_tokens_details"]["thinking_tokens"] == 7
    assert len(whole((*THINKING, *ANSWER), reasoning={"exclude": True})["content"]) == 1


def test_a_call_without_an_id_gets_one() -> None:
    nameless = calling({"index": 0, "function": {"name": "f", "arguments": "{}"}})
    assert whole(nameless)["content"][0]["id"] == "toolu_r1_0"


def test_further_candidates_are_left_out() -> None:
    assert Writer(HEAD, ask()).pieces(1, ANSWER) == b""


def test_a_keep_alive_is_a_ping() -> None:
    assert events(Writer(HEAD, ask()).keep_alive("3 of 8")) == [{"type": "ping"}]


def test_a_failure_is_an_error_event() -> None:
    told = Problem("The model went away.", status=502, code="upstream_error")
    (found,) = events(Writer(HEAD, ask()).fail(told, SPENT, RECEIPT))
    assert found["error"] == {"type": "api_error", "message": "The model went away."}
    assert (found["type"], found["request_id"], found["taut"]) == ("error", "req_r1", RECEIPT)


@pytest.mark.parametrize("pieces", [FULL, THINKING, ANSWER, ()])
def test_anthropics_types_know_every_field(anthropic: Any, pieces: Sequence[Piece]) -> None:
    event_type: TypeAdapter[Any] = TypeAdapter(anthropic.types.RawMessageStreamEvent)
    for document in stream_of(pieces):
        assert unknown_fields(event_type.validate_python(document)) <= OWN_FIELDS
    message = anthropic.types.Message.model_validate(whole(pieces))
    assert unknown_fields(message) <= OWN_FIELDS


def client(anthropic: Any, url: str) -> Any:
    return anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0)


async def test_anthropics_client_puts_a_stream_together(anthropic: Any) -> None:
    writer = Writer(HEAD, ask())
    body = writer.keep_alive("one moment") + streamed(writer, FULL)
    async with (
        serving(PATH, body, content_type="text/event-stream") as url,
        client(anthropic, url) as api,
        api.messages.stream(model="budget(512)", max_tokens=2000, messages=QUESTION) as stream,
    ):
        texts = [event.text async for event in stream if event.type == "text"]
        message = await stream.get_final_message()
    assert texts == ["It is ", "4."]
    kinds = [(block.type, getattr(block, "input", None)) for block in message.content]
    assert kinds == [("thinking", None), ("text", None), ("tool_use", {"city": "Oslo"}), ("tool_use", {})]
    assert message.content[0].thinking == "Two and two make four."
    assert (message.stop_reason, message.usage.output_tokens, message.usage.input_tokens) == ("tool_use", 20, 7)
    assert message.usage.output_tokens_details.thinking_tokens == 7


async def test_anthropics_client_reads_a_call_that_was_cut(anthropic: Any) -> None:
    body = streamed(Writer(HEAD, ask()), calling(*WEATHER[:2]), "length")
    async with (
        serving(PATH, body, content_type="text/event-stream") as url,
        client(anthropic, url) as api,
        api.messages.stream(model="budget(512)", max_tokens=2000, messages=QUESTION) as stream,
    ):
        message = await stream.get_final_message()
    assert message.stop_reason == "max_tokens"
    assert message.content[0].name == "weather"


async def test_anthropics_client_reads_a_whole_reply(anthropic: Any) -> None:
    body = Writer(HEAD, ask(stream=False)).whole([outcome_of(FULL)], SPENT, RECEIPT)
    async with serving(PATH, body, content_type="application/json") as url, client(anthropic, url) as api:
        message = await api.messages.create(model="budget(512)", max_tokens=2000, messages=QUESTION)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert message.model_extra["taut"] == RECEIPT


async def test_anthropics_client_raises_an_error_within_a_stream(anthropic: Any) -> None:
    writer = Writer(HEAD, ask())
    body = writer.begin() + writer.pieces(0, ANSWER) + writer.fail(Problem("Gone.", status=502), SPENT, RECEIPT)
    async with serving(PATH, body, content_type="text/event-stream") as url, client(anthropic, url) as api:
        with pytest.raises(anthropic.APIStatusError, match="Gone"):
            async with api.messages.stream(model="budget", max_tokens=9, messages=QUESTION) as stream:
                await stream.get_final_message()


async def test_anthropics_client_raises_an_error_by_its_kind(anthropic: Any) -> None:
    body = json.dumps(problem(Problem("Slow down.", status=429, code="rate_limit_error"))).encode()
    async with serving(PATH, body, content_type="application/json", status=429) as url, client(anthropic, url) as api:
        with pytest.raises(anthropic.RateLimitError) as caught:
            await api.messages.create(model="budget", max_tokens=9, messages=QUESTION)
    assert caught.value.type == "rate_limit_error"


@given(st.text())
def test_any_text_arrives_as_it_was(text: str) -> None:
    found = events(streamed(Writer(HEAD, ask()), [Piece("answer", text)]))
    deltas = [document["delta"] for document in found if document["type"] == "content_block_delta"]
    assert "".join(delta["text"] for delta in deltas) == text


def test_what_was_answered_can_be_sent_back() -> None:
    content = whole(FULL)["content"]
    results = [{"type": "tool_result", "tool_use_id": name, "content": "1"} for name in ("call_a", "call_b")]
    turns = [{"role": "assistant", "content": content}, {"role": "user", "content": results}]
    messages = ask(messages=[*QUESTION, *turns]).messages
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    assert (messages[1]["content"], messages[1]["reasoning_content"]) == ("It is 4.", "Two and two make four.")
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["call_a", "call_b"]
