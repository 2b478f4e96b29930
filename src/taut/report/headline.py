"""What the run shows, in a few sentences that claim no more than the intervals carry."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from taut.metrics import MARGIN, MINIMUM_QUESTIONS, Comparison, Estimate, Summary
from taut.report.rows import points

FLOOR = 2 * MARGIN
"""A baseline with less accuracy than this has next to nothing to lose: keeping it to within `MARGIN` says nothing."""
SIGNIFICANT = 0.05
"""A corrected p value below this, with an interval on one side of 0, is called clear."""
MANY = 0.25
"""From this share of the baseline's answers on, cut or unreadable ones are told of."""

Compared = tuple[str, Comparison]


def headline(summary: Summary) -> str:
    """The findings in one text."""
    return " ".join(findings(summary))


def findings(summary: Summary) -> list[str]:
    """Sentences computed from the data, the one that matters most first."""
    compared = [(name, p.comparison) for name, p in summary.presets.items() if p.comparison is not None]
    return [part for part in (*_claims(compared, summary), *_warnings(summary)) if part]


def _claims(compared: Sequence[Compared], summary: Summary) -> list[str]:
    presets, baseline = summary.presets.values(), summary.baseline
    if not any(preset.n for preset in presets):
        return ["Nothing was answered yet."]
    if not any(preset.scored for preset in presets):
        return ["No answer could be scored, so tokens are all there is to compare.", _cheapest(compared, baseline)]
    if not any(preset.correct for preset in presets):
        return ["No preset got a single question right, so there is no accuracy that could be kept."]
    if not compared:
        return ["Only one preset was run: there is nothing to compare it with."]
    if not any(c.token_pairs for _, c in compared):
        return [f"No question was answered by both {baseline} and another preset, so nothing can be compared yet."]
    questions = max(min(p.questions, summary.presets[baseline].questions) for p in presets if p.comparison is not None)
    if questions < MINIMUM_QUESTIONS:
        return [f"{_counted(questions, 'question')} too few for an interval (at least {MINIMUM_QUESTIONS})."]
    if floor := _floor(summary):
        return [floor, _cheapest(compared, baseline), _gain(compared)]
    return [*_savings(compared, baseline), _gain(compared), _advice(compared)]


def _counted(number: int, noun: str) -> str:
    return f"1 {noun} is" if number == 1 else f"{number:,} {noun}s are"


def _savings(compared: Sequence[Compared], baseline: str) -> list[str]:
    cheaper = [item for item in compared if is_clearly_cheaper(item[1])]
    if not cheaper:
        return [f"No preset is clearly cheaper than {baseline}."]
    kept = [item for item in cheaper if _keeps_accuracy(item[1])]
    if kept:
        name, comparison = min(kept, key=_ratio)
        selected = f" (best of {len(compared)}, not corrected)" if len(compared) > 1 else ""
        return [
            f"{name} {_spends(comparison, baseline)} and keeps its accuracy to within {100 * MARGIN:.0f} points: "
            f"{_change(comparison)}{selected}."
        ]
    open_ = [item for item in cheaper if not _is_clear(item[1], -1)]
    if open_:
        name, comparison = min(open_, key=_ratio)
        return [
            "No preset is shown to be cheaper at equal accuracy.",
            f"{name} {_spends(comparison, baseline)}, but whether that costs accuracy is open: {_change(comparison)}.",
        ]
    name, comparison = min(cheaper, key=_ratio)
    return [
        f"Every preset that is clearly cheaper than {baseline} is also clearly less accurate.",
        f"{name} {_spends(comparison, baseline)}, at {_change(comparison)}.",
    ]


def _floor(summary: Summary) -> str:
    """That the baseline has no accuracy to lose, if so."""
    accuracy = summary.presets[summary.baseline].accuracy
    if accuracy is None or accuracy.low is None or accuracy.low >= FLOOR:
        return ""
    if accuracy.value < FLOOR:
        only = f"only {100 * accuracy.value:.1f} %" if accuracy.value else "nothing"
        return f"The baseline, {summary.baseline}, gets {only} right: there is no accuracy to keep."
    return (
        f"The baseline, {summary.baseline}, may get as little as {100 * accuracy.low:.0f} % right: "
        "too little for a claim that accuracy is kept."
    )


