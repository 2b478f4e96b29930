"""A token budget from how hard the question proves to be (DAST, Shen et al. 2025, arXiv:2503.04472).

With p the share of correct answers in the group, ``budget = p * mean L of the correct + (1 - p) * limit`` and
``lam = (L - budget) / budget``; a correct answer scores ``max(-0.5 * lam + 0.5, 0.1)``, a wrong one
``min(0.9 * lam - 0.1, -0.1)``: the correct are to come below the budget, the wrong to use it. Nothing scales with
the lengths. Unverified: the formula and its constants come from a summary of the paper, not from its code.
The paper does not train on the score: it ranks 20 samples a question, builds pairs of them and trains by SimPO. Used
as a reward for the group, as here, it is this package's own application.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import limit_tokens_of, mean
from taut.rollouts import CLAIMS, AdvantageName, Group, Length


@dataclass(frozen=True, slots=True)
class Dast:
    """Distance from the budget, in shares of it."""

    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone."""

    needs: ClassVar[frozenset[str]] = frozenset({"limit_tokens"})
    reads_group: ClassVar[bool] = True
    advantage: ClassVar[AdvantageName] = "group_normalised"
    claims: ClassVar[frozenset[str]] = frozenset(CLAIMS)
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout. Raises `UsageError` where the limit is not known."""
        limit_tokens = limit_tokens_of(self, group)
        share = group.accuracy
        budget_tokens = max(share * mean(group.correct_lengths(self.of)) + (1 - share) * limit_tokens, 1.0)
        rewards = []
        for rollout in group.rollouts:
            excess = (rollout.tokens(self.of) - budget_tokens) / budget_tokens
            right, wrong = max(0.5 - 0.5 * excess, 0.1), min(0.9 * excess - 0.1, -0.1)
            rewards.append(right if rollout.correct else wrong)
        return tuple(rewards)
