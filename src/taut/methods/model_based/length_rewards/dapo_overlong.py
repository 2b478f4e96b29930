"""A soft penalty just below the limit, in place of a cut (DAPO's overlong shaping, Yu et al. 2025, arXiv:2503.14476).

``r = 1`` for a correct answer, -1 for a wrong one, plus ``min(-(L - (limit - cache)) / cache * factor, 0)``: free up
to the cache, then in a line down to -factor at the limit. The paper's cache is 4,096 tokens of a limit of 20,480; by
default it is the same fifth of whatever the limit is. Constants are those of verl's ``dapo`` reward manager.
It keeps responses from running into the limit, and does not shorten those that end well before it. Above the limit,
where a trainer lets responses go, the penalty stays what it is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.errors import UsageError
from taut.methods.model_based.length_rewards._shared import (
    check_above_zero,
    check_not_negative,
    check_order,
    clip,
    limit_tokens_of,
)
from taut.rollouts import CLAIMS, AdvantageName, Group

CACHE_SHARE = 0.2
"""Of the limit: 4,096 of 20,480."""


@dataclass(frozen=True, slots=True)
class DapoOverlong:
    """Correctness minus a penalty for the last stretch before the limit."""

    cache_tokens: int | None = None
    """Length of that stretch; ``None``: a fifth of the limit."""
    factor: float = 1.0
    """Penalty at the limit."""
    correct_reward: float = 1.0
    wrong_reward: float = -1.0

    needs: ClassVar[frozenset[str]] = frozenset({"limit_tokens"})
    reads_group: ClassVar[bool] = False
    advantage: ClassVar[AdvantageName] = "group_normalised"
    claims: ClassVar[frozenset[str]] = frozenset(CLAIMS)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        if self.cache_tokens is not None:
            check_above_zero(self, "cache_tokens")
        check_not_negative(self, "factor")
        check_order(self, "correct_reward", "wrong_reward")

    @property
    def bounds(self) -> tuple[float, float]:
        """Wrong at the limit, and correct before the penalty begins."""
        return self.wrong_reward - self.factor, self.correct_reward

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout. Raises `UsageError` where the limit is not known, or no longer than the cache."""
        limit_tokens = limit_tokens_of(self, group)
        cache_tokens = CACHE_SHARE * limit_tokens if self.cache_tokens is None else self.cache_tokens
        if cache_tokens >= limit_tokens:
            raise UsageError(
                f"dapo_overlong: cache_tokens is {cache_tokens}, it must be below the limit of {limit_tokens} tokens"
            )
        free_tokens = limit_tokens - cache_tokens
        return tuple(
            (self.correct_reward if rollout.correct else self.wrong_reward)
            - self.factor * clip((rollout.total_tokens - free_tokens) / cache_tokens, 0, 1)
            for rollout in group.rollouts
        )
