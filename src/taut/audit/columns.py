"""Rows of one's own: which column holds the question, the thinking, the text, the answer. Guessed, or named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taut.errors import UsageError, nearest

ROLES: dict[str, tuple[str, ...]] = {
    "thinking": (
        *("thinking", "reasoning_content", "reasoning", "reasoning_trace", "thought", "thoughts", "thinking_trace"),
        *("thinking_trajectory", "cot", "chain_of_thought", "rationale"),
    ),
    "text": (
        *("response", "text", "completion", "output", "generation", "generated_text", "model_output", "content"),
        *("prediction", "responses", "completions", "outputs", "generations"),
    ),
    "answer": ("final_answer", "generated_answer", "model_answer", "answer"),
    "question": ("question", "problem", "prompt", "input", "instruction", "query"),
    "reference": (
        *("reference", "gold", "target", "expected_answer", "ground_truth", "gold_answer", "correct_answer"),
        *("solution", "answer"),
    ),
    "options": ("options", "choices"),
    "id": ("id", "unique_id", "question_id", "problem_id", "task_id"),
    "tokens": ("thinking_tokens", "reasoning_tokens", "trace_token_count"),
    "finish": ("finish_reason", "stop_reason", "finish"),
    "right": ("correct", "is_correct"),
    "label": ("preset", "model", "model_name"),
}
"""What a column may be for, and the names by which it is guessed, in this order."""
HOLD_TEXT = frozenset({"thinking", "text", "answer", "question"})
LOOKED_AT = 200
"""Rows from which the columns are guessed."""


def find_columns(rows: Sequence[Mapping[str, Any]], told: Mapping[str, str]) -> dict[str, str]:
    """The column of each role that there is one for.

    Raises `UsageError` for a role that is none, a column that is missing, and rows without thinking or text.
    """
    names = dict.fromkeys(str(name) for row in rows[:LOOKED_AT] for name in row)
    for role, column in told.items():
        if role not in ROLES:
            raise UsageError(f"there is no column setting {role!r}{nearest(role, ROLES)}; known: {', '.join(ROLES)}")
        if column not in names:
            known = ", ".join(names) or "none"
            raise UsageError(f"no row has a column {column!r}{nearest(column, names)}; its columns: {known}")
    found = dict(told)
    for role, usual in ROLES.items():
        free = [name for name in usual if name in names and name not in found.values()]
        free = [name for name in free if _suits(role, name, rows, found)]
        if role not in found and free:
            found[role] = free[0]
    if not {"thinking", "text"} & set(found):
        raise UsageError(
            f"no column holds thinking or text: name one with --column text=NAME or --column thinking=NAME; "
            f"the columns are: {', '.join(names) or 'none'}"
        )
    return found


def _suits(role: str, name: str, rows: Sequence[Mapping[str, Any]], found: Mapping[str, str]) -> bool:
    if role == "answer" and name == "answer" and ("text" in found or "thinking" not in found):
        # Beside a whole text it is what the text is compared with.
        return False
    if role in HOLD_TEXT:
        return any(_is_text(row.get(name)) for row in rows[:LOOKED_AT])
    return True


def _is_text(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, str) for each in value)
    return isinstance(value, str) and bool(value.strip())
