"""MATH-500: 500 competition problems in LaTeX, levels 1 to 5 (Lightman et al. 2023, arXiv:2305.20050).

Source: HuggingFaceH4/MATH-500, licence MIT, split ``test``.
"""

from __future__ import annotations

from dataclasses import replace

from taut.core import Task
from taut.tasks._loading import LoadOptions, choose, math_task
from taut.tasks._reading import Row
from taut.tasks._sources import Source, rows

SOURCE = Source("HuggingFaceH4/MATH-500", files=("math_contest/math500.parquet",))
READS = frozenset({"data"})


def load(options: LoadOptions) -> list[Task]:
    """The chosen problems."""
    return choose([_task(row, options) for row in rows(SOURCE, options)], options)


def _task(row: Row, options: LoadOptions) -> Task:
    name = f"math500/{row.text('unique_id').removesuffix('.json')}"
    task = math_task(name, row.text("problem"), row.text("answer"), options, verifier="math")
    facts = {"level": row.get("level"), "subject": row.get("subject")}
    return replace(task, metadata={**task.metadata, **facts})
