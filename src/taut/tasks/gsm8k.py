"""GSM8K: 1,319 test questions of grade-school mathematics (Cobbe et al. 2021, arXiv:2110.14168).

Source: openai/gsm8k, licence MIT, split ``test``. Answers are whole numbers.
"""

from __future__ import annotations

from taut.core import Task
from taut.tasks._loading import LoadOptions, choose, math_task
from taut.tasks._sources import Source, rows

SOURCE = Source("openai/gsm8k", config="main", files=("gsm8k/{split}.parquet",))
READS = frozenset({"data", "split"})


def load(options: LoadOptions) -> list[Task]:
    """The chosen questions."""
    split = options.split or SOURCE.split
    tasks = []
    for row in rows(SOURCE, options):
        # The hub's answers are worked solutions that end in "#### 18".
        reference = row.text("answer").rpartition("####")[2].strip()
        tasks.append(math_task(f"gsm8k/{split}/{row.index}", row.text("question"), reference, options))
    return choose(tasks, options)
