"""A length reward inside TRL's trainer: the adapter's rewards, and the advantages that its paper makes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from taut.errors import UsageError
from taut.methods.model_based.advantages import advantages, control_token_weights
from taut.rollouts import AdvantageName
from taut.train.adapters.trl import TrlReward

OWN_TO_TRL = "group_normalised"
"""The advantage that GRPOTrainer makes by itself."""


@dataclass(slots=True)
class Rewarding:
    """One of TRL's ``reward_funcs``, which remembers its last batch for `advantages`."""

    inner: TrlReward
    group_size: int
    advantage: AdvantageName
    penalty_after_steps: int = 0
    control_tokens: int = 0
    """For a loss that weighs the choice between thinking and not by itself: it is made within so many tokens."""
    rewards: list[float | None] = field(default_factory=list)
    correct: list[bool | None] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    @property
    def __name__(self) -> str:
        """TRL names the columns of its log by it."""
        return self.inner.__name__

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        """Rewards in the order of the completions; correctness alone before the penalty begins."""
        told: dict[str, list[Any]] = {}
        # TRL would keep what is told for a table that is not wanted here.
        columns["log_extra"] = told.__setitem__
        rewards = self.inner(prompts, completions, completion_ids, **columns)
        self.correct = told.get("correct", [])
        if columns["trainer_state"].global_step < self.penalty_after_steps:
            rewards = [None if right is None else float(right) for right in self.correct]
        self.rewards, self.lengths = rewards, [len(ids) for ids in completion_ids]
        self._check_finite()
        return rewards

    def _check_finite(self) -> None:
        for reward, length in zip(self.rewards, self.lengths, strict=True):
            if reward is not None and not math.isfinite(reward):
                raise UsageError(
                    f"{self.inner.__name__} gave {reward} for a rollout of {length} tokens: its constants are too large"
                )

    def advantages(self) -> Sequence[Any] | None:
        """Of the last batch, in its order: a number a rollout, or one a token; ``None`` where TRL's own are meant."""
        if self.advantage == OWN_TO_TRL and not self.control_tokens:
            return None
        starts = range(0, len(self.rewards), self.group_size)
        judged = [[i for i in range(at, at + self.group_size) if self.rewards[i] is not None] for at in starts]
        groups = [[cast(float, self.rewards[i]) for i in group] for group in judged]
        accuracies = [sum(bool(self.correct[i]) for i in group) / max(len(group), 1) for group in judged]
        found = [0.0] * len(self.rewards)
        for group, values in zip(judged, advantages(self.advantage, groups, accuracies), strict=True):
            for index, value in zip(group, values, strict=True):
                found[index] = value
        return self._by_token(found) if self.control_tokens else found

    def _by_token(self, values: Sequence[float]) -> list[list[float]]:
        """The control tokens and the rest weighed apart. Times the length, because the loss takes the mean over it."""
        rows = []
        for value, length in zip(values, self.lengths, strict=True):
            rest = length - self.control_tokens
            control, each = control_token_weights(rest + 1)
            weights = [control] * min(self.control_tokens, length) + [each] * rest
            rows.append([value * length * weight for weight in weights])
        return rows

    def state(self) -> dict[str, Any]:
        """What the reward remembers, as JSON data."""
        return {"reward": repr(self.inner.reward), "memories": [msgspec.to_builtins(m) for m in self.inner.memories]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave; that of another reward is passed over."""
        if state.get("reward") != repr(self.inner.reward):
            return
        pairs = zip(state["memories"], self.inner.memories, strict=True)
        self.inner.memories = tuple(msgspec.convert(data, type(memory)) for data, memory in pairs)
