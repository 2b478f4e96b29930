"""The nouns of training on length: a *rollout* is one response of the model, a *group* all of one question, and a
*length reward* turns a group into numbers, one a rollout.

A reward sees nothing else, so that the same one runs in every trainer; what it must remember from step to step lives in
`taut.methods.model_based.memory`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from taut.errors import UsageError

Length = Literal["total", "thinking"]
"""Which tokens a reward counts: the whole response's, or those of its thinking alone."""

NEEDS: Mapping[str, str] = {
    "wanted_tokens": "how long a response the prompt asked for",
    "limit_tokens": "the ceiling of a response",
    "reference": "mean tokens and accuracy of the frozen start model on each question",
    "token_ids": "the tokens of each response, to look for repetition in",
    "history": "the shortest right answer to each question so far",
    "targets": "target lengths by difficulty, measured anew as the model changes",
    "no_thinking": "rollouts that begin without thinking beside those that think",
}
"""What a reward may need beyond lengths and right or wrong."""

BOUNDED = "bounded"
SHORTER_IS_BETTER = "shorter is never worse among correct"
RIGHT_ABOVE_WRONG = "a correct answer is never below a wrong one"
CLAIMS = (BOUNDED, SHORTER_IS_BETTER, RIGHT_ABOVE_WRONG)
"""What a reward may claim of every group at its default parameters. The tests hold each claim against random groups."""

AdvantageName = Literal[
    "group_normalised", "mean_centred", "leave_one_out", "direct", "difficulty_weighted", "set_standardised"
]
"""How a paper makes advantages of rewards; `taut.methods.model_based.advantages` has the functions."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One response of the model in training."""

    thinking_tokens: int
    total_tokens: int
    """Thinking and answer: all tokens of the response."""
    correct: bool
    finished: bool = True
    """It ended by itself, inside the limit."""
    thought: bool = True
    """``False``: the response began without thinking."""
    token_ids: tuple[int, ...] = field(default=(), repr=False)
    """All tokens of the response; only what looks for repetition reads them."""

    def __post_init__(self) -> None:
        """Reject counts that cannot be."""
        if not 0 <= self.thinking_tokens <= self.total_tokens:
            raise UsageError(
                f"a rollout has {self.thinking_tokens} thinking tokens of {self.total_tokens} in all: "
                "thinking is a part of the response, and neither can be below 0"
            )

    def tokens(self, of: Length) -> int:
        """Its length in tokens."""
        return self.thinking_tokens if of == "thinking" else self.total_tokens


@dataclass(frozen=True, slots=True)
class Reference:
    """What the frozen start model does on one question, from several samples."""

    mean_tokens: float
    """Of its responses, the whole of them."""
    accuracy: float
    """Share of its answers that are right, 0 to 1."""

    def __post_init__(self) -> None:
        """Reject what no sample can give."""
        if not (0 <= self.mean_tokens < math.inf and 0 <= self.accuracy <= 1):
            raise UsageError(
                f"a reference has mean_tokens {self.mean_tokens} and accuracy {self.accuracy}: the first must be "
                "a number of at least 0, the second must lie between 0 and 1"
            )


@dataclass(frozen=True, slots=True)
class Targets:
    """Target lengths in tokens by how often the group is right (LASER-D)."""

    easy: int
    """Where two thirds or more are right."""
    medium: int
    hard: int
    """Where less than a third is right."""

    def of(self, accuracy: float) -> int:
        """The target at this accuracy of the group, 0 to 1."""
        if accuracy >= 2 / 3:
            return self.easy
        return self.medium if accuracy >= 1 / 3 else self.hard


@dataclass(frozen=True, slots=True)
class Group:
    """The rollouts of one question, in the order they were drawn, and what else is known of the question."""

    rollouts: tuple[Rollout, ...]
    question: str = ""
    """Its id: the same question has the same in every step."""
    wanted_tokens: int | None = None
    """How long a response the prompt asked for."""
    limit_tokens: int | None = None
    """The ceiling of the response: what is longer was cut."""
    reference: Reference | None = None
    shortest_so_far: int | None = None
    """Tokens of the shortest right answer in earlier steps; ``None`` where there was none."""
    targets: Targets | None = None

    def lengths(self, of: Length) -> tuple[int, ...]:
        """Tokens of every rollout."""
        return tuple(rollout.tokens(of) for rollout in self.rollouts)

    def correct_lengths(self, of: Length) -> tuple[int, ...]:
        """Tokens of the rollouts that are right."""
        return tuple(rollout.tokens(of) for rollout in self.rollouts if rollout.correct)

    @property
    def accuracy(self) -> float:
        """Share of the rollouts that are right, 0 to 1; 0 of none."""
        return sum(rollout.correct for rollout in self.rollouts) / max(len(self.rollouts), 1)


@runtime_checkable
class LengthReward(Protocol):
    """Rewards of a group by length and correctness. Fields are parameters; it remembers nothing."""

    @property
    def needs(self) -> frozenset[str]:
        """What it must be told, of `NEEDS`."""
        ...

    @property
    def reads_group(self) -> bool:
        """A rollout's reward depends on the other rollouts of its question: a trainer must bring whole groups."""
        ...

    @property
    def advantage(self) -> AdvantageName:
        """How its paper makes advantages of the rewards."""
        ...

    @property
    def claims(self) -> frozenset[str]:
        """What holds for every group at the default parameters, of `CLAIMS`."""
        ...

    @property
    def bounds(self) -> tuple[float, float]:
        """No reward is below the first or above the second; infinite where there is no such number."""
        ...

    def __call__(self, group: Group) -> tuple[float, ...]:
        """One reward per rollout, in order. Raises `UsageError` where the group lacks something that it needs."""
        ...
