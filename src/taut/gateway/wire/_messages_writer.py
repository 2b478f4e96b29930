"""Writing a reply as Anthropic's Messages: content blocks, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from taut.core import Piece, Trace
from taut.gateway.nouns import Ask, Head, Outcome, Problem, Receipt, Spent
from taut.gateway.wire._blocks import Block, BlockKind, Blocks, Step, blocks_of
from taut.gateway.wire._events import comment, encode
from taut.gateway.wire._named import event

_DELTAS: Mapping[BlockKind, tuple[str, str]] = {
    "thinking": ("thinking_delta", "thinking"),
    "answer": ("text_delta", "text"),
    "call": ("input_json_delta", "partial_json"),
}
"""Type of a block's deltas, and the key of their text."""

_ERRORS: Mapping[str, str] = {
    name: name
    for name in (
        *("invalid_request_error", "authentication_error", "permission_error", "not_found_error"),
        *("rate_limit_error", "overloaded_error", "timeout_error"),
    )
}
"""Kinds of problem that Anthropic has under the same name; the others are ``api_error``."""
_TOO_LARGE = 413


class Writer:
    """Writes one reply; see `taut.gateway.nouns.Writer`. Only the first candidate is written: the protocol has one."""

    def __init__(self, head: Head, ask: Ask) -> None:
        self.content_type = "text/event-stream" if ask.stream else "application/json"
        self._head = head
        self._shows_thinking = not ask.wish.exclude
        self._blocks = Blocks(show_thinking=self._shows_thinking)
        self._delta = b""

    def begin(self) -> bytes:
        """``message_start``; the counts come at the end."""
        return event("message_start", {"type": "message_start", "message": self._message([], None, Spent())})

    def pieces(self, index: int, pieces: Sequence[Piece]) -> bytes:
        """New pieces; those of further candidates are left out."""
        return b"" if index else self._write(self._blocks.add(pieces))

    def keep_alive(self, note: str) -> bytes:
        """A ``ping``, with the note as a comment."""
        return comment(note) + event("ping", {"type": "ping"})

    def end(self, outcomes: Sequence[Outcome], spent: Spent, receipt: Receipt) -> bytes:
        """The last block's end, ``message_delta`` with counts and receipt, ``message_stop``."""
        trace = outcomes[0].trace
        written = self._write(self._blocks.finish(trace))
        last = {
            "type": "message_delta",
            "delta": {"stop_reason": _stop_reason(trace), "stop_sequence": None},
            "usage": _usage(spent),
            "taut": dict(receipt),
        }
        return written + event("message_delta", last) + event("message_stop", {"type": "message_stop"})

    def fail(self, problem: Problem, spent: Spent, receipt: Receipt) -> bytes:
        """``error``, which Anthropic's clients raise."""
        told = {**_error(problem), "usage": _usage(spent), "taut": dict(receipt)}
        return event("error", {**told, "request_id": f"req_{self._head.id}"})

    def whole(self, outcomes: Sequence[Outcome], spent: Spent, receipt: Receipt) -> bytes:
        """The message."""
        trace = outcomes[0].trace
        content = [self._whole_block(block) for block in blocks_of(trace, show_thinking=self._shows_thinking)]
        return encode({**self._message(content, _stop_reason(trace), spent), "taut": dict(receipt)})

    def _message(self, content: list[dict[str, Any]], stop_reason: str | None, spent: Spent) -> dict[str, Any]:
        return {
            "id": f"msg_{self._head.id}",
            "type": "message",
            "role": "assistant",
            "model": self._head.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": _usage(spent),
        }

    def _write(self, steps: Sequence[Step]) -> bytes:
        written = []
        for what, block, text in steps:
            if what == "add":
                written.append(b"%b%b}}\n\n" % (self._delta, encode(text)))
            elif what == "open":
                written.append(self._open(block))
            else:
                written.append(_close(block))
        return b"".join(written)

    def _open(self, block: Block) -> bytes:
        # What is the same in every delta of the block is encoded once: this runs for every token.
        kind, key = _DELTAS[block.kind]
        name = "content_block_delta"
        fields = encode({"type": name, "index": block.number, "delta": {"type": kind}})
        self._delta = b'event: %b\ndata: %b,"%b":' % (name.encode(), fields[:-2], key.encode())
        name = "content_block_start"
        return event(name, {"type": name, "index": block.number, "content_block": self._block(block, "", {})})

    def _whole_block(self, block: Block) -> dict[str, Any]:
        return self._block(block, block.text, arguments(block.text) if block.kind == "call" else {})

    def _block(self, block: Block, text: str, call_input: dict[str, Any]) -> dict[str, Any]:
        own: dict[BlockKind, dict[str, Any]] = {
            "thinking": {"type": "thinking", "thinking": text, "signature": ""},
            "answer": {"type": "text", "text": text},
            "call": {
                "type": "tool_use",
                "id": block.id or f"toolu_{self._head.id}_{block.number}",
                "name": block.name,
                "input": call_input,
            },
        }
        return own[block.kind]


def arguments(text: str) -> dict[str, Any]:
    """A call's arguments as an object; ``{"_raw": text}`` where they are none, nothing where there are none."""
    if not text.strip():
        return {}
    try:
        given = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {"_raw": text}
    return given if isinstance(given, dict) else {"_raw": text}


def problem(problem: Problem) -> dict[str, Any]:
    """The body of an error, with Anthropic's name for its kind."""
    return _error(problem)


def _error(problem: Problem) -> dict[str, Any]:
    kind = "request_too_large" if problem.status == _TOO_LARGE else _ERRORS.get(problem.code, "api_error")
    return {"type": "error", "error": {"type": kind, "message": str(problem)}}


def _close(block: Block) -> bytes:
    signed = b""
    if block.kind == "thinking":
        name = "content_block_delta"
        delta = {"type": "signature_delta", "signature": ""}
        signed = event(name, {"type": name, "index": block.number, "delta": delta})
    return signed + event("content_block_stop", {"type": "content_block_stop", "index": block.number})


def _stop_reason(trace: Trace) -> str:
    # A call that was cut by the ceiling is max_tokens: clients run the calls of tool_use unseen.
    if trace.finish == "length":
        return "max_tokens"
    return "tool_use" if trace.tool_calls else "end_turn"


def _usage(spent: Spent) -> dict[str, Any]:
    details: dict[str, Any] = {"thinking_tokens": spent.reasoning}
    if spent.reasoning_estimated:
        details["thinking_tokens_estimated"] = True
    if spent.completion_estimated:
        details["output_tokens_estimated"] = True
    return {
        # Anthropic counts what came from the cache apart; OpenAI counts it in.
        "input_tokens": max(0, spent.prompt - spent.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": spent.cached,
        "output_tokens": spent.completion,
        "output_tokens_details": details,
    }
