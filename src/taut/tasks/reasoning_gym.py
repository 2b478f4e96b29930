"""Procedural questions of reasoning-gym (arXiv:2505.24760, Apache-2.0): ``reasoning_gym:<dataset>``.

Item i under seed s is ``create_dataset(name, seed=s, size=10000)[i]``, whatever the limit. The package derives it
from ``s + i``, so seeds closer than the number of items share questions: keep seeds of different purposes thousands
apart.

``difficulty`` sets every knob of the dataset's curriculum to one of its levels: ``easy`` to the first, ``medium`` a
third of the way up, ``hard`` two thirds. A knob that is a range spans that level and its neighbour. (The last levels
are often longer than a model's context or beyond the generator.) Without a difficulty the dataset's default
configuration is used.
"""

from __future__ import annotations

from dataclasses import asdict

from taut.core import Task
from taut.tasks._loading import TAG_LINE, LoadOptions
from taut.verify._procedural import Item, check, entry

DEFAULT_LIMIT = 100
READS = frozenset({"difficulty"})


def load(options: LoadOptions) -> list[Task]:
    """Questions ``offset`` to ``offset + limit`` of the dataset named in ``options.argument``."""
    check(options.argument, options.difficulty)
    end = options.offset + (options.limit or DEFAULT_LIMIT)
    name, difficulty, seed = options.argument, options.difficulty, options.seed
    return [_task(Item(name, difficulty, seed, index), options) for index in range(options.offset, end)]


def _task(item: Item, options: LoadOptions) -> Task:
    made = entry(item)
    line = f"\n{TAG_LINE}" if options.format_line else ""
    return Task(
        id=f"reasoning_gym/{item.dataset}/{item.difficulty or 'default'}/{item.seed}/{item.index}",
        messages=({"role": "user", "content": made["question"] + line},),
        reference=made["answer"],
        verifier="reasoning_gym",
        metadata={"answer_format": "text", **asdict(item)},
    )
