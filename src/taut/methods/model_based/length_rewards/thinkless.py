"""Correct counts one point without thinking and less with it (Thinkless, Fang et al. 2025, arXiv:2505.13379).

``r = 1`` for correct without thinking, ``1 - gamma`` for correct with it, -1 for wrong. The model's first token says
which of the two it is, ``<short>`` or ``<think>``. The paper's point is the loss (DeGRPO): the one control token has
a weight of its own, 1/1000 in the official code, beside the mean over the response's tokens
(`taut.methods.model_based.advantages.control_token_weights`); without it a long response drowns its control token, or
the choice is made within a few steps. Rewards are centred on the group's mean. Unverified: gamma 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.length_rewards._shared import check_between
from taut.rollouts import BOUNDED, RIGHT_ABOVE_WRONG, AdvantageName, Group


@dataclass(frozen=True, slots=True)
class Thinkless:
    """Correct counts more without thinking."""

    gamma: float = 0.5
    """What thinking takes off a correct answer, 0 to 1."""

    needs: ClassVar[frozenset[str]] = frozenset({"no_thinking"})
    reads_group: ClassVar[bool] = False
    advantage: ClassVar[AdvantageName] = "mean_centred"
    claims: ClassVar[frozenset[str]] = frozenset({BOUNDED, RIGHT_ABOVE_WRONG})
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check_between(self, "gamma", 0, 1)

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout."""
        return tuple((1.0 - self.gamma * rollout.thought) if rollout.correct else -1.0 for rollout in group.rollouts)
