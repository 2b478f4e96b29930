"""``/v1/completions``: the older form. The prompt becomes one user message, so that presets can answer it.

A prompt that only a plain model can take (token numbers, several prompts) is refused here; the engines' own models
never come this way.
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

PATH = "/v1/completions"
_TAKEN = ("model", "prompt", "stream", "stream_options", "n", "max_tokens", "stop", "taut")
_IDLE: dict[str, tuple[Any, ...]] = {"echo": (False, None), "best_of": (1, None), "suffix": ("", None)}
"""Values that ask for nothing: chat servers need not see them."""


def read(document: Document, *, efforts: Collection[str] = EFFORT) -> Ask:
    """Understand a request. ``efforts`` are the names of the operator's map. Raises `Problem`."""
    model = _fields.read_model(document)
    _refuse_tools(document)
    wish, wish_fields = read_wish(document, split_suffix(model, efforts)[1], efforts)
    idle = [name for name, values in _IDLE.items() if document.get(name) in values]
    return Ask(
        protocol="completions",
        model=model,
        messages=({"role": "user", "content": _read_prompt(document)},),
        sampling=_fields.read_sampling(
            document,
            max_tokens=_fields.integer(document, "max_tokens", least=1, most=_fields.MOST_TOKENS),
            stop=_fields.read_stop(document),
            taken=(*_TAKEN, *idle, *wish_fields),
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
        self._envelope = _events.Envelope(head, "cmpl-", "text_completion", has_usage=ask.stream and ask.include_usage)
        self._frames: dict[int, tuple[bytes, bytes]] = {}

    def begin(self) -> bytes:
        """Nothing: this protocol has no roles."""
        return b""

    def pieces(self, index: int, pieces: Sequence[Piece]) -> bytes:
        """As few events as the pieces allow."""
        if len(pieces) == 1 and not pieces[0].tool_calls:
            return self._text(index, pieces[0].kind, pieces[0].text)
        return b"".join(self._text(index, kind, text) for kind, text, _ in _events.runs(pieces))

    def keep_alive(self, note: str) -> bytes:
        """A comment."""
        return _events.comment(note)

    def end(self, outcomes: Sequence[Outcome], spent: Spent, receipt: Receipt) -> bytes:
        """Every candidate's finish reason, the counts if asked for, and the receipt."""
        choices = [
            {"index": outcome.index, "text": "", "logprobs": None, "finish_reason": _finish_reason(outcome)}
            for outcome in outcomes
        ]
        return self._envelope.last(choices, spent, receipt)

    def fail(self, problem: Problem, spent: Spent, receipt: Receipt) -> bytes:
        """An event with ``error``, which OpenAI's clients raise."""
        return _events.failure(problem, spent, receipt)

    def whole(self, outcomes: Sequence[Outcome], spent: Spent, receipt: Receipt) -> bytes:
        """The body of a reply that is not streamed."""
        choices = [self._choice(outcome) for outcome in outcomes]
        body = {**self._envelope.fields, "choices": choices, "usage": _events.usage(spent), "taut": dict(receipt)}
        return _events.encode(body)

    def _text(self, index: int, kind: Kind, text: str) -> bytes:
        if not text or (kind == "thinking" and self._ask.wish.exclude):
            return b""
        before, after = self._frames.get(index) or self._frame(index)
        encoded = _events.encode(text)
        if kind == "answer":
            return before + encoded + after
        return before + b'"","reasoning":' + encoded + b',"reasoning_content":' + encoded + after

    def _frame(self, index: int) -> tuple[bytes, bytes]:
        before = self._envelope.opening + b'{"index":%d,"text":' % index
        self._frames[index] = before, b',"logprobs":null,"finish_reason":null}' + self._envelope.closing
        return self._frames[index]

    def _choice(self, outcome: Outcome) -> dict[str, Any]:
        shown = {} if self._ask.wish.exclude else _events.reasoning_fields(outcome.trace.thinking)
        return {
            "index": outcome.index,
            "text": outcome.trace.answer,
            "logprobs": None,
            "finish_reason": _finish_reason(outcome),
            **shown,
        }


def _finish_reason(outcome: Outcome) -> str:
    # Tool calls cannot be written here, so that they are no reason to end either.
    return "length" if outcome.trace.finish == "length" else "stop"


def _refuse_tools(document: Document) -> None:
    if document.get("tools"):
        raise Problem("this protocol has no tools: send them to /v1/chat/completions", param="tools")


def _read_prompt(document: Document) -> str:
    prompt = document.get("prompt")
    text = prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt
    if isinstance(text, str) and text:
        return text
    if isinstance(prompt, list) and prompt:
        raise Problem(
            "prompt must be one string here: a preset takes neither several prompts nor token numbers; "
            "send them one by one as text, or ask for the engine's own model (GET /v1/models lists it)",
            param="prompt",
        )
    raise _fields.wrong("prompt", "a string that is not empty", prompt)
