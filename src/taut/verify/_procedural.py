"""Makes questions of reasoning-gym, and makes them again when an answer is to be judged.

A question's record (`Item`) is small and plain JSON, so it goes into a trace; the entry itself may hold numpy values,
tuples and half a megabyte of working.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any

from taut.errors import UsageError, nearest, one_line

SIZE = 10_000
"""Every dataset is made for this many items: a few spread their items over the size, so it must not vary."""
LEVELS = {"easy": 0.0, "medium": 1 / 3, "hard": 2 / 3}
"""How far up the levels of each knob a difficulty lies: 0 is the first level, 1 the last."""
UNSTABLE = frozenset({"isomorphic_strings", "knight_swap", "polynomial_multiplication", "ransom_note", "word_ladder"})
"""Datasets that iterate over sets of strings: their items change with Python's hash seed."""


@dataclass(frozen=True, slots=True)
class Item:
    """Which question it is."""

    dataset: str
    difficulty: str | None
    seed: int
    index: int


def check(name: str, difficulty: str | None) -> None:
    """Raises `UsageError` for a dataset or difficulty that cannot be had."""
    factory = _factory()
    # "composite" only mixes other datasets, and cannot be made without being told which.
    known = factory.DATASETS.keys() - {"composite"}
    if name not in known:
        hint = nearest(name, known)
        raise UsageError(f"reasoning_gym has no dataset {name!r}{hint}; write reasoning_gym:chain_sum, for example")
    if name in UNSTABLE and sys.flags.hash_randomization:
        raise UsageError(f"the questions of {name} change with Python's hash seed: set PYTHONHASHSEED=0 to use it")
    if difficulty is not None and difficulty not in LEVELS:
        raise UsageError(f"there is no difficulty {difficulty!r}{nearest(difficulty, LEVELS)}: use {', '.join(LEVELS)}")
    if difficulty is not None and name not in factory.CURRICULA:
        raise UsageError(f"the dataset {name} has no difficulties: leave the difficulty out")


@functools.lru_cache(maxsize=4096)
def entry(item: Item) -> dict[str, Any]:
    """The package's own record of a question. Raises `UsageError` where the dataset cannot make it."""
    if item.index >= SIZE:
        raise UsageError(f"reasoning_gym makes at most {SIZE} questions a seed, number {item.index + 1} was asked for")
    dataset = _dataset(item.dataset, item.difficulty, item.seed)
    try:
        made: dict[str, Any] = dataset[item.index]
    except Exception as error:
        raise _impossible(item.dataset, item.difficulty, error) from error
    return made


def points(item: Item, answer: str) -> float:
    """The dataset's own score of an answer, from 0 to 1."""
    return float(_dataset(item.dataset, item.difficulty, item.seed).score_answer(answer, entry(item)))


@functools.lru_cache(maxsize=64)
def _dataset(name: str, difficulty: str | None, seed: int) -> Any:
    check(name, difficulty)
    factory = _factory()
    if difficulty is None:
        return factory.create_dataset(name, seed=seed, size=SIZE)
    try:
        return factory.DATASETS[name][0](config=_at_level(factory.create_curriculum(name), difficulty, seed))
    except Exception as error:
        raise _impossible(name, difficulty, error) from error


def _at_level(curriculum: Any, difficulty: str, seed: int) -> Any:
    from reasoning_gym.coaching.base_curriculum import DefaultCurriculumContext, RangeAttributeMode

    for attribute in curriculum.attributes.values():
        level = round(LEVELS[difficulty] * (len(attribute.levels) - 1))
        curriculum.set_attr_level(attribute.name, level)
    context = DefaultCurriculumContext(RangeAttributeMode.UPPER_BOUND)
    return curriculum.generate_configuration({"seed": seed, "size": SIZE}, context)


def _impossible(name: str, difficulty: str | None, error: Exception) -> UsageError:
    # Some levels of some curricula are beyond what the dataset's own generator can do.
    at = f" at difficulty {difficulty}" if difficulty else ""
    return UsageError(f"reasoning_gym cannot make a question of {name}{at} ({one_line(error)}): try another difficulty")


def _factory() -> Any:
    try:
        from reasoning_gym import factory
    except ImportError:
        raise UsageError("reasoning_gym needs the package reasoning-gym: pip install 'taut[procedural]'") from None
    return factory
