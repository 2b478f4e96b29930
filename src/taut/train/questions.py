"""Questions for reinforcement learning and held-out accuracy: task sets with options, or JSONL files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from taut import verify
from taut.config import convert
from taut.core import Task
from taut.errors import UsageError, nearest
from taut.messages import append_text
from taut.tasks import LoadOptions, load_tasks
from taut.tasks._loading import choose, rank
from taut.train.rows import Line, read_lines

OPTIONS: dict[str, Any] = {
    "limit": int | None,
    "seed": int,
    "offset": int,
    "difficulty": str | None,
    "split": str | None,
    "verifier": str | None,
    "data": Path | None,
    "format_line": bool,
}
"""What may follow the question mark of ``gsm8k?split=train&limit=500``."""
OF_OWN = ("limit", "seed", "offset", "verifier")
"""The same behind a JSONL file."""
MOST_WANTED = 10**9
"""Tokens; more would leave the range of a column."""
OF_ROWS = ("id", "prompt", "question", "answer", "verifier", "wanted_tokens", "metadata")


def load(specs: Sequence[str]) -> list[Task]:
    """The questions of all sets, in order. Raises `UsageError` for what cannot be read, and an id given twice."""
    return _unique([task for spec in specs for task in _one(spec)])


def mixed(specs: Sequence[str], files: Sequence[str], shares: Sequence[float], seed: int) -> list[Task]:
    """Questions of several sets, so many of each that ``shares`` holds; without shares all of them.

    Raises `UsageError` for shares that do not fit the sets, and as `load` does.
    """
    sources = [*([_one(spec)] for spec in specs), *([_own(file)] for file in files)]
    groups = [group for (group,) in sources]
    if not groups:
        raise UsageError('there are no questions: data.tasks = ["reasoning_gym:chain_sum?limit=500"] or data.train')
    if not shares:
        return _unique([task for group in groups for task in group])
    if len(shares) != len(groups) or not all(0 < share < math.inf for share in shares):
        raise UsageError(
            f"data.shares has {len(shares)} numbers above 0 for {len(groups)} sets of questions; give one each"
        )
    total = min(len(group) * sum(shares) / share for group, share in zip(groups, shares, strict=True))
    chosen = []
    for group, share in zip(groups, shares, strict=True):
        ranked = sorted(group, key=lambda task: rank(seed, task.id))
        chosen += ranked[: max(1, int(total * share / sum(shares)))]
    return _unique(chosen)


def instructed(task: Task, text: str) -> Task:
    """The question with ``text`` at its end, a space between them where the text brings none."""
    if not text:
        return task
    *before, last = task.messages
    apart = "" if text[0].isspace() else " "
    return replace(task, messages=(*before, append_text(last, apart + text)))


def _one(spec: str) -> list[Task]:
    name, _, query = spec.partition("?")
    is_own = name.lower().endswith(".jsonl")
    values: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        known = OF_OWN if is_own else OPTIONS
        if key not in known:
            raise UsageError(f"{spec}: unknown option {key!r}{nearest(key, known)}; known: {', '.join(known)}")
        values[key] = convert(value, OPTIONS[key], f"{spec}: {key}")
    options = LoadOptions(**values)
    if is_own:
        return choose(_own(name, options.verifier or "auto"), options)
    tasks = load_tasks(name, options)
    verify.check_libraries(tasks)
    return tasks


def _own(file: str, verifier: str = "auto") -> list[Task]:
    """A JSONL file of questions: ``prompt`` (messages or text) or ``question``, with ``answer`` and ``verifier``.

    Unlike the task set of own files nothing is added to the questions: a model is trained on them as they are.
    """
    lines = read_lines([file])
    if not lines:
        raise UsageError(f"{file} has no rows: at least one question is needed")
    tasks = [_task(line, f"{Path(file).stem}/{index}", verifier) for index, line in enumerate(lines)]
    verify.check_libraries(tasks)
    return tasks


def _task(line: Line, name: str, verifier: str) -> Task:
    cells = line.cells
    prompt = cells.get("prompt", cells.get("question"))
    if isinstance(prompt, str) and prompt.strip():
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, list) or not prompt or not all(map(_is_message, prompt)):
        raise UsageError(
            f"{line.place}, has no question: a column prompt (text, or messages of text) or question is needed"
        )
    if cells.get("answer") is None:
        raise UsageError(f"{line.place}, has no answer: without a column answer nothing can be judged")
    given = cells.get("metadata") or {}
    if not isinstance(given, dict):
        raise UsageError(f"{line.place}: the column 'metadata' must be an object")
    metadata = {**given, **{key: cells[key] for key in cells if key not in OF_ROWS}}
    if "wanted_tokens" in cells:
        metadata["wanted_tokens"] = convert(cells["wanted_tokens"], int, f"{line.place}: wanted_tokens")
        if not 1 <= metadata["wanted_tokens"] <= MOST_WANTED:
            raise UsageError(
                f"{line.place}: wanted_tokens is {metadata['wanted_tokens']}; it must be at least 1 and at most "
                f"{MOST_WANTED:,}"
            )
    named = convert(cells.get("verifier", verifier), str, f"{line.place}: verifier")
    return Task(str(cells.get("id", name)), tuple(prompt), cells["answer"], named, metadata)


def _is_message(value: Any) -> bool:
    """A message of text: in one piece, or in parts."""
    if not isinstance(value, dict) or "role" not in value:
        return False
    content = value.get("content")
    return isinstance(content, str) or (isinstance(content, list) and bool(content) and all(map(_is_text, content)))


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _unique(tasks: list[Task]) -> list[Task]:
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise UsageError(f"the question {task.id} is there twice: sets overlap, or a seed is used twice")
        seen.add(task.id)
    return tasks
