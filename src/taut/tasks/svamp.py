"""SVAMP: 300 test word problems, varied so that surface patterns mislead (Patel et al. 2021, arXiv:2103.07191).

Source: ChilleD/SVAMP, licence MIT, split ``test``. Answers are numbers.
"""

from __future__ import annotations

from taut.core import Task
from taut.tasks._loading import LoadOptions, choose, math_task
from taut.tasks._sources import Source, rows

SOURCE = Source("ChilleD/SVAMP", files=("svamp/{split}.parquet", "svamp/{split}.jsonl"))
READS = frozenset({"data", "split"})


def load(options: LoadOptions) -> list[Task]:
    """The chosen questions."""
    split = options.split or SOURCE.split
    tasks = []
    for row in rows(SOURCE, options):
        question = f"{row.text('Body')} {row.text('Question')}"
        tasks.append(math_task(f"svamp/{split}/{row.index}", question, row.text("Answer"), options))
    return choose(tasks, options)
