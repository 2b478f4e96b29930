"""Means over traces, each with its interval; traces of one question stay together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from taut.audit.nouns import Audit, Totals
from taut.audit.words import LABELS
from taut.errors import UsageError
from taut.metrics import Estimate
from taut.metrics.intervals import Sums, proportion, ratio_of_sums


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the totals."""

    title: str
    meaning: str
    part: Callable[[Audit], float | None]
    """The numerator of one trace; ``None`` leaves the trace out."""
    whole: Callable[[Audit], float] = lambda audit: 1.0
    """Its denominator."""
    is_share_of_traces: bool = False
    """Then Wilson's interval is taken."""
    unit: str = ""
    """``%`` or nothing."""


def _flag(value: bool | None) -> float | None:
    return None if value is None else float(value)


def _per_thousand(count: int) -> float:
    return 1000.0 * count


MEASURES: dict[str, Measure] = {
    "thinking_tokens": Measure("thinking tokens", "mean per trace", lambda a: a.thinking_tokens),
    "tokens_after": Measure(
        "tokens after the answer",
        "mean per trace whose final answer was found in the thinking",
        lambda a: a.tokens_after,
    ),
    "share_after": Measure(
        "share after the answer",
        "tokens behind the first statement of the final answer, of all thinking tokens of these traces",
        lambda a: a.tokens_after,
        lambda a: a.thinking_tokens,
        unit="%",
    ),
    "right": Measure(
        "right answers", "of those that could be judged", lambda a: _flag(a.right), is_share_of_traces=True, unit="%"
    ),
    "rounds": Measure("solution rounds", "mean per trace", lambda a: a.rounds),
    "reflections": Measure("reflections", "times that checking or doubting begins, mean", lambda a: a.reflections),
    "reflections_per_1000": Measure(
        "reflections per 1,000 tokens",
        "over all traces",
        lambda a: _per_thousand(a.reflections),
        lambda a: a.thinking_tokens,
    ),
    "switches": Measure("switches", "times that another approach begins, mean", lambda a: a.switches),
    "repeated": Measure(
        "repeated text",
        "tokens in sentences that were there before, of all",
        lambda a: a.repeated_tokens,
        lambda a: a.thinking_tokens,
        unit="%",
    ),
    "truncated": Measure(
        "truncated",
        "cut by a ceiling, or thinking that was never closed",
        lambda a: _flag(a.is_truncated),
        is_share_of_traces=True,
        unit="%",
    ),
    "without_answer": Measure(
        "thinking without an answer",
        "no text behind the thinking",
        lambda a: _flag(a.is_without_answer),
        is_share_of_traces=True,
        unit="%",
    ),
    "outcome_efficiency": Measure(
        "outcome efficiency",
        "tokens to the first right answer over all, 0 where none is right (arXiv:2412.21187)",
        lambda a: a.outcome_efficiency,
        unit="%",
    ),
    "process_efficiency": Measure(
        "process efficiency",
        "tokens of rounds that are no check of an earlier one over all (arXiv:2412.21187)",
        lambda a: a.process_efficiency,
        unit="%",
    ),
    "underthinking": Measure(
        "underthinking",
        "of wrong answers: share of tokens behind the first right one, 0 where there is none (arXiv:2501.18585)",
        lambda a: a.underthinking,
        unit="%",
    ),
}


def totals(audits: Sequence[Audit]) -> Totals:
    """All measures over these traces; without numpy and scipy they have no intervals."""
    chars: Counter[str] = Counter()
    for audit in audits:
        chars.update(audit.tokens_by_label)
    tokens = sum(chars.values()) or 1
    return Totals(
        traces=len(audits),
        questions=len({audit.group for audit in audits}),
        located=sum(audit.stands_at is not None for audit in audits),
        estimated_tokens=sum(audit.tokens_source == "estimated" for audit in audits),
        measures={name: estimate(measure, audits) for name, measure in MEASURES.items()},
        counts={name: sum(m.part(audit) is not None for audit in audits) for name, m in MEASURES.items()},
        share_by_label={label: chars[label] / tokens for label in LABELS if chars[label]},
    )


def by_label(audits: Sequence[Audit]) -> dict[str, Totals]:
    """The totals of each preset or model; empty where there is only one."""
    groups: Mapping[str, list[Audit]] = defaultdict(list)
    for audit in audits:
        groups[audit.label].append(audit)
    return {label: totals(group) for label, group in groups.items()} if len(groups) > 1 else {}


def estimate(measure: Measure, audits: Sequence[Audit]) -> Estimate | None:
    """One measure; ``None`` where no trace has it."""
    parts: dict[str, float] = defaultdict(float)
    wholes: dict[str, float] = defaultdict(float)
    for audit in audits:
        part = measure.part(audit)
        if part is not None:
            parts[audit.group] += part
            wholes[audit.group] += measure.whole(audit)
    sums = [Sums(parts[group], wholes[group]) for group in parts]
    try:
        return proportion(sums) if measure.is_share_of_traces else ratio_of_sums(sums)
    except UsageError:
        whole = sum(wholes.values())
        return Estimate(sum(parts.values()) / whole) if whole else None
