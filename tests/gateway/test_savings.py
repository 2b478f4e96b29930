"""What is saved: sums that add up, intervals that hold, and two measures that are never mixed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from taut.errors import UsageError
from taut.gateway.savings import Baseline, Savings, read_baseline, report_of, t_quantile, wilson
from taut.metrics import intervals
from tests.made_run import made_trace, write_run

PAIRS = [(50, 100, True), (30, 100, True), (80, 200, False), (40, 100, None), (100, 300, True)]


def paired(pairs: Sequence[tuple[int, int, bool | None]], preset: str = "concise") -> Savings:
    savings = Savings()
    for tokens, unmodified, agree in pairs:
        savings.add_pair(preset, tokens, unmodified, agree)
    return savings


def test_savings_are_one_minus_the_ratio_of_the_sums() -> None:
    (line,) = paired(PAIRS).report()
    assert line["saved"]["value"] == pytest.approx(1 - 300 / 800)
    assert (line["n"], line["tokens_saved"]) == (5, 500)
    assert (line["tokens_mean"], line["unmodified_mean"]) == (60.0, 160.0)


def test_answers_that_cannot_be_compared_are_in_the_tokens_and_not_in_the_agreement() -> None:
    (line,) = paired(PAIRS).report()
    assert line["agreement"] is not None
    assert line["agreement"]["value"] == pytest.approx(3 / 4)
    assert (line["agreement_n"], line["cannot_compare"]) == (4, 1)


def test_no_pair_that_can_be_compared_gives_no_agreement() -> None:
    (line,) = paired([(10, 20, None)] * 6).report()
    assert line["agreement"] is None
    assert line["agreement_n"] == 0


def test_pairs_of_one_ratio_leave_no_doubt() -> None:
    (line,) = paired([(tokens, 4 * tokens, True) for tokens in (10, 20, 30, 40, 50)]).report()
    assert line["saved"]["low"] == pytest.approx(0.75)
    assert line["saved"]["high"] == pytest.approx(0.75)


def test_the_interval_is_fiellers() -> None:
    """By hand: means 60 and 160, variances 850 and 8000, covariance 2500 of 5 pairs, t = 2.7764."""
    (line,) = paired(PAIRS).report()
    t2 = 2.776445**2
    a = 160**2 - t2 * 8000 / 5
    b = 60 * 160 - t2 * 2500 / 5
    c = 60**2 - t2 * 850 / 5
    low, high = (b - math.sqrt(b * b - a * c)) / a, (b + math.sqrt(b * b - a * c)) / a
    assert line["saved"]["low"] == pytest.approx(1 - high, abs=0.002)
    assert line["saved"]["high"] == pytest.approx(1 - low, abs=0.002)


def test_there_is_no_interval_below_five_pairs() -> None:
    (line,) = paired(PAIRS[:4]).report()
    assert line["saved"]["value"] == pytest.approx(1 - 200 / 500)
    assert (line["saved"]["low"], line["saved"]["high"]) == (None, None)


def test_there_is_no_interval_where_one_long_answer_decides_all() -> None:
    (line,) = paired([(1, 1, True)] * 5 + [(50_000, 100_000, True)]).report()
    assert (line["saved"]["low"], line["saved"]["high"]) == (None, None)


def test_a_preset_that_takes_more_saves_less_than_nothing() -> None:
    (line,) = paired([(200, 100, True)] * 3).report()
    assert line["saved"]["value"] == -1.0
    assert line["tokens_saved"] == -300


@pytest.mark.parametrize("noise", [0.3, 0.6])
def test_the_interval_for_thirty_pairs_covers_the_truth_nine_times_in_ten(noise: float) -> None:
    truth = 1 - 0.5 * math.exp(noise**2 / 2)
    covered, repeats = 0, 600
    for repeat in range(repeats):
        draw = random.Random(repeat)
        savings = Savings()
        for _ in range(30):
            unmodified = draw.lognormvariate(7, 0.8)
            savings.add_pair("p", round(unmodified * 0.5 * draw.lognormvariate(0, noise)), round(unmodified), None)
        saved = savings.report()[0]["saved"]
        covered += saved["low"] is not None and saved["high"] is not None and saved["low"] <= truth <= saved["high"]
    assert covered / repeats >= 0.90


def test_workers_that_are_merged_report_as_one() -> None:
    whole, first, second = paired(PAIRS), paired(PAIRS[:2]), paired(PAIRS[2:])
    for savings in (whole, first):
        savings.add_request("concise", 7)
    states = [msgspec.json.decode(msgspec.json.encode(savings.state())) for savings in (first, second)]
    assert report_of(states) == whole.report()


def test_millions_of_long_answers_lose_no_digits() -> None:
    half = paired([(10_000_000 + i % 2, 20_000_000, True) for i in range(1000)]).state()
    (line,) = report_of([half] * 4096)
    assert line["n"] == 4_096_000
    assert line["saved"]["low"] is not None
    assert line["saved"]["low"] < line["saved"]["value"] < (line["saved"]["high"] or 0)
    assert (line["saved"]["high"] or 0) - line["saved"]["low"] == pytest.approx(
        2 * 1.96 * 0.5 / 2e7 / 4_096_000**0.5, rel=0.01
    )


def test_requests_alone_say_nothing_about_savings() -> None:
    savings = Savings()
    savings.add_request("concise", 10)
    assert savings.report() == []


def test_shadow_and_baseline_are_two_lines() -> None:
    savings = Savings(Baseline("direct", 100.0, 400.0, 25))
    for tokens in (40, 50, 60, 40, 50, 60):
        savings.add_request("concise", tokens)
    savings.add_pair("concise", 40, 200, True)
    shadow, baseline = savings.report()
    assert (shadow["against"], shadow["n"], shadow["saved"]["value"]) == ("shadow", 1, 0.8)
    assert (baseline["against"], baseline["n"], baseline["baseline_n"]) == ("baseline", 6, 25)
    assert baseline["saved"]["value"] == pytest.approx(0.5)
    assert baseline["tokens_saved"] == 600 - 300
    assert baseline["agreement"] is None
    assert "not those of the traffic" in baseline["meaning"]


def test_the_baselines_own_preset_is_not_held_against_itself() -> None:
    savings = Savings(Baseline("direct", 100.0, 400.0, 25))
    savings.add_request("direct", 40)
    assert savings.report() == []


def test_a_baseline_is_read_from_a_run_by_question(tmp_path: Path) -> None:
    traces = [
        made_trace("direct", 0, tokens=100),
        made_trace("direct", 0, tokens=300, seed=1),
        made_trace("direct", 1, tokens=400),
        made_trace("direct", 2, tokens=10_000, error="the stream broke off"),
        made_trace("concise", 0, tokens=1),
    ]
    baseline = read_baseline(write_run(tmp_path / "run", traces))
    assert baseline == Baseline("direct", 300.0, 20_000.0, 2)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no run folder of taut bench"):
        read_baseline(tmp_path)


def test_a_run_without_answers_is_no_baseline(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds 1 answers of its baseline 'direct'"):
        read_baseline(write_run(tmp_path / "run", [made_trace("direct", 0)]))


def test_a_manifest_without_a_baseline_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="it has no 'baseline'"):
        read_baseline(tmp_path)


@pytest.mark.parametrize(("degrees", "t"), [(4, 2.776445), (9, 2.262157), (29, 2.045230), (999, 1.962341)])
def test_students_t(degrees: int, t: float) -> None:
    assert t_quantile(degrees) == pytest.approx(t, rel=0.001)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (7, 10), (10, 10), (500, 1000)])
def test_wilson_is_the_one_of_the_metrics(right: int, n: int) -> None:
    found = wilson(right, n)
    assert found is not None
    assert (found["low"], found["high"]) == pytest.approx(intervals.wilson(right / n, n))
