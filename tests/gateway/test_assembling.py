"""Chunks put together are the document that the server would have sent."""

from __future__ import annotations

import json
from typing import Any

from taut.gateway.assembling import Gathered, assemble


def chunk(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}],
    }


def test_texts_are_joined_and_the_last_word_on_everything_else_counts() -> None:
    chunks = [
        chunk(role="assistant", content=None),
        chunk(reasoning_content="Let me "),
        chunk(reasoning_content="see."),
        chunk(content="4"),
        chunk(content="2"),
        chunk(finish="stop"),
        {**chunk(), "choices": [], "usage": {"total_tokens": 9}, "timings": {"predicted_n": 4}},
    ]
    assert assemble(chunks) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "usage": {"total_tokens": 9},
        "timings": {"predicted_n": 4},
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "42", "reasoning_content": "Let me see."},
                "finish_reason": "stop",
            }
        ],
    }


def test_tool_calls_become_whole_and_candidates_stay_apart() -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": ""}}
    chunks = [
        chunk(1, role="assistant", content="b"),
        chunk(0, role="assistant", tool_calls=[call]),
        chunk(0, tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}]),
        chunk(1, content="c", finish="length"),
        chunk(0, tool_calls=[{"index": 0, "function": {"arguments": "1}"}}], finish="tool_calls"),
    ]
    first, second = assemble(chunks)["choices"]
    assert first["message"]["content"] is None
    assert first["message"]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    ]
    assert first["finish_reason"] == "tool_calls"
    assert (second["message"]["content"], second["finish_reason"]) == ("bc", "length")


def test_log_probabilities_are_put_one_after_the_other_in_both_forms() -> None:
    def said(text: str, logprobs: dict[str, Any]) -> dict[str, Any]:
        choices = [{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": None}]
        return {"object": "text_completion", "choices": choices}

    old = [{"tokens": [one], "token_logprobs": [-1.0], "text_offset": [at]} for at, one in enumerate("ab")]
    whole = assemble([said("a", old[0]), said("b", old[1])])
    assert whole["object"] == "text_completion"
    assert whole["choices"][0]["text"] == "ab"
    assert whole["choices"][0]["logprobs"] == {
        "tokens": ["a", "b"],
        "token_logprobs": [-1.0, -1.0],
        "text_offset": [0, 1],
    }
    new = [{"content": [{"token": one, "logprob": -1.0}], "refusal": None} for one in "ab"]
    joined = assemble([said("a", new[0]), said("b", new[1])])["choices"][0]["logprobs"]
    assert [entry["token"] for entry in joined["content"]] == ["a", "b"]
    assert joined["refusal"] is None


async def test_events_are_taken_as_they_come_and_the_end_mark_is_no_chunk() -> None:
    gathered = Gathered()
    for data in (b'data: {"object":"x","choices":[{"index":0,"text":"a"}]}\n\n', b": quiet\n\ndata: [DONE]\n\n"):
        await gathered.write(data)
    assert json.loads(gathered.document()) == {
        "object": "x",
        "choices": [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None}],
    }


def test_a_stream_without_any_chunk_is_a_document_without_choices() -> None:
    assert assemble([]) == {"object": None, "choices": []}
