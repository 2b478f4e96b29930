"""Where the names in the picture go: beside their own dot, off everything else, or led to it by a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

FONT_PX = 13.0
CHARACTER_PX = 7.3
"""Width of a character at `FONT_PX`; a little more than the average of system fonts, so that names keep apart."""
LED_PX = 14.0
"""A name further than this from its dot is led to it by a line."""
SWEEPS = 3
"""How often every name is placed anew, given where the others are by now."""
DISTANCES_PX = (9, 16, 28, 44, 64, 90, 120)
CROSSED, CONFUSED = 1500.0, 1500.0
"""Cost of a line that runs through a name, a dot or another line, and of a name that seems to belong to another dot;
two pixels of distance cost 4 and a square pixel of overlap 50."""

Spot = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, y down."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Shared area in square pixels."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, wide) * max(0.0, high)

    def nearest(self, spot: Spot) -> Spot:
        """The place in the box that is nearest to ``spot``."""
        return min(max(spot[0], self.left), self.right), min(max(spot[1], self.top), self.bottom)

    def gap(self, spot: Spot) -> float:
        """How far ``spot`` is from the box; 0 inside."""
        return math.dist(self.nearest(spot), spot)

    def is_crossed(self, start: Spot, end: Spot) -> bool:
        """Whether the straight line from ``start`` to ``end`` runs through the box (Liang and Barsky 1984)."""
        enters, leaves = 0.0, 1.0
        for axis, (low, high) in enumerate(((self.left, self.right), (self.top, self.bottom))):
            step = end[axis] - start[axis]
            if step == 0:
                if not low < start[axis] < high:
                    return False
                continue
            first, last = sorted(((low - start[axis]) / step, (high - start[axis]) / step))
            enters, leaves = max(enters, first), min(leaves, last)
        return enters < leaves


@dataclass(frozen=True, slots=True)
class Label:
    """A name and the box it is written in."""

    name: str
    dot: Spot
    box: Box

    @property
    def leader(self) -> tuple[Spot, Spot] | None:
        """The line from the dot to a name that is not right beside it."""
        inner = Box(self.box.left, self.box.top + 3, self.box.right, self.box.bottom - 3)
        end = inner.nearest(self.dot)
        return (self.dot, end) if math.dist(self.dot, end) > LED_PX else None


@dataclass(slots=True)
class Chart:
    """What the names must keep clear of."""

    frame: Box
    dots: Sequence[Spot]
    bars: Sequence[Box]
    labels: dict[int, Label] = field(default_factory=dict)
    """By position of their dot, as placed so far."""


def place(names: Sequence[str], chart: Chart) -> list[Label]:
    """A label for every dot, each the best given the others."""
    for _ in range(SWEEPS):
        for index, name in enumerate(names):
            chart.labels[index] = _best(index, name, chart)
    return [chart.labels[index] for index in range(len(names))]


def _best(index: int, name: str, chart: Chart) -> Label:
    """The best of many places around a dot."""
    dot = chart.dots[index]
    others = [label for i, label in chart.labels.items() if i != index]
    best, least = None, math.inf
    for distance, turn in product(DISTANCES_PX, range(16)):
        label = Label(name, dot, _box(name, dot, distance, math.pi * turn / 8))
        cost = 2 * distance + _covering(label.box, others, chart)
        if cost < least:
            cost += _confusing(label, index, chart) + _crossing(label, index, others, chart)
        if cost < least:
            best, least = label, cost
    assert best is not None
    return best


def _box(name: str, dot: Spot, distance: float, angle: float) -> Box:
    """The box hangs on its edge or corner that looks at the dot."""
    wide, high = len(name) * CHARACTER_PX + 4, FONT_PX + 5
    x = dot[0] + math.cos(angle) * (distance + wide / 2)
    y = dot[1] + math.sin(angle) * (distance + high / 2)
    return Box(x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)


def _around(dot: Spot) -> Box:
    return Box(dot[0] - 8, dot[1] - 8, dot[0] + 8, dot[1] + 8)


def _covering(box: Box, others: Sequence[Label], chart: Chart) -> float:
    """Off the edge, other names and dots above all; then off error bars."""
    outside = (box.right - box.left) * (box.bottom - box.top) - box.overlap(chart.frame)
    covered = sum(box.overlap(other.box) for other in others) + sum(box.overlap(_around(dot)) for dot in chart.dots)
    return 50 * (outside + covered) + 2 * sum(box.overlap(bar) for bar in chart.bars)


def _confusing(label: Label, index: int, chart: Chart) -> float:
    """A name must be clearly nearer to its own dot than to any other."""
    own = label.box.gap(label.dot) + 8
    gaps = [label.box.gap(dot) for i, dot in enumerate(chart.dots) if i != index and math.dist(dot, label.dot) > 1]
    return sum(CONFUSED + 20 * (own - gap) for gap in gaps if gap < own)


def _crossing(label: Label, index: int, others: Sequence[Label], chart: Chart) -> float:
    """Lines that run through names, dots or one another."""
    crossed = sum(label.box.is_crossed(*other.leader) for other in others if other.leader)
    if label.leader:
        dots = [_around(dot) for i, dot in enumerate(chart.dots) if i != index]
        crossed += sum(box.is_crossed(*label.leader) for box in (*dots, *(other.box for other in others)))
        crossed += sum(_meet(label.leader, other.leader) for other in others if other.leader)
    return CROSSED * crossed


def _meet(one: tuple[Spot, Spot], other: tuple[Spot, Spot]) -> bool:
    """Whether two lines cross."""
    return _parted(one, *other) and _parted(other, *one)


def _parted(line: tuple[Spot, Spot], first: Spot, second: Spot) -> bool:
    """Whether two spots lie on different sides of a line."""
    return _side(line, first) * _side(line, second) < 0


def _side(line: tuple[Spot, Spot], spot: Spot) -> float:
    (x1, y1), (x2, y2) = line
    return (x2 - x1) * (spot[1] - y1) - (y2 - y1) * (spot[0] - x1)
