"""Correct answers lose up to alpha, by their length among the correct ones (Arora and Zanette 2025, arXiv:2502.04463).

``r = c * (1 - alpha * sigmoid((L - mean L) / (std L + 1e-7)))``, mean and standard deviation over the correct rollouts
of the question. Wrong answers, and those that did not end inside the limit, get 0. The paper tries alpha 0.05, 0.1,
0.2 and 0.4. Since the length only ever multiplies what is right, no length can lift a wrong answer above a correct
one, and nothing here scales with the lengths. The advantage is leave-one-out (RLOO), 8 rollouts.
Unverified: that the official standard deviation is that of the population (divided by n); so it is here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import check_between, deviation, mean
from taut.rollouts import CLAIMS, AdvantageName, Group, Length

MOST_DEVIATIONS = 700.0
"""Beyond it exp() overflows; the sigmoid has been 0 or 1 to the last digit for long."""


@dataclass(frozen=True, slots=True)
class AroraZanette:
    """A correct answer is worth between 1 - alpha and 1, the shorter the more."""

    alpha: float = 0.1
    """The most that length can take from a correct answer, 0 to 1."""
    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone."""

    needs: ClassVar[frozenset[str]] = frozenset()
    reads_group: ClassVar[bool] = True
    advantage: ClassVar[AdvantageName] = "leave_one_out"
    claims: ClassVar[frozenset[str]] = frozenset(CLAIMS)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_between(self, "alpha", 0, 1)

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout."""
        lengths = tuple(rollout.tokens(self.of) for rollout in group.rollouts if rollout.correct and rollout.finished)
        centre, scale = mean(lengths), deviation(lengths) + 1e-7
        return tuple(
            1 - self.alpha * _sigmoid((rollout.tokens(self.of) - centre) / scale)
            if rollout.correct and rollout.finished
            else 0.0
            for rollout in group.rollouts
        )


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(min(-value, MOST_DEVIATIONS)))
