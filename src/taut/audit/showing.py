"""The audit in words and numbers: what the terminal and the page both say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from taut.audit.nouns import Audit, Judging, Loaded, Report, Thought, Totals
from taut.audit.totals import MEASURES
from taut.audit.words import LABELS
from taut.metrics import Estimate
from taut.report.rows import Cell, number

UNKNOWN = "–"
FEW_QUESTIONS = 5
"""Below this a mean has no interval."""


@dataclass(frozen=True, slots=True)
class Line:
    """One measure, ready to show."""

    title: str
    cell: Cell
    count: int
    """Traces that it is taken over."""
    meaning: str


def lines(totals: Totals) -> list[Line]:
    """All measures that any trace has."""
    return [
        Line(measure.title, cell(totals.measures[name], measure.unit), totals.counts[name], measure.meaning)
        for name, measure in MEASURES.items()
        if totals.measures[name] is not None
    ]


def cell(estimate: Estimate | None, unit: str = "") -> Cell:
    """A number and its interval, as a percentage where that is its unit."""
    if estimate is None:
        return Cell(UNKNOWN)
    show = percent if unit == "%" else number
    if estimate.low is None or estimate.high is None:
        return Cell(f"{show(estimate.value)}{' %' if unit else ''}")
    return Cell(
        f"{show(estimate.value)}{' %' if unit else ''}", f"[{show(max(0.0, estimate.low))}, {show(estimate.high)}]"
    )


def percent(share: float) -> str:
    """A share in per cent, with one decimal below 10."""
    return f"{100 * share:.0f}" if share >= 0.0995 or share == 0 else f"{100 * share:.1f}"


def headline(totals: Totals) -> str:
    """The finding in a sentence."""
    after = totals.measures["share_after"]
    if after is None:
        return "The final answer was found in the thinking of no trace: nothing can be said of what comes after it."
    return (
        f"{percent(after.value)} % of the thinking tokens come after the final answer was first stated; "
        f"it was found in the thinking of {totals.located:,} of {_traces(totals.traces)}."
    )


def notes_of(loaded: Loaded, audits: Sequence[Audit]) -> tuple[str, ...]:
    """What a reader must know about this file, one sentence each."""
    notes = []
    dialects = dialects_of(loaded.thoughts)
    if len(dialects) > 1:
        told = ", ".join(f"{name} {count:,}" for name, count in dialects.items())
        notes.append(f"Several dialects are mixed in this file ({told}): each text was read by the tags it has.")
    if loaded.columns:
        notes.append("Columns: " + ", ".join(f"{role}={name}" for role, name in loaded.columns.items()) + ".")
    if loaded.without_thinking:
        notes.append(f"Replies without any thinking, which are in no total: {loaded.without_thinking:,}.")
    if loaded.unread:
        first = loaded.unread[0]
        notes.append(f"Lines that could not be read: {len(loaded.unread):,}; the first is {first.place}: {first.why}.")
    if loaded.left_out:
        notes.append(f"{loaded.left_out:,} traces beyond --limit were left out.")
    estimated = sum(audit.tokens_source == "estimated" for audit in audits)
    if estimated:
        notes.append(f"Tokens of {_traces(estimated)} are estimated from the length of the text.")
    unclosed = sum(thought.is_closed is False for thought in loaded.thoughts)
    if unclosed:
        notes.append(f"{_traces(unclosed)} never closed the thinking.")
    return tuple(notes)


def judging_notes(judging: Judging | None) -> Iterator[str]:
    """What a model told, and where the words had to."""
    if judging is None:
        return
    cost = f"{judging.prompt_tokens:,} prompt and {judging.completion_tokens:,} completion tokens"
    yield f"{judging.engine} told the rounds of {_traces(judging.judged)} ({cost})."
    if judging.failed:
        yield f"Its reply could not be used for {_traces(judging.failed)}: there the words tell the rounds."


def dialects_of(thoughts: Sequence[Thought]) -> dict[str, int]:
    """How many texts were told apart by which tags."""
    return dict(Counter(thought.dialect for thought in thoughts if thought.dialect).most_common())


def worst(report: Report, count: int) -> list[Audit]:
    """The traces that spend most behind their answer, or in loops."""
    ranked = sorted(report.audits, key=lambda audit: -audit.spent_after)
    return [audit for audit in ranked[:count] if audit.spent_after > 0]


def shares(totals: Totals) -> list[tuple[str, str, float, str]]:
    """Label, its name, share of all tokens, and that in per cent, in the order of the legend."""
    return [
        (label, LABELS[label], totals.share_by_label[label], f"{percent(totals.share_by_label[label])} %")
        for label in LABELS
        if label in totals.share_by_label
    ]


def state_of(audit: Audit) -> str:
    """``right``, ``wrong`` or ``unscored``."""
    return "unscored" if audit.right is None else "right" if audit.right else "wrong"


def tokens(audit: Audit, count: int | None) -> str:
    """A number of tokens of this trace, marked where it is an estimate."""
    if count is None:
        return UNKNOWN
    return f"{'≈ ' if audit.tokens_source == 'estimated' else ''}{count:,}"


def _traces(count: int) -> str:
    return counted(count, "trace")


def counted(count: int, what: str) -> str:
    """``1 trace``, ``1,000 traces``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
