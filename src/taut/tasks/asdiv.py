"""ASDiv: word problems of primary school, most of them one step (Miao et al. 2020, arXiv:2106.15772).

Source: EleutherAI/asdiv, licence CC BY-NC 4.0, split ``validation``. Questions with several answers are left out.
Answers are numbers, but for some 130 names, times and yes or no, which are compared as text.
"""

from __future__ import annotations

import re

from taut.core import Task
from taut.tasks._loading import LoadOptions, choose, math_task
from taut.tasks._reading import Row
from taut.tasks._sources import Source, rows
from taut.verify.number import is_number

SOURCE = Source("EleutherAI/asdiv", split="validation", files=("easy_math/easy_math.parquet",))
READS = frozenset({"data"})


def load(options: LoadOptions) -> list[Task]:
    """The chosen questions."""
    found = [row for row in rows(SOURCE, options) if row.get("set") in (None, "asdiv")]
    # Numbered after leaving out, so that ids agree between the hub and copies that come without those questions.
    single = [row for row in found if ";" not in row.text("answer")]
    return choose([_task(index, row, options) for index, row in enumerate(single)], options)


def _task(index: int, row: Row, options: LoadOptions) -> Task:
    question = f"{row.get('body') or ''} {row.text('question')}".strip()
    # The hub's answers name the unit: "9 (apples)".
    reference = re.sub(r"\s*\([^()]*\)$", "", row.text("answer"))
    verifier = "number" if is_number(reference) else "exact"
    return math_task(f"asdiv/{index}", question, reference, options, verifier)
