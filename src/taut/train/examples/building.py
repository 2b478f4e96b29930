"""Run a builder over questions, and keep account of each of them: none is lost, and no wrong answer is taught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from taut import plugins
from taut.config import build_entry
from taut.errors import UsageError, nearest
from taut.methods.model_based.short_data._nouns import (
    Builder,
    Dropped,
    Example,
    Question,
    Sample,
    Tools,
)
from taut.verify import score

GROUP = "short data"
MISSING: Mapping[str, str] = {
    "count": "a tokenizer: give --tokenizer FOLDER",
    "audit": "an audit of the chains, which this caller does not give it",
    "importance": "a model that weighs words: give --importance-model FOLDER, or take importance=random",
    "compressions": "compressed chains: give --engine E to have them made, or --compressions FILE",
}
"""What is to be done where a builder needs a tool that is not there."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a builder made of the questions."""

    questions: tuple[Question, ...]
    """All that were seen."""
    examples: tuple[Example, ...]
    dropped: tuple[Dropped, ...]

    @property
    def kept(self) -> list[Question]:
        """Questions with an example at least."""
        chosen = {id(example.question) for example in self.examples}
        return [question for question in self.questions if id(question) in chosen]


def open_builder(text: str, parameters: Mapping[str, Any] = {}) -> Builder:
    """The builder that ``shortest_correct`` or ``shortest_correct(of_n=8)`` names. Raises `UsageError`."""
    name = text.partition("(")[0].partition(":")[0].strip()
    known = plugins.entries(GROUP)
    if name not in known:
        raise UsageError(
            f"there is no builder of short data named {name!r}{nearest(name, known)}; known: {', '.join(sorted(known))}"
        )
    return cast(Builder, build_entry(GROUP, text, f"builder {text!r}", parameters))


def build(builder: Builder, questions: Sequence[Question], tools: Tools) -> Built:
    """The examples, and for each question without one the reason.

    Raises `UsageError` where no question has a right answer, where a tool is missing, where nothing is kept, and for a
    builder that chooses an answer that is not right.
    """
    check_tools(builder, tools)
    good = usable(questions)
    dropped = {id(question): Dropped(question, why) for question in questions if (why := why_not(question))}
    examples: list[Example] = []
    for item in builder(good, tools):
        if isinstance(item, Dropped):
            dropped[id(item.question)] = item
        elif _is_still_right(builder, item):
            examples.append(item)
        else:
            dropped[id(item.question)] = Dropped(item.question, "its shortened answer no longer reads as right")
    kept = {id(example.question) for example in examples}
    for question in good:
        dropped.setdefault(id(question), Dropped(question, "the builder made nothing of it"))
    left = tuple(dropped[id(question)] for question in questions if id(question) not in kept)
    if not examples:
        told = ", ".join(f"{count:,} {why}" for why, count in Counter(each.why for each in left).most_common())
        raise UsageError(f"{_name(builder)} made no example of {len(questions):,} questions: {told}")
    return Built(tuple(questions), tuple(examples), left)


def usable(questions: Sequence[Question]) -> list[Question]:
    """Those with a right answer. Raises `UsageError` if there is none."""
    good = [question for question in questions if not why_not(question)]
    if not good:
        counts = Counter(standing(sample) for question in questions for sample in question.samples)
        told = ", ".join(f"{count:,} {what}" for what, count in counts.most_common())
        raise UsageError(f"none of the {counts.total():,} answers can be learned from, as none is right: {told}")
    return good


def check_tools(builder: Builder, tools: Tools) -> None:
    """Raise `UsageError` for a tool that the builder needs and does not have."""
    known = [item.name for item in fields(Tools)]
    for need in sorted(builder.needs):
        if need not in known:
            raise UsageError(f"{_name(builder)} needs an unknown tool {need!r}{nearest(need, known)}")
        if getattr(tools, need) is None:
            raise UsageError(f"{_name(builder)} needs {MISSING[need]}")


def standing(sample: Sample) -> str:
    """What became of a sample before any builder: ``right`` for those that builders may choose."""
    if sample.finish == "error":
        return "failed"
    if not (sample.thinking.strip() or sample.answer.strip()):
        return "without text"
    if not sample.is_whole:
        return "cut or without an answer"
    return "not scored" if sample.right is None else "right" if sample.right else "wrong"


def why_not(question: Question) -> str:
    """Why no builder can use this question; empty where one can."""
    if any(not _is_plain(message.get("content")) for message in question.task.messages):
        return "its messages have parts other than text"
    found = {standing(sample) for sample in question.samples}
    if "right" in found:
        return ""
    order = ("wrong", "not scored", "cut or without an answer", "failed", "without text")
    first = next(what for what in order if what in found)
    return {"wrong": "no right answer", "not scored": "not scored"}.get(first, f"all answers {first}")


def _is_plain(content: Any) -> bool:
    return isinstance(content, str) or (
        isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content)
    )


def _is_still_right(builder: Builder, example: Example) -> bool:
    """Whether the answer that is taught is right. One that the builder has rewritten is verified again."""
    chosen = example.chosen
    if standing(chosen.sample) != "right":
        raise UsageError(f"{_name(builder)} chose an answer that is not right: {chosen.sample.key}")
    return chosen.answer == chosen.sample.answer or score(chosen.answer, example.question.task).value is True


def _name(builder: Builder) -> str:
    names = (name for name, entry in plugins.entries(GROUP).items() if entry.module == type(builder).__module__)
    return next(names, type(builder).__name__)


def left_over(built: Built) -> Iterator[tuple[Sample, str]]:
    """Every sample and what became of it: ``used``, ``not taken``, or why it could not be."""
    used = {written.sample.key for each in built.examples for written in (each.chosen, each.rejected) if written}
    for question in built.questions:
        for sample in question.samples:
            what = standing(sample)
            yield sample, "used" if sample.key in used else "right, not taken" if what == "right" else what
