"""What the run shows, in one to three sentences that claim no more than the intervals carry."""

from __future__ import annotations

from collections.abc import Iterable

from taut.metrics import Comparison, Estimate, Summary
from taut.report.rows import points

MARGIN = 0.05
"""An accuracy whose interval stays above the baseline's minus this share is called kept."""

Compared = tuple[str, Comparison]


def headline(summary: Summary) -> str:
    """The sentences, computed from the data."""
    compared = [(name, p.comparison) for name, p in summary.presets.items() if p.comparison is not None]
    if not any(preset.n for preset in summary.presets.values()):
        return "Nothing was answered yet."
    if not any(preset.scored for preset in summary.presets.values()):
        return (
            f"No answer could be scored, so tokens are all there is to compare. {_cheapest(compared, summary)}".strip()
        )
    if not any(preset.correct for preset in summary.presets.values()):
        return "No preset got a single question right, so there is no accuracy that could be kept."
    if not compared:
        return "Only one preset was run: there is nothing to compare it with."
    if not any(c.token_pairs for _, c in compared):
        return (
            f"No question was answered by both {summary.baseline} and another preset, so nothing can be compared yet."
        )
    return " ".join(part for part in (_savings(compared, summary.baseline), _gains(compared)) if part)


def _savings(compared: Iterable[Compared], baseline: str) -> str:
    cheaper = [item for item in compared if is_clearly_cheaper(item[1])]
    if not cheaper:
        return f"No preset is clearly cheaper than {baseline}."
    kept = [item for item in cheaper if _keeps_accuracy(item[1])]
    if kept:
        name, comparison = min(kept, key=_ratio)
        return (
            f"{name} {_spends(comparison, baseline)} and keeps its accuracy to within {100 * MARGIN:.0f} points: "
            f"{_change(comparison)}."
        )
    open_ = [item for item in cheaper if not _is_clearly_worse(item[1])]
    if open_:
        name, comparison = min(open_, key=_ratio)
        return (
            f"No preset is shown to be cheaper at equal accuracy. {name} {_spends(comparison, baseline)}, "
            f"but whether that costs accuracy is open: {_change(comparison)}."
        )
    name, comparison = min(cheaper, key=_ratio)
    return (
        f"Every preset that is clearly cheaper than {baseline} is also clearly less accurate: {name} "
        f"{_spends(comparison, baseline)}, at {_change(comparison)}."
    )


def _gains(compared: Iterable[Compared]) -> str:
    better = [item for item in compared if _is_clearly_better(item[1])]
    if not better:
        return ""
    name, comparison = max(better, key=_difference)
    spent = "" if comparison.token_ratio is None else f", at {_times(comparison.token_ratio)} its tokens"
    return f"{name} is clearly more accurate than the baseline: {_change(comparison)}{spent}."


def _cheapest(compared: Iterable[Compared], summary: Summary) -> str:
    cheaper = [item for item in compared if is_clearly_cheaper(item[1])]
    if not cheaper:
        return ""
    name, comparison = min(cheaper, key=_ratio)
    return f"{name} {_spends(comparison, summary.baseline)}."


def is_clearly_cheaper(comparison: Comparison) -> bool:
    """The whole interval of the ratio of tokens lies below 1."""
    ratio = comparison.token_ratio
    return ratio is not None and ratio.high is not None and ratio.high < 1


def _keeps_accuracy(comparison: Comparison) -> bool:
    difference = comparison.accuracy_difference
    return difference is not None and difference.low is not None and difference.low >= -MARGIN


def _is_clearly_worse(comparison: Comparison) -> bool:
    difference = comparison.accuracy_difference
    return difference is not None and difference.high is not None and difference.high < 0


def _is_clearly_better(comparison: Comparison) -> bool:
    difference = comparison.accuracy_difference
    return difference is not None and difference.low is not None and difference.low > 0


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
