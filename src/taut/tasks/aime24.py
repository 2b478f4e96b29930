"""AIME 2024: the 30 problems of the American Invitational Mathematics Examination I and II.

Source: HuggingFaceH4/aime_2024, split ``train``; problems (c) Mathematical Association of America. Answers are whole
numbers from 0 to 999.
"""

from __future__ import annotations

from taut.core import Task
from taut.tasks._loading import LoadOptions, choose, math_task
from taut.tasks._sources import Source, rows

SOURCE = Source("HuggingFaceH4/aime_2024", split="train", files=("math_contest/aime24.parquet",))
READS = frozenset({"data"})


def load(options: LoadOptions) -> list[Task]:
    """The chosen problems."""
    tasks = [
        math_task(f"aime24/{row.index}", row.text("problem", "question"), row.text("answer"), options)
        for row in rows(SOURCE, options)
    ]
    return choose(tasks, options)
