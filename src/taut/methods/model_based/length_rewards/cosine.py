"""A cosine of the length: correct is best short, wrong is least bad long (Yeo et al. 2025, arXiv:2502.03373).

``r = end + (start - end) / 2 * (1 + cos(pi * L / limit))``: a correct answer falls from 2 at no tokens to 1 at the
limit, a wrong one rises from -10 to 0, so that a model that cannot do it yet thinks on. Who comes within 16 tokens of
the limit gets -10, right or wrong. On top, -0.05 for every token in a run of 40 that the response has had before.
Constants are those of the official code, for a limit of 14,336 tokens; for short responses the margin of 16 and the
runs of 40 are to be smaller. The aim is a stable length, not the least.
Differs from it: there the penalty for repetition is laid on the repeated tokens themselves; here, where a response has
one reward, it is their sum. A correct answer at the limit is worth less than a wrong one before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from taut.errors import UsageError
from taut.methods.model_based.length_rewards._shared import (
    check_not_negative,
    check_order,
    check_token_ids,
    limit_tokens_of,
    repeated_tokens,
)
from taut.rollouts import AdvantageName, Group, Rollout


@dataclass(frozen=True, slots=True)
class Cosine:
    """Two halves of a cosine, one for correct answers and one for wrong ones, and a price on repetition."""

    correct_short: float = 2.0
    """A correct answer of no tokens."""
    correct_long: float = 1.0
    """A correct answer as long as the limit allows."""
    wrong_short: float = -10.0
    wrong_long: float = 0.0
    over_limit: float = -10.0
    """Right or wrong, at the limit."""
    margin_tokens: int = 16
    """So close below the limit it counts as reached."""
    repetition_price: float = 0.05
    """Taken off for each repeated token; 0: repetition is not looked for, and no token ids are needed."""
    repetition_ngram_tokens: int = 40
    """A run of so many tokens that was there before is repeated."""

    reads_group: ClassVar[bool] = False
    advantage: ClassVar[AdvantageName] = "group_normalised"
    claims: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_order(self, "correct_short", "correct_long")
        check_order(self, "wrong_long", "wrong_short")
        check_not_negative(self, "margin_tokens", "repetition_price")
        if self.repetition_ngram_tokens < 1:
            raise UsageError(
                f"cosine: repetition_ngram_tokens is {self.repetition_ngram_tokens}, it must be at least 1"
            )

    @property
    def needs(self) -> frozenset[str]:
        """The limit, and the tokens unless repetition is free."""
        return frozenset({"limit_tokens", "token_ids"} if self.repetition_price else {"limit_tokens"})

    @property
    def bounds(self) -> tuple[float, float]:
        """Open below where repetition has a price."""
        ends = (self.correct_short, self.correct_long, self.wrong_short, self.wrong_long, self.over_limit)
        return -math.inf if self.repetition_price else min(ends), max(ends)

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout. Raises `UsageError` where the limit or the tokens are not known."""
        limit_tokens = limit_tokens_of(self, group)
        if self.repetition_price:
            check_token_ids(self, group)
        return tuple(self._of_length(rollout, limit_tokens) - self._of_runs(rollout) for rollout in group.rollouts)

    def _of_length(self, rollout: Rollout, limit_tokens: int) -> float:
        if rollout.total_tokens + self.margin_tokens >= limit_tokens:
            return self.over_limit
        start, end = self.wrong_short, self.wrong_long
        if rollout.correct:
            start, end = self.correct_short, self.correct_long
        return end + (start - end) / 2 * (1 + math.cos(math.pi * rollout.total_tokens / limit_tokens))

    def _of_runs(self, rollout: Rollout) -> float:
        if not self.repetition_price:
            return 0.0
        return self.repetition_price * repeated_tokens(rollout.token_ids, self.repetition_ngram_tokens)
