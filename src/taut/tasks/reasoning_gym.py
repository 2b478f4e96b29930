"""Procedural questions of reasoning-gym (arXiv:2505.24760, Apache-2.0): ``reasoning_gym:<dataset>``, never the same twice.

Item i under seed s is ``create_dataset(name, seed=s, size=n)[i]``. The package derives it from ``s + i``, so seeds closer than the
number of items share questions: keep seeds for different purposes thousands apart.

``difficulty`` sets every knob of the dataset's curriculum: ``easy`` to its first level, ``medium`` to the middle one, ``hard`` to the last one;
ranges span the level and its neighbour only. Without it the dataset's own default configuration is used.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from taut.core import Task
from taut.errors import UsageError, nearest
from taut.tasks._loading import LoadOptions

DEFAULT_SIZE = 100
TAG_LINE = "Write the final answer between <answer> and </answer>."
LEVELS = {"easy": 0.0, "medium": 0.5, "hard": 1.0}


def load(options: LoadOptions) -> list[Task]:
    """Questions ``offset`` to ``offset + limit`` of the dataset named in ``options.argument``."""
    name, size = options.argument, options.offset + (options.limit or DEFAULT_SIZE)
    dataset = make_dataset(name, options.seed, size, options.difficulty)
    config = {key: value for key, value in asdict(dataset.config).items() if key not in ("seed", "size")}
    return [_task(dataset[index], index, config, options) for index in range(options.offset, size)]


def make_dataset(name: str, seed: int, size: int, difficulty: str | None = None) -> Any:
    """A dataset of the package. Raises `UsageError` for an unknown name or difficulty."""
    factory = import_factory()
    if name not in factory.DATASETS:
        raise UsageError(
            f"reasoning_gym has no dataset {name!r}{nearest(name, factory.DATASETS)}; "
            "write reasoning_gym:chain_sum, for example"
        )
    if difficulty is None:
        return factory.create_dataset(name, seed=seed, size=size)
    return factory.DATASETS[name][0](config=_config(factory, name, seed, size, difficulty))


def import_factory() -> Any:
    """The package's factory. Raises `UsageError` where it is not installed."""
    try:
        from reasoning_gym import factory
    except ImportError:
        raise UsageError(
            "the task reasoning_gym needs the package reasoning-gym: pip install 'taut[procedural]'"
        ) from None
    return factory


def _config(factory: Any, name: str, seed: int, size: int, difficulty: str) -> Any:
    from reasoning_gym.coaching.base_curriculum import DefaultCurriculumContext, RangeAttributeMode

    if difficulty not in LEVELS:
        raise UsageError(
            f"there is no difficulty {difficulty!r}{nearest(difficulty, LEVELS)}; use easy, medium or hard"
        )
    if name not in factory.CURRICULA:
        raise UsageError(f"the dataset {name} has no difficulties, leave the difficulty out")
    curriculum = factory.create_curriculum(name)
    for attribute in curriculum.attributes.values():
        curriculum.set_attr_level(attribute.name, round(LEVELS[difficulty] * (len(attribute.levels) - 1)))
    return curriculum.generate_configuration(
        {"seed": seed, "size": size}, DefaultCurriculumContext(RangeAttributeMode.UPPER_BOUND)
    )


def _task(entry: dict[str, Any], index: int, config: dict[str, Any], options: LoadOptions) -> Task:
    line = f"\n{TAG_LINE}" if options.format_line else ""
    return Task(
        id=f"reasoning_gym/{options.argument}/{options.difficulty or 'default'}/{options.seed}/{index}",
        messages=({"role": "user", "content": entry["question"] + line},),
        reference=entry["answer"],
        verifier="reasoning_gym",
        metadata={
            "answer_format": "text",
            "dataset": options.argument,
            "config": config,
            "entry": entry,
        },
    )
