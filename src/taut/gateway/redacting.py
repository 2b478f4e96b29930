"""A trace without anybody's words: what is recorded where the operator has not turned the storing of texts on.

Counts, times, models, and what was decided stay, so every reader of traces still reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from taut.core import Call, Score, Task, Trace

NOT_STORED = "not stored"
REASON_CHARS = 200
_QUOTED = re.compile(r"(?<!\w)'[^']*'|\"[^\"]*\"|`[^`]*`|“[^”]*”|«[^»]*»")


def noted(trace: Trace, note: Mapping[str, Any]) -> Trace:
    """The trace with ``note`` in its task's metadata."""
    return replace(trace, task=replace(trace.task, metadata={**trace.task.metadata, **note}))


def without_texts(trace: Trace, note: Mapping[str, Any]) -> Trace:
    """The trace without messages, thinking, answers, tool calls, references and texts of errors.

    ``note`` becomes the task's metadata; it must hold names and numbers only, and any longer text in it is cut out.
    """
    task = trace.task
    metadata = {key: _fact(value, REASON_CHARS) for key, value in note.items()} | {"texts": NOT_STORED}
    return replace(
        trace,
        task=Task(task.id, (), None, task.verifier, metadata),
        thinking="",
        answer="",
        tool_calls=(),
        # What a server says about an error may quote the request.
        error=None if trace.error is None else f"{trace.error_kind or 'error'}: its text is {NOT_STORED}",
        calls=[_call(call) for call in trace.calls],
        decisions=[_decision(decision) for decision in trace.decisions],
        score=None if trace.score is None else _score(trace.score),
    )


def _call(call: Call) -> Call:
    return replace(
        call,
        # None says that the task's own messages were sent.
        messages=None if call.messages is None else (),
        thinking="",
        answer="",
        tool_calls=(),
        error=None if call.error is None else NOT_STORED,
    )


def _decision(decision: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _reason(value) if key in ("event", "why") and isinstance(value, str) else _fact(value, 0)
        for key, value in decision.items()
    }


def _reason(text: str) -> str:
    """A method's own words; what it quotes may be the model's."""
    return _QUOTED.sub("'…'", text)[:REASON_CHARS]


def _fact(value: Any, chars: int) -> Any:
    """Numbers and what is made of them; of texts those of at most ``chars`` characters."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= chars else NOT_STORED
    if isinstance(value, Mapping):
        return {key: _fact(item, chars) for key, item in value.items()}
    # A list of texts holds names that a client made up, such as fields that nobody knows.
    return [_fact(item, 0) for item in value] if isinstance(value, list | tuple) else NOT_STORED


def _score(score: Score) -> Score:
    # An empty text and not None, which would say that no answer was found.
    return Score(score.value, None if score.extracted is None else "", "")
