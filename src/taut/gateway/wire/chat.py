"""``/v1/chat/completions``: OpenAI's chat, streamed and whole.

Thinking is written under ``reasoning`` and ``reasoning_content``, because half of the clients look for either.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from taut.core import Kind, Piece
from taut.gateway.nouns import Ask, Head, Outcome, Problem, Receipt, Spent
from taut.gateway.settings import EFFORT
from taut.gateway.wire import _events, _fields
from taut.gateway.wire._events import problem as problem
from taut.gateway.wire._fields import Document
from taut.gateway.wire._fields import refuse_for_presets as refuse_for_presets
from taut.gateway.wishes import read_wish, split_suffix
from taut.messages import ToolCall

PATH = "/v1/chat/completions"
_TAKEN = ("model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "stop", "taut")


def read(document: Document, *, efforts: Collection[str] = EFFORT) -> Ask:
    """Understand a request. ``efforts`` are the names of the operator's map. Raises `Problem`."""
    model = _fields.read_model(document)
    wish, wish_fields = read_wish(document, split_suffix(model, efforts)[1], efforts)
    return Ask(
        protocol="chat",
        model=model,
        messages=_fields.read_messages(document),
        sampling=_fields.read_sampling(
            document,
            max_tokens=_fields.read_max_tokens(document),
            stop=_fields.read_stop(document),
            taken=(*_TAKEN, *wish_fields),
        ),
        wish=wish,
        stream=_fields.boolean(document, "stream") or False,
        include_usage=_fields.read_include_usage(document),
        n=_fields.integer(document, "n", least=1) or 1,
        options=_fields.read_options(document),
        document=document,
    )


class Writer:
    """One reply. See `taut.gateway.nouns.Writer`."""

    def __init__(self, head: Head, ask: Ask) -> None:
        self.content_type = "text/event-stream" if ask.stream else "application/json"
        self._ask = ask
        kind = "chat.completion.chunk" if ask.stream else "chat.completion"
        self._envelope = _events.Envelope(head, "chatcmpl-", kind, has_usage=ask.stream and ask.include_usage)
        self._answer: dict[int, tuple[bytes, bytes]] = {}
        self._thinking: dict[int, tuple[bytes, bytes, bytes]] = {}
        self._numbering: dict[int, _events.Numbering] = {}

    def begin(self) -> bytes:
        """The role, for every candidate."""
        delta = {"role": "assistant", "content": ""}
        return b"".join(
            self._envelope.event([{"index": index, "delta": delta, "finish_reason": None}])
            for index in range(self._ask.n)
        )

    def pieces(self, index: int, pieces: Sequence[Piece]) -> bytes:
        """As few events as the pieces allow."""
        if len(pieces) == 1 and not pieces[0].tool_calls:
            return self._text(index, pieces[0].kind, pieces[0].text)
        return b"".join(
            self._text(index, kind, text) + (self._tool_calls(index, calls) if calls else b"")
            for kind, text, calls in _events.runs(pieces)
        )

    def keep_alive(self, note: str) -> bytes:
        """A comment."""
        return _events.comment(note)

    def end(self, outcomes: Sequence[Outcome], spent: Spent, receipt: Receipt) -> bytes:
        """Every candidate's finish reason, the counts if asked for, and the receipt."""
        choices = [
            {"index": outcome.index, "delta": {}, "finish_reason": _events.finish_reason(outcome)}
            for outcome in outcomes
        ]
        return self._envelope.last(choices, spent, receipt)

    def fail(self, problem: Problem, spent: Spent, receipt: Receipt) -> bytes:
        """An event with ``error``, which OpenAI's clients raise."""
        return _events.failure(problem, spent, receipt)

    def whole(self, outcomes: Sequence[Outcome], spent: Spent, receipt: Receipt) -> bytes:
        """The body of a reply that is not streamed."""
        choices = [
            {
                "index": outcome.index,
                "message": self._message(outcome),
                "logprobs": None,
                "finish_reason": _events.finish_reason(outcome),
            }
            for outcome in outcomes
        ]
        body = {**self._envelope.fields, "choices": choices, "usage": _events.usage(spent), "taut": dict(receipt)}
        return _events.encode(body)

    def _text(self, index: int, kind: Kind, text: str) -> bytes:
        if not text:
            return b""
        encoded = _events.encode(text)
        if kind == "answer":
            before, after = self._answer.get(index) or self._answer_frame(index)
            return before + encoded + after
        if self._ask.wish.exclude:
            return b""
        before, between, after = self._thinking.get(index) or self._thinking_frame(index)
        return before + encoded + between + encoded + after

    def _answer_frame(self, index: int) -> tuple[bytes, bytes]:
        before, after = self._frame(index)
        self._answer[index] = before + b'"content":', after
        return self._answer[index]

    def _thinking_frame(self, index: int) -> tuple[bytes, bytes, bytes]:
        before, after = self._frame(index)
        self._thinking[index] = before + b'"reasoning":', b',"reasoning_content":', after
        return self._thinking[index]

    def _frame(self, index: int) -> tuple[bytes, bytes]:
        before = self._envelope.opening + b'{"index":%d,"delta":{' % index
        return before, b'},"finish_reason":null}' + self._envelope.closing

    def _tool_calls(self, index: int, deltas: Sequence[ToolCall]) -> bytes:
        numbered = [self._numbering.setdefault(index, _events.Numbering()).numbered(delta) for delta in deltas]
        return self._envelope.event([{"index": index, "delta": {"tool_calls": numbered}, "finish_reason": None}])

    def _message(self, outcome: Outcome) -> dict[str, Any]:
        trace = outcome.trace
        message: dict[str, Any] = {"role": "assistant", "content": trace.answer}
        if not self._ask.wish.exclude:
            message |= _events.reasoning_fields(trace.thinking)
        if trace.tool_calls:
            message["content"] = trace.answer or None
            message["tool_calls"] = [dict(call) for call in trace.tool_calls]
        return message
