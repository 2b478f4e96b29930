"""The main table as text, one `Row` a preset: the terminal, the Markdown and the HTML report show the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from taut.core import TOKEN_ROLES
from taut.metrics import Estimate, PresetSummary, Summary

UNKNOWN = "–"
MINUS = "−"
FLAGS = {
    "F": "failed",
    "T": "truncated",
    "U": "unscored",
    "A": "without an answer",
    "R": "asked again",
    "C": "calls of unknown tokens",
}
"""What a narrow table says with a letter and a number."""
COARSE_POINTS = 10.0
"""An interval of shares wider than this is shown in whole percentage points."""
ESTIMATED_SHARE = 0.005
"""From this share of estimated tokens on, a number of tokens is marked with ≈."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A number and its interval, both ready to show; an empty interval where there is none."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.value} {self.interval}".strip()


@dataclass(frozen=True, slots=True)
class Row:
    """A preset in the main table."""

    name: str
    is_baseline: bool
    is_on_front: bool
    n: str
    accuracy: Cell
    """Per cent."""
    lower_bound: str
    """Right answers over all, where some were not scored."""
    tokens: Cell
    """Mean completion tokens per answer."""
    thinking: str
    answer: str
    other: str
    """Probes, estimates, routing, drafts, scores and whatever was discarded."""
    ratio: Cell
    """Tokens over those of the baseline."""
    difference: Cell
    """Accuracy minus that of the baseline, in percentage points."""
    p_value: str
    aes: str
    prompt: str
    first_token: str
    latency: str
    """Median of the critical path."""
    latency_p95: str
    per_correct: str
    cost: str
    flags: tuple[str, ...]
    """The counts among the notes, short: ``F1`` (see `FLAGS`)."""
    notes: tuple[str, ...]


def rows(summary: Summary) -> list[Row]:
    """One row a preset, in the order of the run."""
    return [_row(name, preset, summary) for name, preset in summary.presets.items()]


def legend(shown: Sequence[Row]) -> str:
    """What the marks and letters that occur in these rows mean."""
    letters = {flag[0] for row in shown for flag in row.flags}
    meanings = [f"{letter} {words}" for letter, words in FLAGS.items() if letter in letters]
    if any("≈" in row.tokens.value for row in shown):
        meanings.insert(0, "≈ partly estimated")
    return f"{', '.join(meanings)}." if meanings else ""


def _row(name: str, preset: PresetSummary, summary: Summary) -> Row:
    comparison = preset.comparison
    roles = {role: amount.mean for role, amount in preset.tokens_by_role.items()}
    other = sum(roles.get(role, 0.0) for role in TOKEN_ROLES if role not in ("thinking", "answer"))
    return Row(
        name=name,
        is_baseline=name == summary.baseline,
        is_on_front=name in summary.pareto_front,
        n=str(preset.n),
        accuracy=_percent(preset.accuracy),
        lower_bound="" if preset.accuracy_lower_bound is None else f"{100 * preset.accuracy_lower_bound:.1f} %",
        tokens=_tokens(preset),
        thinking=number(roles.get("thinking")),
        answer=number(roles.get("answer")),
        other=number(other if roles else None),
        ratio=Cell("baseline") if comparison is None else _ratio(comparison.token_ratio),
        difference=Cell("") if comparison is None else points(comparison.accuracy_difference),
        p_value=_decimals(None if comparison is None else comparison.p_value, 3),
        aes="" if comparison is None else _signed(comparison.aes, 2),
        prompt=number(preset.prompt.mean if preset.prompt else None),
        first_token=seconds(preset.latency.first_token_p50_s),
        latency=seconds(preset.latency.wall_p50_s),
        latency_p95=seconds(preset.latency.wall_p95_s),
        per_correct=number(preset.tokens_per_correct),
        cost=dollars(preset.cost_per_question_dollars),
        flags=tuple(flag for flag, _ in _counts(preset)),
        notes=_notes(preset),
    )


def _counts(preset: PresetSummary) -> Iterator[tuple[str, str]]:
    counts = (preset.errors, preset.truncated, preset.unscored, preset.no_answer, preset.superseded)
    for (letter, words), count in zip(FLAGS.items(), (*counts, preset.calls_without_usage), strict=True):
        if count:
            yield f"{letter}{count}", f"{count} {words}"


def _notes(preset: PresetSummary) -> tuple[str, ...]:
    notes = [words for _, words in _counts(preset)]
    if preset.accuracy_lower_bound is not None:
        notes.append(f"≥ {100 * preset.accuracy_lower_bound:.1f} % right of all")
    return tuple(notes)


def _percent(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell(UNKNOWN)
    return Cell(f"{100 * estimate.value:.1f} %", _interval(estimate, lambda x: f"{100 * x:.{_digits(estimate)}f}"))


def points(estimate: Estimate | None) -> Cell:
    """A difference of shares in percentage points, with its sign."""
    if estimate is None:
        return Cell(UNKNOWN)
    return Cell(_signed(100 * estimate.value, 1), _interval(estimate, lambda x: _signed(100 * x, _digits(estimate))))


def _ratio(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell(UNKNOWN)
    return Cell(f"× {estimate.value:.2f}", _interval(estimate, lambda x: f"{x:.2f}"))


def _tokens(preset: PresetSummary) -> Cell:
    mean, amount = preset.completion_tokens, preset.completion
    if mean is None or amount is None:
        return Cell(UNKNOWN)
    mark = "≈ " if amount.mean and amount.estimated / amount.mean >= ESTIMATED_SHARE else ""
    return Cell(mark + number(mean.value), _interval(mean, number))


def _interval(estimate: Estimate, show: Callable[[float], str]) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{show(estimate.low)}, {show(estimate.high)}]"


def _digits(estimate: Estimate) -> int:
    return int(
        estimate.low is not None and estimate.high is not None and 100 * (estimate.high - estimate.low) < COARSE_POINTS
    )


def _signed(value: float | None, digits: int) -> str:
    if value is None:
        return UNKNOWN
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+") + text


def _decimals(value: float | None, digits: int) -> str:
    if value is None:
        return ""
    least = 10.0**-digits
    return f"< {least:.{digits}f}" if value < least else f"{value:.{digits}f}"


def number(value: float | None) -> str:
    """Tokens: whole from 10 on, one decimal below."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 9.95 or value == 0 else f"{value:.1f}"


def seconds(value: float | None) -> str:
    """A duration with two significant digits or whole seconds."""
    if value is None:
        return UNKNOWN
    if value < 0.1:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s" if value < 99.95 else f"{value:.0f} s"


def dollars(value: float | None) -> str:
    """An amount of money with two significant digits or whole cents."""
    if value is None:
        return ""
    return f"${value:.2f}" if value >= 1 else f"${value:.2g}"
