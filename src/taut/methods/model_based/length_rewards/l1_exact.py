"""As long as the prompt asks for: "Think for n tokens." (L1-Exact, LCPO; Aggarwal and Welleck 2025, arXiv:2503.04697).

``r = c - alpha * |n - L|``, n being the length that the prompt asks for, drawn between 100 and 4,000 for each prompt,
and alpha 0.0003: 1,000 tokens beside the mark cost 0.3. For lengths of some hundred tokens take alpha ten times as
large. Being short earns nothing by itself, so shorter is not better here, and a correct answer far off the mark is
worth less than a wrong one upon it (a test has the numbers). The prompt's suffix is `PROMPT_SUFFIX`. Constants are
those of the official code; GRPO, 16 rollouts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import check_not_negative, wanted_tokens_of
from taut.rollouts import AdvantageName, Group, Length

PROMPT_SUFFIX = " Think for {wanted_tokens} tokens."
"""What the prompt ends with."""


@dataclass(frozen=True, slots=True)
class L1Exact:
    """Correctness minus a price per token beside the mark."""

    alpha: float = 0.0003
    """Reward lost per token too many or too few."""
    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone."""

    needs: ClassVar[frozenset[str]] = frozenset({"wanted_tokens"})
    reads_group: ClassVar[bool] = False
    advantage: ClassVar[AdvantageName] = "group_normalised"
    claims: ClassVar[frozenset[str]] = frozenset()
    bounds: ClassVar[tuple[float, float]] = (-math.inf, 1.0)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_not_negative(self, "alpha")

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout. Raises `UsageError` where no length was asked for."""
        wanted_tokens = wanted_tokens_of(self, group)
        return tuple(
            rollout.correct - self.alpha * abs(wanted_tokens - rollout.tokens(self.of)) for rollout in group.rollouts
        )
