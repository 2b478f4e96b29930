"""AMC 2023: 40 problems of the American Mathematics Competitions 12A and 12B, without their options.

Source: math-ai/amc23, split ``test``; problems (c) Mathematical Association of America. Answers are whole numbers.
"""

from __future__ import annotations

from taut.core import Task
from taut.tasks._loading import LoadOptions, choose, math_task
from taut.tasks._sources import Source, rows

SOURCE = Source("math-ai/amc23", files=("math_contest/amc23.parquet",))
READS = frozenset({"data"})


def load(options: LoadOptions) -> list[Task]:
    """The chosen problems."""
    tasks = [
        math_task(f"amc23/{row.index}", row.text("problem", "question"), row.text("answer"), options)
        for row in rows(SOURCE, options)
    ]
    return choose(tasks, options)
