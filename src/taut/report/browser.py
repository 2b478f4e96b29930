"""The traces as data for the page: one object a question, short keys, long texts cut so that the page stays small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from taut.core import TOKEN_ROLES, Call, Trace
from taut.metrics.comparison import right

TEXT_BUDGET_CHARACTERS = 1_200_000
"""For all thinking and answers together; the page of 1,000 traces then stays under 2 MB."""
LEAST_CHARACTERS = 200
"""Kept of every text, however many there are."""
MAX_TRACES = 3000
"""Whole questions are left out beyond this, the last first."""
MAX_CALLS = 60
MAX_DECISIONS = 20


def page_data(traces: Sequence[Trace], presets: Sequence[str]) -> dict[str, Any]:
    """Everything the page's script reads. Presets, roles are given by position."""
    by_question: dict[str, list[Trace]] = {}
    for trace in sorted(traces, key=lambda t: (t.index, t.task.id, t.seed, presets.index(t.preset))):
        by_question.setdefault(trace.task.id, []).append(trace)
    shown = _first_questions(list(by_question.values()))
    limit = text_limit([len(text) for group in shown for t in group for text in (t.thinking, t.answer)])
    return {
        "presets": list(presets),
        "roles": list(TOKEN_ROLES),
        "left_out": len(by_question) - len(shown),
        "questions": [_question(group, presets, limit) for group in shown],
    }


def embedded_json(data: Any) -> str:
    """JSON that can stand inside a ``<script>``: nothing in it can end the element or open a comment."""
    text = msgspec.json.encode(data, enc_hook=str).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def text_limit(lengths: Sequence[int], budget: int = TEXT_BUDGET_CHARACTERS) -> int:
    """The length at which texts must be cut so that together they fit: short ones stay whole, long ones give."""
    left, ordered = budget, sorted(lengths)
    for position, length in enumerate(ordered):
        share = left // (len(ordered) - position)
        if length > share:
            return max(share, LEAST_CHARACTERS)
        left -= length
    return max(ordered, default=0)


def shortened(text: str, limit: int) -> str:
    """The text, or its first two thirds and its end around a note of how much is missing."""
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    gap = f"[… {len(text) - limit:,} characters left out here; traces.jsonl has them …]"
    return f"{text[:head]}\n\n{gap}\n\n{text[-tail:]}"


def _first_questions(groups: list[list[Trace]]) -> list[list[Trace]]:
    total = 0
    for position, group in enumerate(groups):
        total += len(group)
        if total > MAX_TRACES and position > 0:
            return groups[:position]
    return groups


def _question(group: Sequence[Trace], presets: Sequence[str], limit: int) -> dict[str, Any]:
    task = group[0].task
    return {
        "id": task.id,
        "question": shortened(task.question, max(limit, 4000)),
        "reference": None if task.reference is None else shortened(_as_text(task.reference), 1000),
        "traces": [_trace(trace, presets, limit) for trace in group],
    }


def _trace(trace: Trace, presets: Sequence[str], limit: int) -> dict[str, Any]:
    score = trace.score
    roles = trace.tokens_by_role()
    return {
        "preset": presets.index(trace.preset),
        "seed": trace.seed,
        "state": state_of(trace),
        "truncated": trace.error is None and trace.finish == "length",
        "thinking": shortened(trace.thinking, limit),
        "answer": shortened(trace.answer, limit),
        "extracted": score.extracted if score else None,
        "why": score.why if score else "",
        "error": trace.error,
        "tokens": [roles[role].total for role in TOKEN_ROLES],
        "estimated": sum(tally.estimated for tally in roles.values()),
        "wall_s": _rounded(trace.wall_s),
        "calls": [_call(call) for call in trace.calls[:MAX_CALLS]],
        "more_calls": max(0, len(trace.calls) - MAX_CALLS),
        "decisions": [_decision(decision) for decision in trace.decisions[:MAX_DECISIONS]],
    }


def state_of(trace: Trace) -> str:
    """``right``, ``wrong``, ``unscored`` or ``error``."""
    if trace.error is not None:
        return "error"
    value = right(trace)
    if value is None:
        return "unscored"
    return "right" if value else "wrong"


def _call(call: Call) -> list[Any]:
    """Role, engine, finish, completion and prompt tokens; start, first token and end in seconds; discarded, error."""
    usage = call.usage
    return [
        call.role,
        call.engine,
        call.finish,
        usage.completion.tokens if usage else None,
        usage.prompt.tokens if usage else None,
        _rounded(call.started_s),
        _rounded(call.first_token_s),
        _rounded(call.ended_s),
        call.discarded,
        call.error,
    ]


def _decision(decision: dict[str, Any]) -> str:
    facts = ", ".join(f"{key} {_as_text(value)}" for key, value in decision.items() if key not in ("at_s", "event"))
    return shortened(f"{decision.get('at_s', '')} s  {decision.get('event', '')}  {facts}".strip(), 300)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
