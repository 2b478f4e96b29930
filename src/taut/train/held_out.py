"""Accuracy of the model in training on questions that it does not train on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from taut.core import Task
from taut.errors import UsageError
from taut.metrics.intervals import Sums, proportion, ratio_of_sums
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
    thinking_by_question: tuple[int, ...] = ()
    """Tokens of the judged answers to each question, in the order of the questions' names."""
    thinking_ratio: float | None = None
    """Over the start model's to the same questions."""
    thinking_ratio_low: float | None = None
    """Of the 95 % interval, by question."""
    thinking_ratio_high: float | None = None

    def as_line(self) -> dict[str, Any]:
        """For the log."""
        return asdict(self)

    def against(self, start: Sequence[int]) -> Standing:
        """With the thinking of the start model to compare with; itself where that answered other questions."""
        own = self.thinking_by_question
        if len(own) != len(start):
            return self
        ratio = ratio_of_sums([Sums(mine, before) for mine, before in zip(own, start, strict=True)])
        if ratio is None:
            return self
        return replace(self, thinking_ratio=ratio.value, thinking_ratio_low=ratio.low, thinking_ratio_high=ratio.high)

    @property
    def brief(self) -> str:
        """For a line that has room for little."""
        right = "not scored" if self.accuracy is None else f"{self.accuracy:.0%} right"
        return f"{right} in {self.total_tokens:,.0f} tokens"

    def __str__(self) -> str:
        right = "not scored" if self.accuracy is None else f"{self.accuracy:.1%} right"
        interval = "" if self.low is None or self.high is None else f" ({self.low:.0%} to {self.high:.0%})"
        cut = f", {self.truncated_share:.0%} cut" if self.truncated_share else ""
        lengths = f"{self.thinking_tokens:,.0f} thinking of {self.total_tokens:,.0f} tokens"
        return f"{right}{interval}, {lengths}{cut}{ratio_in_words(self.as_line())}"


def ratio_in_words(line: Mapping[str, Any]) -> str:
    """The thinking over the start model's as the end of a sentence, from a line of the log; empty where it has none."""
    ratio, low, high = (line.get(f"thinking_ratio{end}") for end in ("", "_low", "_high"))
    if ratio is None:
        return ""
    if low is None or high is None:
        return f"; thinking x {ratio:.2f} of the start's, too few questions for an interval"
    unclear = "; longer or shorter is open" if low <= 1 <= high else ""
    return f"; thinking x {ratio:.2f} (95 % interval {low:.2f} to {high:.2f}) of the start's{unclear}"


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


Known = Mapping[str, frozenset[str]]
"""Texts of questions that are trained on, by their names; all of them under the empty name."""


def known_of(named: Iterable[tuple[str, str]]) -> Known:
    """Of names (empty where a row has none) and texts."""
    found: dict[str, set[str]] = {"": set()}
    for name, text in named:
        found[""].add(text.strip())
        found.setdefault(name, set()).add(text.strip())
    return {name: frozenset(texts) for name, texts in found.items()}


def _is_known(task: Task, known: Known) -> bool:
    """By its text, or by its name where one text holds the other: a ratio or a line on the form may stand behind it."""
    own = task.question.strip()
    alike = known.get(task.id, frozenset()) if task.id else frozenset()
    return own in known[""] or any(text and (own in text or text in own) for text in alike)


def open_held_out(part: HeldOutPart | None, trained_on: Known) -> HeldOut | None:
    """The questions that ``[held_out]`` names. Raises `UsageError` where one of them is trained on."""
    if part is None:
        return None
    tasks = load(part.tasks)
    overlap = [task for task in tasks if _is_known(task, trained_on)]
    if overlap:
        raise UsageError(
            f"{len(overlap)} of {len(tasks)} held-out questions are trained on too, the first is {overlap[0].id}: "
            "choose another seed or split for [held_out]"
        )
    return HeldOut(part, tuple(instructed(task, part.instruction) for task in tasks))


def standing(drawn: Sequence[Drawn]) -> Standing:
    """Accuracy with its interval, and mean lengths."""
    sums: dict[str, list[bool]] = {}
    thinking = dict.fromkeys(sorted({answer.question for answer in drawn}), 0)
    for answer in drawn:
        thinking[answer.question] += answer.thinking_tokens
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
        thinking_by_question=tuple(thinking.values()),
    )
