"""Shortest to longest of the group, half a point up to half a point down (Kimi k1.5, arXiv:2501.12599).

``lam = 0.5 - (L - min L) / (max L - min L)`` over all responses to the question, right and wrong; a correct answer
gets lam, a wrong one min(0, lam), and all get 0 where the lengths are equal. The whole is
``correctness + weight * that``. The makers published no training code and no weight; 0.4, and -0.5 for a wrong
answer, are those of LASER's re-implementation (arXiv:2505.15612). The paper switches the length part on after a
warm-up without it: train with ``weight=0`` first. It centres the group's rewards on their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import check_not_negative, check_order
from taut.rollouts import CLAIMS, AdvantageName, Group, Length


@dataclass(frozen=True, slots=True)
class Kimi:
    """Correctness plus a share of where the length stands in its group."""

    weight: float = 0.4
    """Of the length part, which spans one point among correct answers and half a point among wrong ones."""
    correct_reward: float = 1.0
    wrong_reward: float = -0.5
    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone."""

    needs: ClassVar[frozenset[str]] = frozenset()
    reads_group: ClassVar[bool] = True
    advantage: ClassVar[AdvantageName] = "mean_centred"
    claims: ClassVar[frozenset[str]] = frozenset(CLAIMS)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_not_negative(self, "weight")
        check_order(self, "correct_reward", "wrong_reward")

    @property
    def bounds(self) -> tuple[float, float]:
        """Half the weight around correctness."""
        return self.wrong_reward - self.weight / 2, self.correct_reward + self.weight / 2

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout."""
        lengths = group.lengths(self.of)
        least, spread = min(lengths, default=0), max(lengths, default=0) - min(lengths, default=0)
        rewards = []
        for rollout, tokens in zip(group.rollouts, lengths, strict=True):
            place = 0.5 - (tokens - least) / spread if spread else 0.0
            base = self.correct_reward if rollout.correct else self.wrong_reward
            rewards.append(base + self.weight * (place if rollout.correct else min(0.0, place)))
        return tuple(rewards)
