"""Only what is right inside a shrinking limit counts (ThinkPrune, Hou et al. 2025, arXiv:2504.01296).

``r = 1`` if the answer is correct, ended by itself and has at most limit tokens, else 0. The official code simply cuts
responses at the limit, where a cut one has no answer. Rounds of 4,000, 3,000 and 2,000 tokens, each from the last
checkpoint, by GRPO; the system prompt gains `PROMPT_SUFFIX`. For short responses the limits shrink alike.
Inside the limit length does not matter: where all are correct and inside, there is nothing to learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.errors import UsageError
from taut.methods.model_based.length_rewards._shared import limit_tokens_of
from taut.rollouts import CLAIMS, AdvantageName, Group, Length

PROMPT_SUFFIX = " The output of the assistant should be within {limit_tokens} tokens."
"""What the system prompt ends with."""


@dataclass(frozen=True, slots=True)
class ThinkPrune:
    """1 for correct inside the limit, else 0."""

    round_limit_tokens: int | None = None
    """The limit of this round; ``None``: the ceiling that the trainer sets."""
    of: Length = "total"
    """Tokens that count: ``total`` of the response, or those of its ``thinking`` alone."""

    reads_group: ClassVar[bool] = False
    advantage: ClassVar[AdvantageName] = "group_normalised"
    claims: ClassVar[frozenset[str]] = frozenset(CLAIMS)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        if self.round_limit_tokens is not None and self.round_limit_tokens < 1:
            raise UsageError(f"think_prune: round_limit_tokens is {self.round_limit_tokens}, it must be at least 1")

    @property
    def needs(self) -> frozenset[str]:
        """The limit, unless it is given as a parameter."""
        return frozenset({"limit_tokens"} if self.round_limit_tokens is None else ())

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout. Raises `UsageError` where the limit is not known."""
        limit_tokens = self.round_limit_tokens
        if limit_tokens is None:
            limit_tokens = limit_tokens_of(self, group)
        return tuple(
            float(rollout.correct and rollout.finished and rollout.tokens(self.of) <= limit_tokens)
            for rollout in group.rollouts
        )
