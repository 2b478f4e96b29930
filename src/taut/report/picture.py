"""Accuracy against tokens as SVG: error bars both ways, names that do not overlap, and the Pareto front.

Drawn by hand rather than by a plotting library, because its colours follow the reader's light or dark mode and its
text stays readable on a phone, for which it is drawn a second time in a narrower frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from taut.metrics import Estimate, Summary
from taut.report.labels import Box, Chart, place

HUES = 7
"""Colours in the page's style, so that a name is seen to belong to its dot; the baseline is in the colour of text."""


@dataclass(frozen=True, slots=True)
class Point:
    """A preset in the picture."""

    name: str
    tokens: Estimate
    accuracy: Estimate
    is_baseline: bool
    is_on_front: bool
    hue: int = 0
    """Which of the `HUES` colours its dot, error bars and name have."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear scale: values from ``low`` to ``high`` on pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    step: float

    def __call__(self, value: float) -> float:
        """The pixel of a value; values outside are drawn at the edge."""
        inside = min(max(value, self.low), self.high)
        return self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values from end to end."""
        return [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]


def points_of(summary: Summary) -> list[Point]:
    """Presets of which both tokens and accuracy are known."""
    return [
        Point(
            name,
            preset.completion_tokens,
            preset.accuracy,
            name == summary.baseline,
            name in summary.pareto_front,
            place_in_run % HUES,
        )
        for place_in_run, (name, preset) in enumerate(summary.presets.items())
        if preset.completion_tokens is not None and preset.accuracy is not None
    ]


def picture(points: Sequence[Point], width: int, height: int) -> str:
    """The SVG; empty without points."""
    if not points:
        return ""
    x, y = _axes(points, width, height)
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Accuracy against mean completion tokens">',
        *_frame(x, y, width, height),
        *_front(points, x, y),
        *(_whiskers(point, x, y) for point in points),
        *(_dot(point, x, y) for point in points),
        *_labels(points, x, y, longest=width // 16),
        "</svg>",
    ]
    return "".join(parts)


def _axes(points: Sequence[Point], width: int, height: int) -> tuple[Axis, Axis]:
    most = max(max(p.tokens.value, p.tokens.high or 0.0) for p in points) or 1.0
    x_step = _round_step(most * 1.04, 5 if width >= 600 else 4)
    x = Axis(0.0, x_step * math.ceil(most * 1.04 / x_step), 58, width - 18, x_step)
    low, high = _at_least(min(_low(p.accuracy) for p in points), max(_high(p.accuracy) for p in points))
    y_step = _round_step(high - low, 5)
    top = min(1.0, y_step * math.ceil(high / y_step - 1e-9))
    # A whole number of steps below the top, also where 1 is no multiple of the step.
    bottom = top - y_step * math.ceil((top - low) / y_step - 1e-9)
    return x, Axis(max(0.0, bottom), top, height - 48, 16, y_step)


def _at_least(low: float, high: float, span: float = 0.2) -> tuple[float, float]:
    """The range of shares, widened to ``span`` so that a small difference is not drawn large."""
    missing = max(0.0, span - (high - low)) / 2
    low, high = max(0.0, low - missing), min(1.0, high + missing)
    return min(low, 1 - span), max(high, span)


def _round_step(span: float, parts: int) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that needs at most ``parts`` steps."""
    power = 10.0 ** math.floor(math.log10(span / parts))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power * parts >= span * 0.999)


def _low(estimate: Estimate) -> float:
    return estimate.value if estimate.low is None else estimate.low


def _high(estimate: Estimate) -> float:
    return estimate.value if estimate.high is None else estimate.high


def _frame(x: Axis, y: Axis, width: int, height: int) -> list[str]:
    parts = []
    for tick in y.ticks:
        at = y(tick)
        parts.append(_line(x.start, at, x.end, at, "grid"))
        parts.append(_text(x.start - 8, at + 4, f"{100 * tick:.3g}", "tick", "end"))
    for tick in x.ticks:
        at = x(tick)
        parts.append(_line(at, y.start, at, y.start + 5, "axis"))
        parts.append(_text(at, y.start + 20, f"{tick:,.0f}" if x.step >= 1 else f"{tick:g}", "tick", "middle"))
    parts.append(_line(x.start, y.start, x.end, y.start, "axis"))
    parts.append(_text((x.start + x.end) / 2, height - 6, "mean completion tokens per answer", "title", "middle"))
    turned = f'transform="translate(14 {(y.start + y.end) / 2:.1f}) rotate(-90)"'
    parts.append(f'<text class="title" text-anchor="middle" {turned}>accuracy, %</text>')
    return parts


def _front(points: Sequence[Point], x: Axis, y: Axis) -> list[str]:
    """A staircase: between two presets of the front the dearer one's accuracy is not to be had for less."""
    front = sorted((p.tokens.value, p.accuracy.value) for p in points if p.is_on_front)
    if len(front) < 2:
        return []
    path = f"M{x(front[0][0]):.1f} {y(front[0][1]):.1f}"
    for tokens, accuracy in front[1:]:
        path += f"H{x(tokens):.1f}V{y(accuracy):.1f}"
    return [f'<path class="front" d="{path}H{x.end:.1f}"/>']


def _whiskers(point: Point, x: Axis, y: Axis) -> str:
    across, up = x(point.tokens.value), y(point.accuracy.value)
    kind = _class("bar", point)
    return "".join(
        (
            _line(x(_low(point.tokens)), up, x(_high(point.tokens)), up, kind),
            _line(across, y(_low(point.accuracy)), across, y(_high(point.accuracy)), kind),
        )
    )


def _dot(point: Point, x: Axis, y: Axis) -> str:
    across, up = x(point.tokens.value), y(point.accuracy.value)
    told = f"{point.name}: {100 * point.accuracy.value:.1f} % at {point.tokens.value:,.0f} tokens"
    return (
        f'<circle class="{_class("dot", point)}" cx="{across:.1f}" cy="{up:.1f}" r="5.5">'
        f"<title>{escape(told)}</title></circle>"
    )


def _class(kind: str, point: Point) -> str:
    return f"{kind} baseline" if point.is_baseline else f"{kind} hue{point.hue}"


def _labels(points: Sequence[Point], x: Axis, y: Axis, longest: int) -> list[str]:
    frame = Box(x.start, y.end - 14, x.end + 16, y.start - 2)
    dots = [(x(p.tokens.value), y(p.accuracy.value)) for p in points]
    bars = [box for p in points for box in _whisker_boxes(p, x, y)]
    parts = []
    names = [_abridged(point.name, longest) for point in points]
    for point, label in zip(points, place(names, Chart(frame, dots, bars)), strict=True):
        if label.leader:
            (x1, y1), (x2, y2) = label.leader
            parts.append(_line(x1, y1, x2, y2, _class("leader", point)))
        parts.append(_text(label.box.left + 2, label.box.bottom - 4, label.name, _class("name", point), "start"))
    return parts


def _abridged(name: str, longest: int) -> str:
    """Both ends of a long name: presets of one method often differ in the last parameter only."""
    if len(name) <= longest:
        return name
    tail = longest // 2
    return f"{name[: longest - tail - 1]}…{name[-tail:]}"


def _whisker_boxes(point: Point, x: Axis, y: Axis) -> list[Box]:
    across, up = x(point.tokens.value), y(point.accuracy.value)
    return [
        Box(x(_low(point.tokens)), up - 2, x(_high(point.tokens)), up + 2),
        Box(across - 2, y(_high(point.accuracy)), across + 2, y(_low(point.accuracy))),
    ]


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
