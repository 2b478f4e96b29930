"""A step: half a point more for a correct answer inside the target length (LASER, Liu et al. 2025, arXiv:2505.15612).

``r = 1`` for a correct answer, -0.5 for a wrong one, and 0.5 more where it is correct and has at most target tokens.
A step and no slope: nothing is gained by going below the target, and nothing is lost at once above it. The points are
those of the official code. Unverified: the default target of 4,096 tokens, one of those that the paper compares; give
one that fits the lengths at hand, such as half of the model's mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import check_above_zero, check_not_negative, check_order
from taut.rollouts import CLAIMS, AdvantageName, Group, Length


@dataclass(frozen=True, slots=True)
class Laser:
    """Correctness and a bonus inside the target."""

    target_tokens: int = 4096
    """Most tokens of a correct answer that earns the bonus."""
    bonus: float = 0.5
    correct_reward: float = 1.0
    wrong_reward: float = -0.5
    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone."""

    needs: ClassVar[frozenset[str]] = frozenset()
    reads_group: ClassVar[bool] = False
    advantage: ClassVar[AdvantageName] = "group_normalised"
    claims: ClassVar[frozenset[str]] = frozenset(CLAIMS)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_above_zero(self, "target_tokens")
        check_not_negative(self, "bonus")
        check_order(self, "correct_reward", "wrong_reward")

    @property
    def bounds(self) -> tuple[float, float]:
        """Wrong, and correct with the bonus."""
        return self.wrong_reward, self.correct_reward + self.bonus

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout."""
        return tuple(
            self.correct_reward + self.bonus * (rollout.tokens(self.of) <= self.target_tokens)
            if rollout.correct
            else self.wrong_reward
            for rollout in group.rollouts
        )
