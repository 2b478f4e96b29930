"""The scorer of the reasoning-gym dataset that made the question; right means a score of 1.

The answer is what stands in the last ``<answer>`` tag; else in the last ``\\boxed{}``; else behind ``####`` in the last line; else behind
the last "the answer is"; else the whole text. Where the reference is one number, the number is read out as `taut.verify.number` does.
Scores between 0 and 1 (right, but in a wrong form; partly right) are wrong, and stand in `Score.why`.
"""

from __future__ import annotations

import functools
from typing import Any

from taut.core import Score, Task
from taut.errors import UsageError, VerifierError
from taut.verify import number
from taut.verify._numbers import read
from taut.verify._text import find_text, normalise


def verify(answer: str, task: Task) -> Score:
    """Whether the dataset gives ``answer`` full marks. Raises `VerifierError` where the question cannot be made again."""
    found = number.extract(answer) if read(str(task.reference)) else extract(answer)
    if found is None:
        return Score(False, None, "no answer found")
    dataset = _dataset(task.metadata["dataset"])
    points = float(dataset.score_answer(found, task.metadata["entry"]))
    return Score(points >= 1.0, found, f"reasoning_gym score {points:g}")


def extract(answer: str) -> str | None:
    """The answer's text; ``None`` where there is none."""
    return find_text(answer, whole=True)


def same(a: str, b: str) -> bool:
    """Whether two extracted answers are the same number, or else the same text."""
    return number.same(a, b) or normalise(a) == normalise(b)


@functools.cache
def _dataset(name: str) -> Any:
    try:
        from reasoning_gym import factory
    except ImportError:
        raise UsageError(
            "the verifier reasoning_gym needs the package reasoning-gym: pip install 'taut[procedural]'"
        ) from None
    if name not in factory.DATASETS:
        raise VerifierError(f"reasoning_gym has no dataset {name!r}")
    return factory.create_dataset(name)
