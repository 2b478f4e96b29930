"""Shorter and no less right than the start model (O1-Pruner, Luo et al. 2025, arXiv:2501.12570).

``r = mean tokens of the start model / L - 1 + accuracy_weight * (c - accuracy of the start model)``, then clipped to
[-2, 4]; both statistics are of the same question, from 16 samples of the frozen start model. The accuracy_weight is 2
in the authors' checkpoints; the README's larger example uses 5. All as in the official code, which then standardises
the rewards over the whole data set and trains off-policy on 2 samples per question, with no new rollouts.
Nothing here scales with the lengths. A quick wrong answer is worth more than a slow correct one, up to the clip
(a test has the numbers). A response of no tokens counts as one of one token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import check_not_negative, check_order, clip, reference_of
from taut.rollouts import BOUNDED, SHORTER_IS_BETTER, AdvantageName, Group


@dataclass(frozen=True, slots=True)
class O1Pruner:
    """Length and accuracy, each measured against the start model's on the question."""

    accuracy_weight: float = 2.0
    """Lambda: points for each unit of accuracy above the start model's."""
    most: float = 4.0
    least: float = -2.0
    """Rewards are clipped to between these two."""

    needs: ClassVar[frozenset[str]] = frozenset({"reference"})
    reads_group: ClassVar[bool] = False
    advantage: ClassVar[AdvantageName] = "set_standardised"
    claims: ClassVar[frozenset[str]] = frozenset({BOUNDED, SHORTER_IS_BETTER})

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_not_negative(self, "accuracy_weight")
        check_order(self, "most", "least")

    @property
    def bounds(self) -> tuple[float, float]:
        """Those of the clip."""
        return self.least, self.most

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout. Raises `UsageError` where nothing is known of the start model."""
        reference = reference_of(self, group)
        rewards = []
        for rollout in group.rollouts:
            length_part = reference.mean_tokens / max(rollout.total_tokens, 1) - 1
            accuracy_part = self.accuracy_weight * (rollout.correct - reference.accuracy)
            rewards.append(clip(length_part + accuracy_part, self.least, self.most))
        return tuple(rewards)
