"""LASER with a target by difficulty that follows the model (LASER-D and LASER-DE, arXiv:2505.15612).

As in LASER, a correct answer of at most target tokens earns 0.5 more; the target depends on the share of correct
answers in the group: two thirds or more, a third or more, less. A `taut.methods.model_based.memory.Monitor` watches
the groups and sets the three targets anew every so often. With ``explore`` (LASER-DE) a wrong answer above the target
earns the 0.5 too, unless it repeats itself: it has at least tried; this needs the token ids. Points and steps are those
of the official code. Its test for repetition is another than the one here, runs of tokens that were there before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import (
    check_above_zero,
    check_not_negative,
    check_order,
    check_token_ids,
    repeated_tokens,
    targets_of,
)
from taut.rollouts import CLAIMS, AdvantageName, Group, Length, Rollout


@dataclass(frozen=True, slots=True)
class LaserD:
    """Correctness and a bonus inside the target of the group's difficulty."""

    bonus: float = 0.5
    correct_reward: float = 1.0
    wrong_reward: float = -0.5
    explore: bool = False
    """The bonus for wrong answers above the target too (LASER-DE)."""
    repetition_ngram_tokens: int = 40
    """With ``explore``: a run of so many tokens that was there before forfeits the bonus."""
    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone."""

    reads_group: ClassVar[bool] = True
    advantage: ClassVar[AdvantageName] = "group_normalised"
    claims: ClassVar[frozenset[str]] = frozenset(CLAIMS)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_not_negative(self, "bonus")
        check_order(self, "correct_reward", "wrong_reward")
        check_above_zero(self, "repetition_ngram_tokens")

    @property
    def needs(self) -> frozenset[str]:
        """The targets; the tokens where repetition matters."""
        return frozenset({"targets", "token_ids"} if self.explore else {"targets"})

    @property
    def bounds(self) -> tuple[float, float]:
        """Wrong, and correct with the bonus."""
        return self.wrong_reward, self.correct_reward + self.bonus

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout. Raises `UsageError` where there are no targets, or no tokens to explore with."""
        target_tokens = targets_of(self, group).of(group.accuracy)
        if self.explore:
            check_token_ids(self, group)
        return tuple(self._reward(rollout, target_tokens) for rollout in group.rollouts)

    def _reward(self, rollout: Rollout, target_tokens: int) -> float:
        is_inside = rollout.tokens(self.of) <= target_tokens
        if rollout.correct:
            return self.correct_reward + self.bonus * is_inside
        explores = self.explore and not is_inside
        if explores and not repeated_tokens(rollout.token_ids, self.repetition_ngram_tokens):
            return self.wrong_reward + self.bonus
        return self.wrong_reward
