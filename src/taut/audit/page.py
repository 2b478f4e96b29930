"""``audit.html``: one file without a script, which works offline. The template escapes all that comes from traces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from taut.audit.nouns import Audit, Report, Thought
from taut.audit.showing import Line, cell, counted, headline, lines, shares, state_of, tokens, worst
from taut.audit.totals import MEASURES
from taut.audit.words import LABELS, Label
from taut.metrics.nouns import INTERVALS

HEAD_CHARS, AROUND_CHARS, TAIL_CHARS = 6000, 5000, 6000
"""Of a long trace: its beginning, what stands around the first statement of its answer, and its end."""
MAX_SIDE_CHARS = 4000
"""Of questions and answers."""
STRIP_PARTS = 240
"""A strip is a thousand pixels wide at most: more parts than this cannot be told apart."""
DECILES = 10
BY_LABEL = ("thinking_tokens", "share_after", "rounds", "reflections", "switches", "repeated", "truncated", "right")


@dataclass(frozen=True, slots=True)
class Part:
    """A run of text of one label, a gap, or the mark of the answer's first statement."""

    kind: str
    """A label, ``gap`` or ``mark``."""
    text: str = ""
    begins: bool = True
    """A segment starts with it: its name is shown."""


@dataclass(frozen=True, slots=True)
class Offender:
    """One trace as the page shows it."""

    audit: Audit
    state: str
    tokens: str
    after: str
    strip: Sequence[tuple[Label, float]]
    """Labels and their lengths in per cent, side by side."""
    mark_percent: float | None
    question: str
    answer: str
    parts: Sequence[Part]


def render(report: Report, thoughts: Mapping[str, Thought], count: int) -> str:
    """The page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("taut", "audit"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        report=report,
        headline=headline(report.totals),
        shares=shares(report.totals),
        deciles=deciles(report.audits),
        lines=lines(report.totals),
        traces=counted(report.totals.traces, "trace"),
        questions=counted(report.totals.questions, "question"),
        by_label=_by_label(report),
        by_label_heads=[MEASURES[name].title for name in BY_LABEL],
        labels=LABELS,
        offenders=[offender(audit, thoughts[audit.id]) for audit in worst(report, count)],
        intervals={"means": INTERVALS["tokens"], "shares": INTERVALS["accuracy"]},
    )


def _by_label(report: Report) -> list[tuple[str, int, list[Line]]]:
    return [
        (
            label,
            totals.traces,
            [
                Line(MEASURES[n].title, cell(totals.measures[n], MEASURES[n].unit), totals.counts[n], "")
                for n in BY_LABEL
            ],
        )
        for label, totals in report.by_label.items()
    ]


def deciles(audits: Sequence[Audit]) -> list[tuple[str, int, float]]:
    """In how many traces the answer first stands in each tenth of the thinking; the last bar is none at all."""
    counts = [0] * (DECILES + 1)
    for audit in audits:
        place = DECILES if audit.stands_at is None else min(DECILES - 1, DECILES * audit.stands_at // audit.chars)
        counts[place] += 1
    most = max(counts) or 1
    names = [f"{10 * each}–{10 * each + 10} %" for each in range(DECILES)]
    return [(name, count, 100 * count / most) for name, count in zip([*names, "not found"], counts, strict=True)]


def offender(audit: Audit, thought: Thought) -> Offender:
    """One trace, cut where it is long."""
    return Offender(
        audit,
        state_of(audit),
        tokens(audit, audit.thinking_tokens),
        tokens(audit, audit.tokens_after),
        strip(audit),
        None if audit.stands_at is None else 100 * audit.stands_at / audit.chars,
        _cut(thought.question),
        _cut(thought.answer),
        list(parts(audit, thought.thinking)),
    )


def strip(audit: Audit) -> list[tuple[Label, float]]:
    """The trace as coloured lengths in per cent: each step is of the label that holds most of it."""
    steps: list[tuple[Label, float]] = []
    width = max(1, audit.chars // STRIP_PARTS)
    for label, chars in _steps(audit, width):
        percent = 100 * chars / audit.chars
        if steps and steps[-1][0] == label:
            percent += steps.pop()[1]
        steps.append((label, percent))
    return steps


def _steps(audit: Audit, width: int) -> Iterator[tuple[Label, int]]:
    """Segments shorter than ``width`` characters are counted together, as what most of them are."""
    held: dict[Label, int] = {}
    for each in audit.segments:
        held[each.label] = held.get(each.label, 0) + each.end - each.start
        if sum(held.values()) >= width:
            yield max(held, key=lambda label: held[label]), sum(held.values())
            held = {}
    if held:
        yield max(held, key=lambda label: held[label]), sum(held.values())


def parts(audit: Audit, thinking: str) -> Iterator[Part]:
    """The coloured text, with gaps where it was cut and the mark behind the first statement of the answer."""
    shown = _shown(audit)
    for start, end in shown:
        yield from _texts(audit, thinking, start, end)
        following = next((first for first, _ in shown if first > end), None)
        if following is not None:
            yield Part("gap", f"{following - end:,} characters left out here")
    if shown[-1][1] < audit.chars:
        yield Part("gap", f"{audit.chars - shown[-1][1]:,} characters left out here")


def _shown(audit: Audit) -> list[tuple[int, int]]:
    """Ranges of characters that are shown, in order and without overlap."""
    if audit.chars <= HEAD_CHARS + 2 * AROUND_CHARS + TAIL_CHARS:
        return [(0, audit.chars)]
    ranges = [(0, HEAD_CHARS), (audit.chars - TAIL_CHARS, audit.chars)]
    if audit.stands_at is not None:
        ranges.append((max(0, audit.stands_at - AROUND_CHARS), min(audit.chars, audit.stands_at + AROUND_CHARS)))
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _texts(audit: Audit, thinking: str, start: int, end: int) -> Iterator[Part]:
    for each in audit.segments:
        first, last = max(each.start, start), min(each.end, end)
        if first >= last:
            continue
        if audit.stands_at is not None and first < audit.stands_at <= last:
            yield Part(each.label, thinking[first : audit.stands_at])
            yield Part("mark")
            if audit.stands_at < last:
                yield Part(each.label, thinking[audit.stands_at : last], begins=False)
        else:
            yield Part(each.label, thinking[first:last])


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_SIDE_CHARS else f"{text[:MAX_SIDE_CHARS]} […]"
