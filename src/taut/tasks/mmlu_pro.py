"""MMLU-Pro: 12,032 test questions of 14 subjects with up to ten options (Wang et al. 2024, arXiv:2406.01574).

Source: TIGER-Lab/MMLU-Pro, licence MIT, split ``test``.
"""

from __future__ import annotations

from dataclasses import replace

from taut.core import Task
from taut.errors import UsageError
from taut.tasks._loading import LETTERS, LoadOptions, choice_task, choose
from taut.tasks._reading import Row
from taut.tasks._sources import Source, rows

SOURCE = Source("TIGER-Lab/MMLU-Pro")
READS = frozenset({"data", "split"})


def load(options: LoadOptions) -> list[Task]:
    """The chosen questions."""
    return choose([_task(row, options) for row in rows(SOURCE, options)], options)


def _task(row: Row, options: LoadOptions) -> Task:
    choices, letter = row.get("options"), row.text("answer")
    if not isinstance(choices, list) or letter not in LETTERS[: len(choices)]:
        raise UsageError(f"{row.place}: expected a list of options and the letter of one of them")
    name = f"mmlu_pro/{row.text('question_id')}"
    task = choice_task(name, row.text("question"), choices, LETTERS.index(letter), options)
    return replace(task, metadata={**task.metadata, "subject": row.get("category")})
