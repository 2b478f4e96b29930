"""Near the shortest correct answer of the group (ShorterBetter, Yi et al. 2025, arXiv:2504.21370).

``r = alpha * c - beta * |L - S|`` with S the shortest length among the correct rollouts, or, where none is correct, the
mean of all. alpha 2 and beta 0.001 are those of the official code, for responses of thousands of tokens; for some
hundred take beta ten times as large. A wrong answer near S is worth more than a correct one that is alpha / beta
tokens longer: 2,000 at the defaults (a test has the numbers).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import check_not_negative, mean
from taut.rollouts import SHORTER_IS_BETTER, AdvantageName, Group, Length


@dataclass(frozen=True, slots=True)
class ShorterBetter:
    """Correctness minus the distance from the shortest correct answer."""

    alpha: float = 2.0
    """Worth of a correct answer."""
    beta: float = 0.001
    """Reward lost per token away from the shortest correct answer, in either direction."""
    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone."""

    needs: ClassVar[frozenset[str]] = frozenset()
    reads_group: ClassVar[bool] = True
    advantage: ClassVar[AdvantageName] = "group_normalised"
    claims: ClassVar[frozenset[str]] = frozenset({SHORTER_IS_BETTER})

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_not_negative(self, "alpha", "beta")

    @property
    def bounds(self) -> tuple[float, float]:
        """A correct answer of the best length; open below."""
        return -math.inf, self.alpha

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout."""
        best_tokens: float = min(group.correct_lengths(self.of), default=mean(group.lengths(self.of)))
        return tuple(
            self.alpha * rollout.correct - self.beta * abs(rollout.tokens(self.of) - best_tokens)
            for rollout in group.rollouts
        )
