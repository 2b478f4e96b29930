"""Accuracy of the model in training on questions that it does not train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from taut.core import Task
from taut.errors import UsageError
from taut.metrics.intervals import Sums, proportion
from taut.train.generation import Drawing, Drawn, draw
from taut.train.models import Writer
from taut.train.questions import instructed, load
from taut.train.recipe import HeldOutPart


@dataclass(frozen=True, slots=True)
class Standing:
    """How the model does on held-out questions."""

    questions: int
    answers: int
    """Judged ones; what could not be judged is left out of the accuracy."""
    accuracy: float | None
    low: float | None
    """Of the 95 % interval (Wilson's), as in the reports."""
    high: float | None
    thinking_tokens: float
    """Mean per judged answer."""
    total_tokens: float
    """Mean per answer."""
    truncated_share: float
    """Answers that the ceiling cut."""

    def as_line(self) -> dict[str, Any]:
        """For the log."""
        return asdict(self)

    @property
    def brief(self) -> str:
        """For a line that has room for little."""
        right = "not scored" if self.accuracy is None else f"{self.accuracy:.0%} right"
        return f"{right} in {self.total_tokens:,.0f} tokens"

    def __str__(self) -> str:
        right = "not scored" if self.accuracy is None else f"{self.accuracy:.1%} right"
        interval = "" if self.low is None or self.high is None else f" ({self.low:.0%} to {self.high:.0%})"
        cut = f", {self.truncated_share:.0%} cut" if self.truncated_share else ""
        return f"{right}{interval}, {self.thinking_tokens:,.0f} thinking of {self.total_tokens:,.0f} tokens{cut}"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Questions to ask now and then."""

    part: HeldOutPart
    tasks: tuple[Task, ...]

    def mine(self, rank: int, world: int) -> Sequence[Task]:
        """The questions that one of several processes asks."""
        return self.tasks[rank::world]

    def ask(self, model: Any, writer: Writer, tasks: Sequence[Task]) -> list[Drawn]:
        """The model's answers."""
        part = self.part
        drawing = Drawing(part.max_tokens, part.temperature, batch_size=part.batch_size, seed=part.seed)
        return draw(model, writer, tasks, part.samples, drawing)


def open_held_out(part: HeldOutPart | None, trained_on: frozenset[str]) -> HeldOut | None:
    """The questions that ``[held_out]`` names. Raises `UsageError` where one of them is trained on."""
    if part is None:
        return None
    tasks = load(part.tasks)
    overlap = [task for task in tasks if task.question.strip() in trained_on]
    if overlap:
        raise UsageError(
            f"{len(overlap)} of {len(tasks)} held-out questions are trained on too, the first is {overlap[0].id}: "
            "choose another seed or split for [held_out]"
        )
    return HeldOut(part, tuple(instructed(task, part.instruction) for task in tasks))


def standing(drawn: Sequence[Drawn]) -> Standing:
    """Accuracy with its interval, and mean lengths."""
    sums: dict[str, list[bool]] = {}
    for answer in drawn:
        if answer.right is not None:
            sums.setdefault(answer.question, []).append(answer.right)
    found = proportion([Sums(sum(right), len(right)) for right in sums.values()])
    count = max(len(drawn), 1)
    return Standing(
        questions=len({answer.question for answer in drawn}),
        answers=sum(map(len, sums.values())),
        accuracy=None if found is None else found.value,
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        thinking_tokens=sum(answer.thinking_tokens for answer in drawn) / max(sum(map(len, sums.values())), 1),
        total_tokens=sum(answer.total_tokens for answer in drawn) / count,
        truncated_share=sum(not answer.finished for answer in drawn) / count,
    )
