"""Replies in the chat protocol are what OpenAI's own client reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessageParam,
    ParsedFunctionToolCall,
)

from taut.core import Kind, Piece
from taut.gateway.nouns import Ask, Problem, Spent
from taut.gateway.wire import chat
from taut.messages import whole_tool_calls

from .made import CALL, HEAD, RECEIPT, SPENT, events, hidden, make_ask, make_outcome
from .replies import serving

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


def writer(ask: Ask | None = None) -> chat.Writer:
    return chat.Writer(HEAD, ask or make_ask())


def full_stream(ask: Ask, *pieces: Piece, **outcome: Any) -> bytes:
    write = writer(ask)
    middle = b"".join(write.pieces(0, [piece]) for piece in pieces)
    return write.begin() + middle + write.end([make_outcome(**outcome)], SPENT, RECEIPT)


# --- streaming -------------------------------------------------------------------------------------------------------


def test_a_stream_is_written_byte_for_byte() -> None:
    opening = 'data: {"id":"chatcmpl-abc","object":"chat.completion.chunk","created":1700000000,"model":"concise(512)",'
    assert full_stream(make_ask(), Piece("thinking", 'so "2"\n'), Piece("answer", "4")).decode() == (
        opening + '"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
        + opening + '"choices":[{"index":0,"delta":{"reasoning":"so \\"2\\"\\n","reasoning_content":"so \\"2\\"\\n"},'
        '"finish_reason":null}]}\n\n'
        + opening + '"choices":[{"index":0,"delta":{"content":"4"},"finish_reason":null}]}\n\n'
        + opening + '"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
        '"taut":{"preset":"concise","kept":true}}\n\n'
        "data: [DONE]\n\n"
    )  # fmt: skip


def test_usage_comes_last_and_alone() -> None:
    *before, finish, last = events(full_stream(make_ask(include_usage=True), Piece("answer", "4")))
    assert all(event["usage"] is None for event in (*before, finish))
    assert finish["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert last["choices"] == []
    # LiteLLM drops the last event, and others look nowhere else.
    assert finish["taut"] == last["taut"] == RECEIPT
    assert last["usage"] == {
        "prompt_tokens": 11,
        "completion_tokens": 30,
        "total_tokens": 41,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }


def test_estimated_counts_are_marked() -> None:
    spent = Spent(prompt=1, completion=2, reasoning=1, reasoning_estimated=True, completion_estimated=True)
    body = msgspec.json.decode(writer(make_ask(stream=False)).whole([make_outcome()], spent, RECEIPT))
    assert body["usage"]["completion_tokens_details"] == {
        "reasoning_tokens": 1,
        "reasoning_tokens_estimated": True,
        "completion_tokens_estimated": True,
    }


def test_texts_of_one_kind_that_came_together_are_one_event() -> None:
    pieces = [Piece("thinking", "a"), Piece("thinking", "b"), Piece("answer", ""), Piece("answer", "c")]
    stream = writer().pieces(0, pieces) + b"data: [DONE]\n\n"
    deltas = [event["choices"][0]["delta"] for event in events(stream)]
    assert deltas == [{"reasoning": "ab", "reasoning_content": "ab"}, {"content": "c"}]


def test_a_piece_without_text_is_no_event() -> None:
    assert writer().pieces(0, [Piece("answer", "", 1)]) == b""
    assert writer().pieces(0, []) == b""


def test_hidden_thinking_is_not_sent() -> None:
    thought, answer = Piece("thinking", "secret"), Piece("answer", "4")
    assert b"secret" not in full_stream(hidden(), thought, answer, thinking="secret")
    assert b"secret" not in writer(hidden()).pieces(0, [thought, answer])
    assert b"secret" not in writer(hidden()).whole([make_outcome(thinking="secret")], SPENT, RECEIPT)


def test_candidates_are_told_apart_by_index() -> None:
    write = writer(make_ask(n=2))
    outcomes = [make_outcome(0), make_outcome(1, finish="length")]
    middle = write.pieces(1, [Piece("answer", "b")]) + write.pieces(0, [Piece("answer", "a")])
    stream = events(write.begin() + middle + write.end(outcomes, SPENT, RECEIPT))
    assert [event["choices"][0]["index"] for event in stream] == [0, 1, 1, 0, 0, 1]
    assert [event["choices"][0]["finish_reason"] for event in stream[-2:]] == ["stop", "length"]
    assert ["taut" in event for event in stream[-2:]] == [False, True]


def test_tool_calls_stream_as_they_came_and_end_with_their_own_reason() -> None:
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}}
    second = {"index": 0, "function": {"arguments": '{"a": 1}'}}
    stream = events(
        full_stream(
            make_ask(),
            Piece("answer", "let me see"),
            Piece("answer", "", tool_calls=(first,)),
            Piece("answer", "", tool_calls=(second,)),
            tool_calls=(CALL,),
        )
    )
    assert [event["choices"][0]["delta"] for event in stream[2:4]] == [
        {"tool_calls": [first]},
        {"tool_calls": [second]},
    ]
    assert stream[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_tool_calls_without_numbers_get_them() -> None:
    parts: list[dict[str, Any]] = [
        {"id": "x", "function": {"name": "f", "arguments": "{"}},
        {"function": {"arguments": "}"}},
        {"id": "y", "function": {"name": "g", "arguments": "{}"}},
    ]
    write = writer()
    pieces = [write.pieces(0, [Piece("answer", "", tool_calls=(part,))]) for part in parts]
    sent = [call for event in events(b"".join(pieces) + b"data: [DONE]\n\n")
            for call in event["choices"][0]["delta"]["tool_calls"]]  # fmt: skip
    assert [call["index"] for call in sent] == [0, 0, 1]
    assert whole_tool_calls(sent) == whole_tool_calls(parts)


def test_tool_calls_cut_by_the_ceiling_are_not_offered_for_running() -> None:
    stream = events(full_stream(make_ask(), finish="length", tool_calls=(CALL,)))
    assert stream[-1]["choices"][0]["finish_reason"] == "length"


def test_a_cancelled_candidate_ends_with_stop() -> None:
    assert events(full_stream(make_ask(), finish="cancelled"))[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_keep_alive_is_one_comment() -> None:
    assert writer().keep_alive("3 of 5\r\ndata: x") == b": taut 3 of 5 data: x\n\n"


def test_a_failure_is_an_error_event_and_the_end_mark() -> None:
    problem = Problem("the upstream is gone", status=502, code="upstream_error")
    (event,) = events(writer().fail(problem, SPENT, RECEIPT))
    assert event["error"] == {
        "message": "the upstream is gone",
        "type": "upstream_error",
        "code": "502",
        "param": None,
    }
    assert event["taut"] == RECEIPT
    assert event["usage"]["total_tokens"] == 41


@given(texts=st.lists(st.tuples(st.sampled_from(("thinking", "answer")), TEXTS)), together=st.booleans())
def test_any_text_survives(texts: list[tuple[Kind, str]], together: bool) -> None:
    pieces = [Piece(kind, text) for kind, text in texts]
    write = writer()
    parts = [write.pieces(0, pieces)] if together else [write.pieces(0, [piece]) for piece in pieces]
    deltas = [event["choices"][0]["delta"] for event in events(b"".join(parts) + b"data: [DONE]\n\n")]
    kinds: tuple[tuple[Kind, str], ...] = (
        ("thinking", "reasoning"),
        ("thinking", "reasoning_content"),
        ("answer", "content"),
    )
    for kind, name in kinds:
        sent = "".join(delta.get(name, "") for delta in deltas)
        assert sent == "".join(text for one, text in texts if one == kind)


# --- whole, and OpenAI's own reader ----------------------------------------------------------------------------------


def test_a_whole_reply_has_thinking_under_both_names() -> None:
    body = msgspec.json.decode(writer(make_ask(stream=False)).whole([make_outcome()], SPENT, RECEIPT))
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "4", "reasoning": "hmm", "reasoning_content": "hmm"},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert (body["id"], body["object"], body["model"]) == ("chatcmpl-abc", "chat.completion", "concise(512)")
    assert body["taut"] == RECEIPT
    assert body["usage"]["total_tokens"] == 41


def test_a_reply_of_tool_calls_only_has_no_content() -> None:
    outcome = make_outcome(thinking="", answer="", tool_calls=(CALL,))
    message = msgspec.json.decode(writer().whole([outcome], SPENT, RECEIPT))["choices"][0]["message"]
    assert message == {"role": "assistant", "content": None, "tool_calls": [CALL]}


@pytest.mark.parametrize("include_usage", [True, False])
def test_every_event_is_one_of_openais(include_usage: bool) -> None:
    call = {**CALL, "index": 0}
    ask = make_ask(include_usage=include_usage)
    pieces = (Piece("thinking", "a"), Piece("answer", "b"), Piece("answer", "", tool_calls=(call,)))
    for event in events(full_stream(ask, *pieces, tool_calls=(CALL,))):
        ChatCompletionChunk.model_validate(event, strict=True)


def test_a_whole_reply_is_openais() -> None:
    for outcome in (make_outcome(), make_outcome(finish="length"), make_outcome(answer="", tool_calls=(CALL,))):
        body = writer(make_ask(stream=False)).whole([outcome], SPENT, RECEIPT)
        ChatCompletion.model_validate_json(body, strict=True)


@asynccontextmanager
async def client_of(body: bytes, content_type: str, status: int = 200) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client of a server that says just this."""
    async with serving("/v1/chat/completions", body, content_type=content_type, status=status) as url:  # noqa: SIM117
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as client:
            yield client


