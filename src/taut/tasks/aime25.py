"""AIME 2025: the 30 problems of the American Invitational Mathematics Examination I and II.

Source: math-ai/aime25, split ``test``; problems (c) Mathematical Association of America. Answers are whole numbers
from 0 to 999.
"""

from __future__ import annotations

from taut.core import Task
from taut.tasks._loading import LoadOptions, choose, math_task
from taut.tasks._sources import Source, rows

SOURCE = Source("math-ai/aime25", files=("math_contest/aime25.parquet",))
READS = frozenset({"data"})


def load(options: LoadOptions) -> list[Task]:
    """The chosen problems."""
    tasks = [
        math_task(f"aime25/{row.index}", row.text("problem", "question"), row.text("answer"), options)
        for row in rows(SOURCE, options)
    ]
    return choose(tasks, options)
