"""A price per token that rises with how often the question is solved (ALP, Xiang et al. 2025, arXiv:2506.05256).

``r = c - beta * L * max(p, 1 / K)``, p the share of correct answers among the K rollouts: tokens are dear where the
question is easy and nearly free where it is hard. Unverified: the formula and ``beta = 1e-7`` come from a summary
of the paper. So small a beta works only through group normalisation: where all rollouts are correct, their rewards
differ by nothing else, and the division by their deviation makes that difference whole again. A trainer that adds
1e-4 to the deviation (TRL does) drowns it at a few hundred tokens: there take a beta of about 0.1 / L. With mean
centring alone 1e-7 does nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import check_not_negative
from taut.rollouts import SHORTER_IS_BETTER, AdvantageName, Group, Length


@dataclass(frozen=True, slots=True)
class Alp:
    """Correctness minus tokens at a price by the group's accuracy."""

    beta: float = 1e-7
    """Reward lost per token where all rollouts are correct."""
    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone."""

    needs: ClassVar[frozenset[str]] = frozenset()
    reads_group: ClassVar[bool] = True
    advantage: ClassVar[AdvantageName] = "group_normalised"
    claims: ClassVar[frozenset[str]] = frozenset({SHORTER_IS_BETTER})
    bounds: ClassVar[tuple[float, float]] = (-math.inf, 1.0)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_not_negative(self, "beta")

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout."""
        price = self.beta * max(group.accuracy, 1 / max(len(group.rollouts), 1))
        return tuple(rollout.correct - price * rollout.tokens(self.of) for rollout in group.rollouts)
