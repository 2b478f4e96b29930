"""Your own questions: a path ending in ``.jsonl``, ``.csv`` or ``.parquet``.

Columns are found by their usual names (``question``, ``problem``, ``prompt``; ``answer``, ``reference``, ``target``;
``id``), or named with ``columns``. Without an answer column every answer stays *not scored*. With an ``options``
column (a list) the answer is the letter of the right option or its text. Unless a verifier is named, one is picked
for every row by its answer: ``number`` for a number, ``math`` for LaTeX, else ``exact``, for which the answer may
also be true or false, or a list of texts of which any counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from taut.core import Task
from taut.errors import UsageError, nearest
from taut.plugins import find
from taut.tasks._loading import LETTERS, LoadOptions, choice_task, choose, math_task, plain_task
from taut.tasks._reading import Row, is_plain, kind_of, read_file
from taut.verify.number import is_number

Columns = dict[str, tuple[str, ...]]
COLUMNS: Columns = {
    "question": ("question", "problem", "prompt", "input"),
    "answer": ("answer", "reference", "target", "solution"),
    "id": ("id", "unique_id", "question_id"),
    "options": ("options", "choices"),
}
LATEX_SIGNS = ("\\", "^", "$")
ONE_ANSWER = ("number", "math", "choice")
"""Verifiers that compare with one answer, not with several."""
READS = frozenset({"columns", "verifier"})


def load(options: LoadOptions) -> list[Task]:
    """The chosen questions. Raises `UsageError` naming the line for whatever cannot be used."""
    columns = _columns(options)
    found = read_file(Path(options.argument))
    if options.verifier is not None:
        find("verifiers", options.verifier)
    tasks = [_task(row, columns, options.verifier or _pick_verifier(row, columns), options) for row in found]
    _check_unique(found, tasks)
    return choose(tasks, options)


def _columns(options: LoadOptions) -> Columns:
    for key in options.columns:
        if key not in COLUMNS:
            raise UsageError(f"there is no column setting {key!r}{nearest(key, COLUMNS)}; known: {', '.join(COLUMNS)}")
    return {key: (options.columns[key],) if key in options.columns else names for key, names in COLUMNS.items()}


def _pick_verifier(row: Row, columns: Columns) -> str:
    if row.get(*columns["options"]):
        return "choice"
    answer = row.get(*columns["answer"])
    if answer is None:
        return "exact"
    if not is_plain(answer):
        return "exact"
    if is_number(str(answer)):
        return "number"
    return "math" if any(sign in str(answer) for sign in LATEX_SIGNS) else "exact"


def _task(row: Row, columns: Columns, verifier: str, options: LoadOptions) -> Task:
    own_id = row.get(*columns["id"])
    name = f"{Path(options.argument).stem}/{row.index if own_id is None else _single(row, own_id, 'the id')}"
    question, answer = row.text(*columns["question"]), _answer(row, columns, verifier)
    choices = row.get(*columns["options"])
    if answer is None and "answer" in options.columns:
        row.text(*columns["answer"])
    if verifier == "choice" and choices is not None:
        listed = _listed(row, choices)
        return choice_task(name, question, listed, _correct(row, listed, answer), options)
    if verifier in ("number", "math"):
        return math_task(name, question, None if answer is None else str(answer), options, verifier)
    return plain_task(name, question, answer, options, verifier)


def _answer(row: Row, columns: Columns, verifier: str) -> Any:
    """What is compared with: text, a number or a list of them; ``None`` where there is nothing."""
    answer = row.get(*columns["answer"])
    if not isinstance(answer, list):
        return None if answer is None else _single(row, answer, "the answer")
    if verifier in ONE_ANSWER:
        raise UsageError(f"{row.place}: the answer is a list, which the verifier {verifier!r} cannot compare with")
    return [_single(row, each, "an answer of the list") for each in answer] or None


def _single(row: Row, value: Any, what: str) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not is_plain(value):
        raise UsageError(f"{row.place}: {what} is {kind_of(value)}, not text or a number")
    return value


def _listed(row: Row, choices: Any) -> list[str]:
    if isinstance(choices, str):
        try:
            choices = msgspec.json.decode(choices)
        except (msgspec.DecodeError, RecursionError):
            choices = None
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
        raise UsageError(f'{row.place}: expected a list of 2 to {len(LETTERS)} options, such as ["yes", "no"]')
    return [str(_single(row, choice, "an option")) for choice in choices]


def _correct(row: Row, choices: list[str], answer: Any) -> int | None:
    if answer is None:
        return None
    if str(answer) in choices:
        return choices.index(str(answer))
    letter = str(answer).strip().upper()
    if len(letter) == 1 and letter in LETTERS[: len(choices)]:
        return LETTERS.index(letter)
    raise UsageError(
        f"{row.place}: the answer {str(answer)[:80]!r} is neither one of the options nor the letter of one"
    )


def _check_unique(found: list[Row], tasks: list[Task]) -> None:
    seen: dict[str, str] = {}
    for row, task in zip(found, tasks, strict=True):
        if task.id in seen:
            raise UsageError(f"{row.place} has the same id as {seen[task.id]}: ids must be unique")
        seen[task.id] = row.place