def _gain(compared: Iterable[Compared]) -> str:
    better = [item for item in compared if _is_clear(item[1], 1)]
    if not better:
        return ""
    name, comparison = max(better, key=_difference)
    spent = "" if comparison.token_ratio is None else f", at {_times(comparison.token_ratio)} its tokens"
    return f"{name} is clearly more accurate than the baseline: {_change(comparison)}{spent}."


def _cheapest(compared: Iterable[Compared], baseline: str) -> str:
    cheaper = [item for item in compared if is_clearly_cheaper(item[1])]
    if not cheaper:
        return f"No preset is clearly cheaper than {baseline}."
    name, comparison = min(cheaper, key=_ratio)
    return f"{name} {_spends(comparison, baseline)}."


def _advice(compared: Iterable[Compared]) -> str:
    """How many questions would settle what is open, where an interval is wider than `MARGIN` either way."""
    needed = [c.questions_needed for _, c in compared if c.questions_needed is not None and _is_wide(c)]
    if not needed:
        return ""
    step = 10 ** max(1, int(math.log10(max(needed))) - 1)
    return (
        f"To know every difference of accuracy to ±{100 * MARGIN:.0f} points, about {step * -(-max(needed) // step):,} "
        "questions are needed (approximately: if presets go on to disagree as often as here)."
    )


def _is_wide(comparison: Comparison) -> bool:
    difference = comparison.accuracy_difference
    if difference is None or difference.low is None or difference.high is None:
        return False
    return difference.high - difference.low > 2 * MARGIN


def _warnings(summary: Summary) -> list[str]:
    baseline = summary.presets[summary.baseline]
    answers = baseline.scored + baseline.unscored
    if answers and baseline.truncated >= MANY * answers:
        return [f"{baseline.truncated:,} of {answers:,} baseline answers were cut at the ceiling: raise --max-tokens."]
    if answers and baseline.no_answer >= MANY * answers:
        return [f"In {baseline.no_answer:,} of {answers:,} baseline answers no answer was found: look at the traces."]
    return []


def is_clearly_cheaper(comparison: Comparison) -> bool:
    """The whole interval of the ratio of tokens lies below 1."""
    ratio = comparison.token_ratio
    return ratio is not None and ratio.high is not None and ratio.high < 1


def _keeps_accuracy(comparison: Comparison) -> bool:
    difference = comparison.accuracy_difference
    return difference is not None and difference.low is not None and difference.low >= -MARGIN


def _is_clear(comparison: Comparison, sign: int) -> bool:
    """More accurate than the baseline (``sign`` 1) or less (-1), by interval and by the corrected p value."""
    difference, p_value = comparison.accuracy_difference, comparison.p_value_holm
    if difference is None or difference.low is None or difference.high is None or p_value is None:
        return False
    end = difference.low if sign > 0 else -difference.high
    return end > 0 and p_value < SIGNIFICANT


def _ratio(item: Compared) -> float:
    ratio = item[1].token_ratio
    return ratio.value if ratio else float("inf")


def _difference(item: Compared) -> float:
    difference = item[1].accuracy_difference
    return difference.value if difference else float("-inf")


def _spends(comparison: Comparison, baseline: str) -> str:
    ratio = comparison.token_ratio
    return f"spends {_times(ratio)} the tokens of {baseline}" if ratio else f"is cheaper than {baseline}"


def _times(ratio: Estimate) -> str:
    between = "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"{ratio.value:.2f}{between} times"


def _change(comparison: Comparison) -> str:
    difference = points(comparison.accuracy_difference)
    answers = comparison.accuracy_pairs
    return f"{difference.value} points {difference.interval} over {answers} answer{'s' if answers != 1 else ''} of each"
