"""No longer than the prompt asks for: "Think for maximum n tokens." (L1-Max; arXiv:2503.04697).

The paper has ``r = c * clip(alpha * (n - L) + delta, 0, 1)`` with alpha 0.0003 and delta 0.5: a correct answer of just
n tokens is worth a half, one that saves 1,667 tokens or more is worth 1, one that is 1,667 too long nothing. The
official code has ``r = c * (clip(alpha * (n - L), -1, 1) + 1) / 2``, with half the slope and no delta:
``form=code``. A wrong answer is worth nothing in both. For lengths of some hundred tokens take alpha ten times as
large. The paper goes on from L1-Exact, with half of the prompts of either kind. The prompt's suffix is `PROMPT_SUFFIX`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from taut.methods.model_based.length_rewards._shared import check_between, check_not_negative, clip, wanted_tokens_of
from taut.rollouts import CLAIMS, AdvantageName, Group, Length

PROMPT_SUFFIX = " Think for maximum {wanted_tokens} tokens."
"""What the prompt ends with."""


@dataclass(frozen=True, slots=True)
class L1Max:
    """A correct answer's worth falls in a line with its length, between 1 and 0."""

    alpha: float = 0.0003
    """Worth lost per token; half of it in the code's form."""
    delta: float = 0.5
    """Worth of a correct answer of just the length that was asked for; the code's form has no other than 0.5."""
    form: Literal["paper", "code"] = "paper"
    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone."""

    needs: ClassVar[frozenset[str]] = frozenset({"wanted_tokens"})
    reads_group: ClassVar[bool] = False
    advantage: ClassVar[AdvantageName] = "group_normalised"
    claims: ClassVar[frozenset[str]] = frozenset(CLAIMS)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_not_negative(self, "alpha")
        check_between(self, "delta", 0, 1)

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout. Raises `UsageError` where no length was asked for."""
        wanted_tokens = wanted_tokens_of(self, group)
        return tuple(
            self._worth(wanted_tokens - rollout.tokens(self.of)) if rollout.correct else 0.0
            for rollout in group.rollouts
        )

    def _worth(self, saved_tokens: int) -> float:
        if self.form == "code":
            return (clip(self.alpha * saved_tokens, -1, 1) + 1) / 2
        return clip(self.alpha * saved_tokens + self.delta, 0, 1)
