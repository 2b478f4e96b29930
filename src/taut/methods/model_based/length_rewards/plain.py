"""Right or wrong minus a price per token: the form of the survey "Stop Overthinking" (arXiv:2503.16419).

``r = c - alpha * L``, with c = 1 for a correct answer, else 0, and L the tokens of the response. The survey gives no
alpha; 0.0001 takes a tenth of a right answer's worth for 1,000 tokens, and is to be scaled with the lengths at hand.
The simplest form and not a safe one: the price is the same for wrong answers, which are then best when empty, a correct
answer of more than 1 / alpha tokens is worth less than an empty wrong one, and within a group the advantage of a long
correct answer turns negative, so that the trainer unlearns it (GR3, arXiv:2603.10535; a test shows it with numbers).
The other rewards are ways around that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import check_not_negative
from taut.rollouts import SHORTER_IS_BETTER, AdvantageName, Group, Length


@dataclass(frozen=True, slots=True)
class Plain:
    """``c - alpha * L``."""

    alpha: float = 0.0001
    """Reward lost per token; for answers of 100 tokens rather 0.001."""
    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone."""

    needs: ClassVar[frozenset[str]] = frozenset()
    reads_group: ClassVar[bool] = False
    advantage: ClassVar[AdvantageName] = "group_normalised"
    claims: ClassVar[frozenset[str]] = frozenset({SHORTER_IS_BETTER})
    bounds: ClassVar[tuple[float, float]] = (-math.inf, 1.0)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_not_negative(self, "alpha")

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout."""
        return tuple(rollout.correct - self.alpha * rollout.tokens(self.of) for rollout in group.rollouts)
