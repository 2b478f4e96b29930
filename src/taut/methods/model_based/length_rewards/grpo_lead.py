"""Correct answers by their length among the correct, hard questions with more weight (GRPO-LEAD, arXiv:2504.09696).

``z = (L - mean L) / (std L + 1e-6)`` over the correct rollouts of the question, ``r = exp(-alpha * z)`` for a correct
answer, -1 for a wrong one. The advantage, normalised by group, is then multiplied by a weight that falls with the
group's accuracy (`taut.methods.model_based.advantages.difficulty_weighted`). alpha 0.05, the deviation (divided by
n - 1; 1 where only one is correct) and -1 are those of the official code. There the length plays no part while the mean
of the group's three shortest responses is 4,000 tokens or less; the paper does not say so, and here that floor is a
parameter, off by default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import check_not_negative, deviation, mean
from taut.rollouts import RIGHT_ABOVE_WRONG, SHORTER_IS_BETTER, AdvantageName, Group, Length

MOST_EXPONENT = 700.0
"""Beyond it exp() overflows."""


@dataclass(frozen=True, slots=True)
class GrpoLead:
    """An exponential of the standardised length for correct answers."""

    alpha: float = 0.05
    """In the exponent, per standard deviation of the correct lengths."""
    free_below_tokens: int = 0
    """Where the mean of the three shortest responses is no more, length does not matter; 0: it always does."""
    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone."""

    needs: ClassVar[frozenset[str]] = frozenset()
    reads_group: ClassVar[bool] = True
    advantage: ClassVar[AdvantageName] = "difficulty_weighted"
    claims: ClassVar[frozenset[str]] = frozenset({SHORTER_IS_BETTER, RIGHT_ABOVE_WRONG})
    bounds: ClassVar[tuple[float, float]] = (-1.0, math.inf)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_not_negative(self, "alpha", "free_below_tokens")

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout."""
        lengths = group.correct_lengths(self.of)
        three_shortest = tuple(sorted(group.lengths(self.of))[:3])
        is_free = 0 < self.free_below_tokens >= mean(three_shortest)
        centre = mean(lengths)
        scale = (deviation(lengths, freedom=1) if len(lengths) > 1 else 1.0) + 1e-6
        rewards = []
        for rollout in group.rollouts:
            place = 0.0 if is_free else (rollout.tokens(self.of) - centre) / scale
            rewards.append(math.exp(min(-self.alpha * place, MOST_EXPONENT)) if rollout.correct else -1.0)
        return tuple(rewards)
