"""What a builder of short data reads and what it yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

from taut.core import Count, Finish, Message, Task
from taut.rollouts import Length

Form = Literal["sft", "preference"]
Take = Literal["shortest", "longest", "first"]
"""Which of several right answers: by length, or the one that was drawn first."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One rollout of a question: what a trace holds of it."""

    key: str
    """Of all samples of a question only this one has it."""
    preset: str
    seed: int
    thinking: str
    answer: str
    thinking_tokens: Count
    answer_tokens: Count
    right: bool | None
    """``None``: not scored, which is never read as wrong."""
    finish: Finish | None = "stop"
    budget_tokens: int | None = None
    """Tokens that its prompt asked for; ``None`` where it named no budget."""

    @property
    def is_whole(self) -> bool:
        """It ended by itself, with an answer; calls of tools have none."""
        return self.finish == "stop" and bool(self.answer.strip())

    def tokens(self, of: Length = "total") -> int:
        """Its length in tokens."""
        return self.thinking_tokens.tokens + (self.answer_tokens.tokens if of == "total" else 0)


@dataclass(frozen=True)
class Question:
    """A question with its samples, in the order in which they were drawn."""

    task: Task
    samples: tuple[Sample, ...]

    @property
    def id(self) -> str:
        """The task's."""
        return self.task.id

    @cached_property
    def right(self) -> tuple[Sample, ...]:
        """Whole samples with the right answer."""
        return tuple(sample for sample in self.samples if sample.right and sample.is_whole)

    @cached_property
    def wrong(self) -> tuple[Sample, ...]:
        """Whole samples with a wrong answer; those that were not scored are neither."""
        return tuple(sample for sample in self.samples if sample.right is False and sample.is_whole)

    @property
    def solve_rate(self) -> float:
        """Share of right answers among those that were scored; 0 where none was."""
        scored = [sample.right for sample in self.samples if sample.right is not None]
        return sum(scored) / len(scored) if scored else 0.0


@dataclass(frozen=True, slots=True)
class Written:
    """A reply as it is to be learned, without any model's tags."""

    sample: Sample
    """What it was made of."""
    thinking: str
    answer: str
    thinking_tokens: Count
    answer_tokens: Count


@dataclass(frozen=True, slots=True)
class Example:
    """One row to train on. With a ``rejected`` reply it is a preference."""

    question: Question
    chosen: Written
    rejected: Written | None = None
    messages: tuple[Message, ...] | None = None
    """The prompt, where it differs from the task's own messages."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the row: ``stage``, ``ratio``, …"""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A question that gave no example, and why, in a few words that several may share."""

    question: Question
    why: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What an audit finds in a chain. Positions are characters of it."""

    right_ends: tuple[int, ...] = ()
    """Behind each statement of the right answer, in order."""
    checks: tuple[tuple[int, int], ...] = ()
    """Start and end of sentences that check, or say again, what is there already."""


Weighed = Sequence[tuple[str, float]]
"""The words of a text, each with the space behind it, and how much each matters; together they are the text."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What builders need and do not do themselves. ``None``: not at hand."""

    count: Callable[[str], int] | None = None
    """Tokens of a text; without it the tokens of a changed text are estimated from its share of the characters."""
    audit: Callable[[Question, Sample], Reading] | None = None
    """Where the right answer stands in a sample's chain."""
    importance: Callable[[str, str], Weighed] | None = None
    """The words of a chain (the second text) that answers a question (the first), by importance."""
    compressions: Mapping[str, str] | None = None
    """By sample key: its chain in few words."""


@runtime_checkable
class Builder(Protocol):
    """Turns questions, each with a right sample at least, into examples."""

    @property
    def makes(self) -> Form:
        """Rows to imitate, or pairs to prefer."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """Which of the `Tools` it cannot do without."""
        ...

    def __call__(self, questions: Sequence[Question], tools: Tools) -> Iterator[Example | Dropped]:
        """For each question at least one example, or one `Dropped`."""
        ...
