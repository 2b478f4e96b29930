"""Shorter than the shortest correct answer so far (HAPO, Huang et al. 2025, arXiv:2505.11225).

With h the tokens of the shortest correct answer to the question in earlier steps, ``f = cos(min(pi / 2 * L / h, pi))``
is 1 at no tokens, 0 at h, and -1 from 2 h on. A correct answer gets ``1 + weight * max(f, -0.7)``, a wrong one
``weight * min(f, 0)``; as long as h is not known, length does not matter. Nothing scales with the lengths. A
`taut.methods.model_based.memory.History` keeps h; without one every question stays new, and nothing gets shorter.
Formula and constants are those of the official code, which takes h over all processes of the training. GRPO, 5 epochs
over 2,000 questions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import check_between, check_not_negative
from taut.rollouts import CLAIMS, AdvantageName, Group, Length


@dataclass(frozen=True, slots=True)
class Hapo:
    """Correctness plus a cosine of the length in shares of the shortest correct answer so far."""

    weight: float = 1.0
    """Of the length part."""
    least_correct: float = -0.7
    """The length part of a correct answer is never below this; -1 to 0."""
    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone; the History counts the same."""

    needs: ClassVar[frozenset[str]] = frozenset({"history"})
    reads_group: ClassVar[bool] = False
    advantage: ClassVar[AdvantageName] = "group_normalised"
    claims: ClassVar[frozenset[str]] = frozenset(CLAIMS)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_not_negative(self, "weight")
        check_between(self, "least_correct", -1, 0)

    @property
    def bounds(self) -> tuple[float, float]:
        """Wrong and long, and correct and empty."""
        return min(-self.weight, 1 + self.weight * self.least_correct), 1 + self.weight

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout."""
        return tuple(
            rollout.correct
            + self.weight * self._of_length(rollout.tokens(self.of), group.shortest_so_far, rollout.correct)
            for rollout in group.rollouts
        )

    def _of_length(self, tokens: int, shortest: int | None, correct: bool) -> float:
        if shortest is None:
            return 0.0
        curve = math.cos(min(math.pi / 2 * tokens / max(shortest, 1), math.pi))
        return max(curve, self.least_correct) if correct else min(curve, 0.0)
