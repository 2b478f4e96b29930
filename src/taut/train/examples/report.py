"""What was kept, dropped and why, and what the lengths are before and after: for the terminal and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import msgspec

from taut.core import Source, weakest
from taut.methods.model_based.short_data._nouns import Builder, Example, Sample, Written
from taut.replay.files import write_whole
from taut.train.examples.building import Built, left_over

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean tokens per question, each question counting once."""

    thinking: float
    answer: float

    @property
    def total(self) -> float:
        """Of the whole response."""
        return self.thinking + self.answer


@dataclass(frozen=True, slots=True)
class StageCount:
    """The examples of one value of the column ``stage``."""

    stage: int
    examples: int
    lengths: Lengths


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that ``NAME.report.json`` holds. Counts of questions and samples each add up to those seen."""

    builder: str
    makes: str
    files: tuple[str, ...]
    questions_seen: int
    questions_kept: int
    questions_dropped: dict[str, int]
    """By reason."""
    samples_seen: int
    samples: dict[str, int]
    """By what became of them: ``used``, ``wrong``, ``not scored``, …"""
    examples: int
    before: Lengths
    """Of all right answers to the questions that were kept."""
    after: Lengths
    """Of the answers that are taught."""
    rejected: Lengths | None
    """Of the other half of preferences."""
    completion_tokens: int
    """Of all examples together: what an epoch learns."""
    tokens_by_source: dict[Source, int]
    """Examples by where their count of tokens came from."""
    stages: tuple[StageCount, ...]
    notes: tuple[str, ...] = ()


def report_of(built: Built, builder: Builder, files: Sequence[str], notes: Sequence[str] = ()) -> Report:
    """The account of one run of a builder."""
    became = Counter(what for _, what in left_over(built))
    rejected = [each for each in built.examples if each.rejected]
    return Report(
        builder=repr(builder),
        makes=builder.makes,
        files=tuple(files),
        questions_seen=len(built.questions),
        questions_kept=len(built.kept),
        questions_dropped=dict(Counter(each.why for each in built.dropped).most_common()),
        samples_seen=became.total(),
        samples=dict(became.most_common()),
        examples=len(built.examples),
        before=_mean([_lengths(question.right) for question in built.kept]),
        after=_by_question(built.examples, lambda example: example.chosen),
        rejected=_by_question(rejected, lambda example: example.rejected or example.chosen) if rejected else None,
        completion_tokens=sum(_tokens(example) for example in built.examples),
        tokens_by_source=dict(Counter(_source(example.chosen) for example in built.examples)),
        stages=_stages(built.examples),
        notes=tuple(notes),
    )


def _by_question(examples: Iterable[Example], written: Callable[[Example], Written]) -> Lengths:
    groups: dict[int, list[Written]] = {}
    for example in examples:
        groups.setdefault(id(example.question), []).append(written(example))
    return _mean([_lengths(group) for group in groups.values()])


def _lengths(items: Sequence[Sample] | Sequence[Written]) -> Lengths:
    thinking = fmean(item.thinking_tokens.tokens for item in items)
    return Lengths(thinking, fmean(item.answer_tokens.tokens for item in items))


def _mean(lengths: Sequence[Lengths]) -> Lengths:
    if not lengths:
        return Lengths(0.0, 0.0)
    return Lengths(fmean(each.thinking for each in lengths), fmean(each.answer for each in lengths))


def _tokens(example: Example) -> int:
    both = [written for written in (example.chosen, example.rejected) if written]
    return sum(written.thinking_tokens.tokens + written.answer_tokens.tokens for written in both)


def _source(written: Written) -> Source:
    return weakest(written.thinking_tokens.source, written.answer_tokens.source)


def _stages(examples: Sequence[Example]) -> tuple[StageCount, ...]:
    found = sorted({each.columns["stage"] for each in examples if isinstance(each.columns.get("stage"), int)})
    groups = ((stage, [each for each in examples if each.columns.get("stage") == stage]) for stage in found)
    return tuple(StageCount(stage, len(group), _lengths([each.chosen for each in group])) for stage, group in groups)


def report_path(out: Path) -> Path:
    """Where the report lies: ``train.report.json`` beside ``train.jsonl``."""
    return out.with_name(f"{out.stem}.report.json")


def write_report(report: Report, out: Path) -> None:
    """Write it beside the rows. Raises `UsageError` where that cannot be done."""
    write_whole(report_path(out), msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def show(report: Report, out: Path, console: Console | None = None) -> None:
    """Print the account, the lengths and where the files are."""
    from rich.console import Console

    console = console or Console(width=None if Console().is_terminal else WIDTH)
    for line in _lines(report):
        console.print(line, markup=False, highlight=False)
    for path in (out, report_path(out)):
        console.print(f"  {path}", markup=False, highlight=False, soft_wrap=True)


def _lines(report: Report) -> Iterable[str]:
    what = "pairs" if report.makes == "preference" else "examples"
    yield (
        f"{report.examples:,} {what} of {report.questions_kept:,} of {report.questions_seen:,} questions, "
        f"{report.completion_tokens:,} tokens to learn"
    )
    yield from (f"  dropped {count:,}: {why}" for why, count in report.questions_dropped.items())
    became = ", ".join(f"{count:,} {what}" for what, count in report.samples.items())
    yield f"answers: {report.samples_seen:,} seen; {became}"
    yield f"mean tokens a question, before: {_told(report.before)}"
    yield f"                         after: {_told(report.after)}{_saved(report)}"
    if report.rejected:
        yield f"                      rejected: {_told(report.rejected)}"
    for each in report.stages:
        yield f"  stage {each.stage}: {each.examples:,} examples, {_told(each.lengths)}"
    if estimated := report.tokens_by_source.get("estimated", 0):
        yield f"tokens are estimated in {estimated:,} of {report.examples:,} examples; --tokenizer FOLDER counts them"
    yield from report.notes


def _told(lengths: Lengths) -> str:
    return f"{lengths.total:,.1f} ({lengths.thinking:,.1f} thinking, {lengths.answer:,.1f} answer)"


def _saved(report: Report) -> str:
    """What the last stage, which the model ends with, changes; or all examples together where there are no stages."""
    taught, where = (report.stages[-1].lengths, " in the last stage") if report.stages else (report.after, "")
    change = taught.total / report.before.total - 1 if report.before.total else 0.0
    return f", {change:+.0%}{where}" if abs(change) >= 0.005 else f", as long as before{where}"
