"""Intervals against numbers known from elsewhere, and on data that make formulas break."""

from __future__ import annotations

import random

import pytest

from taut.errors import UsageError
from taut.metrics import intervals
from taut.metrics.intervals import (
    Sums,
    holm,
    mean_difference,
    proportion,
    quantile,
    questions_needed,
    ratio_of_sums,
    sign_test,
    wilson,
)


def answers(right: int, wrong: int) -> list[Sums]:
    return [Sums(1, 1)] * right + [Sums(0, 1)] * wrong


@pytest.mark.parametrize(("right", "n"), [(0, 10), (1, 1), (8, 10), (81, 263), (60, 60)])
def test_wilson_agrees_with_scipy(right: int, n: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(right, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_newcombes_example() -> None:
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
    found = proportion(answers(81, 182))
    assert found is not None
    assert found.value == pytest.approx(81 / 263)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_answers_that_agree_within_a_question_count_once() -> None:
    once = proportion(answers(6, 4))
    four_times = proportion([Sums(4, 4)] * 6 + [Sums(0, 4)] * 4)
    assert once is not None
    assert four_times is not None
    assert four_times.value == once.value
    assert (four_times.low, four_times.high) == pytest.approx((once.low, once.high))


def test_answers_that_do_not_depend_on_the_question_count_in_full() -> None:
    found = proportion([Sums(2, 4)] * 10)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(wilson(0.5, 40))


def test_repeated_answers_that_are_all_right_count_as_one_a_question() -> None:
    found = proportion([Sums(4, 4)] * 10)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(wilson(1.0, 10))


def test_nothing_answered_has_no_proportion() -> None:
    assert proportion([]) is None


def test_a_ratio_is_one_of_sums_not_a_mean_of_ratios() -> None:
    found = ratio_of_sums([Sums(10, 10), Sums(30, 10), Sums(20, 30)])
    assert found is not None
    assert found.value == pytest.approx(60 / 50)


def test_constant_data_have_an_interval_of_no_width() -> None:
    found = ratio_of_sums([Sums(50, 100)] * 8)
    assert found is not None
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_fewer_than_five_questions_have_no_bootstrap_interval() -> None:
    found = ratio_of_sums([Sums(1, 2), Sums(3, 4), Sums(1, 5), Sums(2, 3)])
    assert found is not None
    assert (found.low, found.high) == (None, None)


def test_a_baseline_that_spent_nothing_has_no_ratio() -> None:
    assert ratio_of_sums([Sums(5, 0)] * 6) is None


def test_resamples_without_a_denominator_leave_no_interval() -> None:
    found = ratio_of_sums([Sums(5, 0)] * 5 + [Sums(1, 3)])
    assert found is not None
    assert found.value == pytest.approx(26 / 3)
    assert (found.low, found.high) == (None, None)


def test_the_bootstrap_agrees_with_the_t_interval_on_normal_data() -> None:
    from scipy import stats

    draw = random.Random(3)
    values = [draw.gauss(100, 15) for _ in range(40)]
    found = ratio_of_sums([Sums(value, 1) for value in values])
    expected = stats.t.interval(0.95, 39, sum(values) / 40, stats.sem(values))
    assert found is not None
    assert (found.low, found.high) == pytest.approx(expected, abs=0.5)


def test_the_bootstrap_is_repeatable_and_depends_on_its_seed() -> None:
    questions = [Sums(i % 7 + 1, i % 5 + 2) for i in range(30)]
    assert ratio_of_sums(questions, seed=1) == ratio_of_sums(questions, seed=1)
    assert ratio_of_sums(questions, seed=1) != ratio_of_sums(questions, seed=2)


def test_no_difference_over_few_questions_leaves_doubt() -> None:
    # (n, won, lost) = (24, 0, 0): centre 0, variance 2/26, spread 1.96 * sqrt(2/26/26).
    found = mean_difference([0.0] * 24)
    assert found is not None
    assert found.value == 0
    assert (found.low, found.high) == pytest.approx((-0.10661, 0.10661), abs=1e-5)


def test_the_adjusted_wald_interval_by_hand() -> None:
    # 20 questions, 1 won and 6 lost: p12 = 2/22, p21 = 7/22, difference -5/22,
    # variance (9/22 - 25/484) / 22 = 0.016247, spread 1.959964 * 0.127464 = 0.249824.
    found = mean_difference([1.0] + [-1.0] * 6 + [0.0] * 13)
    assert found is not None
    assert found.value == pytest.approx(-0.25)
    assert (found.low, found.high) == pytest.approx((-0.477097, 0.022551), abs=1e-5)


def test_no_question_has_no_difference() -> None:
    assert mean_difference([]) is None


def test_the_sign_test_by_hand() -> None:
    # Two-sided: 2 * (C(7,0) + C(7,1)) / 2**7.
    assert sign_test(1, 6) == pytest.approx(0.125)
    assert sign_test(0, 0) == 1


def test_quantiles() -> None:
    assert quantile([1.0, 2.0, 4.0], 0.5) == 2
    assert quantile([1.0, 2.0], 0.95) == pytest.approx(1.95)
    assert quantile([], 0.5) is None


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(UsageError, match=r"scipy_of_nowhere, which is missing: pip install 'taut\[bench\]'"):
        intervals.library("scipy_of_nowhere.stats")


def test_missing_packages_are_told_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    intervals.check_libraries()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"numpy, which is missing"):
        intervals.check_libraries()


def test_holm_corrects_the_smallest_by_the_most() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1, and never less than the one before.
    assert holm([0.03, 0.5, 0.01, 0.02]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_so_many_questions_bring_the_interval_to_its_width() -> None:
    # 100 questions, 10 won and 10 lost: 22 of 102 differ, 1.959964**2 * 0.215686 / 0.0025 - 2 = 329.4.
    so_far = [1.0] * 10 + [-1.0] * 10 + [0.0] * 80
    assert questions_needed(so_far, 0.05) == 330
    found = mean_difference([1.0] * 33 + [-1.0] * 33 + [0.0] * 264)
    assert found is not None
    assert found.high == pytest.approx(0.05, abs=0.002)
    assert questions_needed([], 0.05) is None
