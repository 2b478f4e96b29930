"""``curves.png``: loss or reward, lengths, and held-out accuracy with its interval, over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taut.errors import UsageError

Lines = Sequence[Mapping[str, Any]]
LOG_SCALE_FROM = 10.0
"""A loss that falls by this factor is drawn on a logarithmic axis."""
LENGTHS = {
    "completion_tokens": "of a rollout",
    "thinking_tokens": "thinking, held out",
    "total_tokens": "in all, held out",
}


def draw_curves(lines: Lines, path: Path) -> None:
    """Write the picture; nothing without a line. Raises `UsageError` where matplotlib is missing."""
    panels = [panel for panel in (_goal, _lengths, _rollouts, _accuracy) if panel(None, lines)]
    if not panels:
        return
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise UsageError("the curves need matplotlib: pip install 'taut[train]'") from None
    figure = Figure(figsize=(5 * len(panels), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        panel(axis, lines)
        axis.set_xlabel("optimiser steps")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _goal(axis: Any, lines: Lines) -> bool:
    """Reward where there is one, else the loss."""
    name = "reward" if any("reward" in line for line in lines) else "loss"
    steps, values = series(lines, name)
    if axis is not None:
        axis.plot(steps, values, marker=_marker(values), linewidth=1, label="training")
        other_steps, other = series(lines, "validation_loss")
        if other:
            axis.plot(other_steps, other, marker="o", label="validation")
            axis.legend()
        if name == "loss" and min(values) > 0 and max(values) / min(values) >= LOG_SCALE_FROM:
            axis.set_yscale("log")
        axis.set_title(f"{name.capitalize()} per step")
    return bool(values)


def _lengths(axis: Any, lines: Lines) -> bool:
    found = {name: series(lines, name) for name in LENGTHS}
    if axis is not None:
        drawn = [(label, found[name]) for name, label in LENGTHS.items() if found[name][1]]
        for label, (steps, values) in drawn:
            axis.plot(steps, values, marker=_marker(values), linewidth=1, label=label)
        _intervals(axis, lines)
        lengths = [value for _, (_, values) in drawn for value in values if value > 0]
        if lengths and max(lengths) / min(lengths) >= LOG_SCALE_FROM:
            axis.set_yscale("log")
        else:
            axis.set_ylim(0, 1.05 * max(lengths, default=1))
        axis.set_title("Mean tokens")
        axis.legend()
    return any(values for _, values in found.values())


def _intervals(axis: Any, lines: Lines) -> None:
    """Of the held-out thinking over the start's, as bars around the thinking."""
    label: str | None = "95 % of thinking × the start's"
    for line in lines:
        found = line.get("held_out", {})
        ratio, low, high = (found.get(f"thinking_ratio{end}") for end in ("", "_low", "_high"))
        if ratio and low is not None and high is not None:
            start = found["thinking_tokens"] / ratio
            bar = [low * start, high * start]
            axis.plot([line["step"]] * 2, bar, color="tab:gray", linewidth=3, alpha=0.5, label=label)
            label = None


def _rollouts(axis: Any, lines: Lines) -> bool:
    """Shares of the rollouts that are right, and that the ceiling cut."""
    names = {"correct_share": "right", "truncated_share": "cut"}
    of_rollouts = [line for line in lines if "held_out" not in line]
    found = {label: series(of_rollouts, name) for name, label in names.items()}
    if axis is not None:
        for label, (steps, values) in found.items():
            axis.plot(steps, [100 * value for value in values], marker=_marker(values), linewidth=1, label=label)
        axis.set_ylim(-2, 102)
        axis.set_title("Rollouts in %")
        axis.legend()
    return bool(found["right"][1])


def _marker(values: Sequence[float]) -> str | None:
    """Single points are not seen without."""
    return "o" if len(values) < 40 else None


def _accuracy(axis: Any, lines: Lines) -> bool:
    told = [(line["step"], line["held_out"]) for line in lines if line.get("held_out", {}).get("accuracy") is not None]
    if axis is not None:
        steps = [step for step, _ in told]
        middle = [100 * found["accuracy"] for _, found in told]
        below = [100 * (found["accuracy"] - found["low"]) for _, found in told]
        above = [100 * (found["high"] - found["accuracy"]) for _, found in told]
        axis.errorbar(steps, middle, yerr=[below, above], marker="o", capsize=3)
        axis.set_ylim(0, 100)
        axis.set_title(f"Held-out accuracy in %, {told[0][1]['questions']} questions")
    return bool(told)


def series(lines: Lines, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one number of the log, held-out ones included."""
    found = [
        (line["step"], source[name])
        for line in lines
        for source in (line, line.get("held_out", {}))
        if isinstance(source.get(name), int | float)
    ]
    return [step for step, _ in found], [value for _, value in found]
