"""MAWPS: short word problems of one or few steps (Koncel-Kedziorski et al. 2016, aclanthology N16-1136).

Source: MU-NLPC/Calc-mawps, licence MIT, split ``test``; or the parts AddSub, SingleEq and SingleOp in one file, told
apart by the column ``set``. Answers are numbers.
"""

from __future__ import annotations

from taut.core import Task
from taut.tasks._loading import LoadOptions, choose, math_task
from taut.tasks._sources import Source, rows

SOURCE = Source("MU-NLPC/Calc-mawps", files=("easy_math/easy_math.parquet",))
READS = frozenset({"data", "split"})


def load(options: LoadOptions) -> list[Task]:
    """The chosen questions."""
    tasks = []
    for row in rows(SOURCE, options):
        part = str(row.get("set") or options.split or SOURCE.split)
        if row.get("set") is None or part.startswith("mawps"):
            name = f"mawps/{part.removeprefix('mawps_')}/{row.index}"
            tasks.append(math_task(name, row.text("question"), row.text("result", "answer"), options))
    return choose(tasks, options)
