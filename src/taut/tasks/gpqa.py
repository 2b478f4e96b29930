"""GPQA Diamond: 198 questions of graduate biology, physics and chemistry with four options (arXiv:2311.12022).

Source: Idavidrein/gpqa, licence CC BY 4.0, gated: accept its terms on the hub first. Split ``train`` (its only one).
The source names the right option first; here the four are ordered by a hash of the seed, the question's id and the
option.
"""

from __future__ import annotations

from taut.core import Task
from taut.tasks._loading import LoadOptions, choice_task, choose, rank
from taut.tasks._reading import Row
from taut.tasks._sources import Source, rows

SOURCE = Source("Idavidrein/gpqa", split="train", config="gpqa_diamond")
READS = frozenset({"data"})
COLUMNS = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def load(options: LoadOptions) -> list[Task]:
    """The chosen questions."""
    return choose([_task(row, options) for row in rows(SOURCE, options)], options)


def _task(row: Row, options: LoadOptions) -> Task:
    name = f"gpqa/{row.text('Record ID')}"
    order = sorted(COLUMNS, key=lambda column: rank(options.seed, f"{name}/{column}"))
    choices = [row.text(column) for column in order]
    return choice_task(name, row.text("Question"), choices, order.index(COLUMNS[0]), options)