async def test_openais_client_reads_a_stream_with_comments() -> None:
    write = writer(make_ask(include_usage=True))
    stream = b"".join(
        (
            write.begin(),
            write.keep_alive("waiting"),
            write.pieces(0, [Piece("thinking", "hm")]),
            write.pieces(0, [Piece("answer", "4"), Piece("answer", "2")]),
            write.end([make_outcome()], SPENT, RECEIPT),
        )
    )
    async with client_of(stream, write.content_type) as client:
        reply = await client.chat.completions.create(model="m", messages=ASKED, stream=True)
        chunks = [chunk async for chunk in reply]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "42"
    extras = [delta.model_extra for delta in deltas if delta.model_extra]
    assert extras == [{"reasoning": "hm", "reasoning_content": "hm"}]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 41
    assert chunks[-1].model_extra == {"taut": RECEIPT}


async def test_openais_helper_adds_up_candidates_and_tool_calls() -> None:
    write = writer(make_ask(n=2))
    parts: list[dict[str, Any]] = [
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a"'}},
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ": 1}"}},
    ]
    stream = b"".join(
        (
            write.begin(),
            write.pieces(1, [Piece("answer", "b")]),
            *(write.pieces(0, [Piece("answer", "", tool_calls=(part,))]) for part in parts),
            write.end([make_outcome(0, answer="", tool_calls=(CALL,)), make_outcome(1)], SPENT, RECEIPT),
        )
    )
    async with (
        client_of(stream, write.content_type) as client,
        client.chat.completions.stream(model="m", messages=ASKED, n=2) as reply,
    ):
        first, second = (await reply.get_final_completion()).choices
    assert first.message.tool_calls is not None
    (call,) = first.message.tool_calls
    assert isinstance(call, ParsedFunctionToolCall)
    assert (call.id, call.type, call.function.name, call.function.arguments) == (
        "call_1",
        "function",
        "add",
        '{"a": 1}',
    )
    assert (first.finish_reason, second.message.content) == ("tool_calls", "b")


