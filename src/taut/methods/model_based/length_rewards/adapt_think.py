"""Leave the thinking out wherever accuracy allows (AdaptThink, Zhang et al. 2025, arXiv:2505.13417).

``r = c - accuracy of the start model on the question + delta`` for a response without thinking, and the same without
delta for one that thinks. It is used directly as the advantage. A response without thinking is better than the start
model's own thinking as soon as it is right often enough, up to delta = 0.05 below. The accuracies come from 16 samples
of the start model per question. Half of the 16 rollouts are made to begin without thinking and half with it, and the
official code corrects the old probabilities for that (importance sampling): the trainer must force the first tokens,
or no response without thinking may ever be seen. Length plays no part, and the thinking that is left is not shortened.
Constants are those of the official code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import check_between, reference_of
from taut.rollouts import BOUNDED, RIGHT_ABOVE_WRONG, AdvantageName, Group


@dataclass(frozen=True, slots=True)
class AdaptThink:
    """Correctness above the start model's, and a bonus for not thinking."""

    delta: float = 0.05
    """The bonus; accuracy that may be lost where thinking is left out. 0 to 1."""

    needs: ClassVar[frozenset[str]] = frozenset({"reference", "no_thinking"})
    reads_group: ClassVar[bool] = False
    advantage: ClassVar[AdvantageName] = "direct"
    claims: ClassVar[frozenset[str]] = frozenset({BOUNDED, RIGHT_ABOVE_WRONG})

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_between(self, "delta", 0, 1)

    @property
    def bounds(self) -> tuple[float, float]:
        """Wrong where the start model never is, and correct without thinking where it never is."""
        return -1.0, 1.0 + self.delta

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout. Raises `UsageError` where nothing is known of the start model."""
        accuracy = reference_of(self, group).accuracy
        return tuple(
            rollout.correct - accuracy + (0.0 if rollout.thought else self.delta) for rollout in group.rollouts
        )
