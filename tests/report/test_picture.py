"""The picture: in its frame, readable, and with names that keep apart."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import pytest

from taut.metrics import Estimate, summarize
from taut.report.html import NARROW, WIDE
from taut.report.labels import CHARACTER_PX, FONT_PX, Box
from taut.report.picture import Point, picture, points_of
from tests.made_run import PRESETS, plausible_traces


def crowd(seed: int, size: int) -> list[Point]:
    """Presets close together, as real ones are."""
    draw = random.Random(seed)
    points = []
    for i in range(size):
        tokens, accuracy = draw.uniform(100, 600), draw.uniform(0.6, 0.8)
        points.append(
            Point(
                f"preset_number_{i}",
                Estimate(tokens, tokens * 0.9, tokens * 1.1),
                Estimate(accuracy, accuracy - 0.1, accuracy + 0.1),
                is_baseline=i == 0,
                is_on_front=i < 3,
            )
        )
    return points


def names_in(svg: str) -> list[Box]:
    boxes = []
    for text in ElementTree.fromstring(svg).iter("text"):
        if (text.get("class") or "").startswith("name"):
            left, base = float(text.get("x") or 0), float(text.get("y") or 0)
            boxes.append(Box(left, base - FONT_PX + 3, left + len(text.text or "") * CHARACTER_PX, base + 3))
    return boxes


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("seed", range(8))
def test_names_keep_apart_and_inside(size: tuple[int, int], seed: int) -> None:
    boxes = names_in(picture(crowd(seed, 8), *size))
    assert len(boxes) == 8
    assert all(one.overlap(other) == 0 for one, other in combinations(boxes, 2))
    assert all(box.left >= 0 and box.top >= 0 and box.right <= size[0] and box.bottom <= size[1] for box in boxes)


SMALL_MODEL = {"direct": (31, 13), "chain_of_thought": (56, 49), "concise": (69, 19), "chain_of_draft": (0, 184),
               "token_budget": (75, 34), "tale": (75, 56), "no_thinking": (50, 4.8), "cap_64": (25, 28)}  # fmt: skip
"""Per cent right and mean tokens; five of eight within an eighth of the width."""


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_name_is_nearest_to_its_own_dot_or_led_to_it(size: tuple[int, int]) -> None:
    points = [
        Point(
            name, Estimate(t, t * 0.85, t * 1.15), Estimate(a / 100, max(0, a / 100 - 0.2), a / 100 + 0.2), False, True
        )
        for name, (a, t) in SMALL_MODEL.items()
    ]
    root = ElementTree.fromstring(picture(points, *size))
    dots = [(float(dot.get("cx") or 0), float(dot.get("cy") or 0)) for dot in root.iter("circle")]
    led = {line.get("x1"): line for line in root.iter("line") if "leader" in (line.get("class") or "")}
    for index, box in enumerate(names_in(picture(points, *size))):
        gaps = [box.gap(dot) for dot in dots]
        assert gaps.index(min(gaps)) == index or f"{dots[index][0]:.1f}" in led


def test_a_name_and_its_dot_have_one_colour() -> None:
    points = [replace(point, hue=i, is_baseline=False) for i, point in enumerate(crowd(1, 3))]
    root = ElementTree.fromstring(picture(points, *WIDE))
    kinds = [element.get("class") for element in root.iter() if element.get("class")]
    for i in range(3):
        assert f"dot hue{i}" in kinds
        assert f"name hue{i}" in kinds


def test_a_line_through_a_box_crosses_it() -> None:
    box = Box(10, 10, 20, 20)
    assert box.is_crossed((0, 15), (30, 15))
    assert box.is_crossed((0, 0), (30, 30))
    assert not box.is_crossed((0, 15), (9, 15))
    assert not box.is_crossed((0, 5), (30, 5))
    assert not box.is_crossed((0, 25), (5, 0))


def test_the_front_and_both_error_bars_are_drawn() -> None:
    traces = plausible_traces(20)
    summary = summarize(traces, baseline="direct", presets=list(PRESETS))
    root = ElementTree.fromstring(picture(points_of(summary), *WIDE))
    kinds = [(element.get("class") or "").split()[0] for element in root.iter() if element.get("class")]
    assert kinds.count("dot") == 6
    assert kinds.count("bar") == 12
    assert kinds.count("front") == 1


def test_a_name_cannot_break_out_of_the_picture() -> None:
    point = Point("<script>alert(1)</script>&", Estimate(5), Estimate(0.5), is_baseline=True, is_on_front=True)
    svg = picture([point], *WIDE)
    assert "<script" not in svg
    assert names_in(svg)


@pytest.mark.parametrize(("tokens", "accuracy"), [(0.0, 0.0), (0.4, 1.0), (1.0, 0.5), (2e6, 0.999)])
def test_extreme_values_have_a_picture(tokens: float, accuracy: float) -> None:
    svg = picture([Point("p", Estimate(tokens), Estimate(accuracy), is_baseline=True, is_on_front=True)], *NARROW)
    assert "nan" not in svg
    assert "inf" not in svg


def test_a_long_name_shows_both_ends_in_the_frame() -> None:
    name = "budget_forcing:max_thinking_tokens=64,answer_room_tokens=32"
    svg = picture([Point(name, Estimate(90), Estimate(0.5, 0.3, 0.7), is_baseline=False, is_on_front=True)], *NARROW)
    (box,) = names_in(svg)
    assert ">budget_forc…m_tokens=32<" in svg
    assert box.left >= 0
    assert box.right <= NARROW[0]


def test_no_points_have_no_picture() -> None:
    assert picture([], *WIDE) == ""