async def test_openais_client_raises_a_failure_in_mid_stream() -> None:
    write = writer()
    problem = Problem("the upstream is gone", status=502, code="upstream_error")
    stream = write.begin() + write.fail(problem, SPENT, RECEIPT)
    async with client_of(stream, write.content_type) as client:
        reply = await client.chat.completions.create(model="m", messages=ASKED, stream=True)
        with pytest.raises(openai.APIError, match="the upstream is gone") as caught:
            [chunk async for chunk in reply]
    assert (caught.value.type, caught.value.code) == ("upstream_error", "502")


async def test_openais_client_raises_a_refusal_with_its_field() -> None:
    body = msgspec.json.encode(chat.problem(Problem("n must be 1", param="n")))
    async with client_of(body, "application/json", 400) as client:
        with pytest.raises(openai.BadRequestError, match="n must be 1") as caught:
            await client.chat.completions.create(model="m", messages=ASKED)
    assert caught.value.param == "n"


async def test_openais_client_reads_a_whole_reply() -> None:
    write = writer(make_ask(stream=False))
    async with client_of(write.whole([make_outcome()], SPENT, RECEIPT), write.content_type) as client:
        reply = await client.chat.completions.create(model="m", messages=ASKED)
    assert reply.choices[0].message.content == "4"
    assert reply.choices[0].message.model_extra == {"reasoning": "hmm", "reasoning_content": "hmm"}
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    assert reply.usage.completion_tokens_details.reasoning_tokens == 20
