"""Rewards that read the other responses too, against numbers worked out by hand from the formulas."""

from __future__ import annotations

import math

import pytest

from taut.methods.model_based.length_rewards.alp import Alp
from taut.methods.model_based.length_rewards.arora_zanette import AroraZanette
from taut.methods.model_based.length_rewards.dast import Dast
from taut.methods.model_based.length_rewards.grpo_lead import GrpoLead
from taut.methods.model_based.length_rewards.kimi import Kimi
from taut.methods.model_based.length_rewards.laser_d import LaserD
from taut.methods.model_based.length_rewards.shorter_better import ShorterBetter
from taut.rollouts import Targets
from tests.methods.length_rewards.made import made, with_ids


def close(*numbers: float) -> object:
    return pytest.approx(numbers, abs=1e-12)


def test_kimi_spreads_one_point_from_the_shortest_to_the_longest_of_all() -> None:
    # least 100, most 500: lam = 0.5 at 100, 0 at 300, -0.5 at 500, 0.25 at 200
    # right: 1 + lam;  wrong: 0 + min(0, lam)
    group = made("100+ 300+ 500+ 200- 500-")
    assert Kimi(weight=1, wrong_reward=0)(group) == close(1.5, 1.0, 0.5, 0.0, -0.5)
    # the defaults: 1 + 0.4 * lam and -0.5 + 0.4 * min(0, lam)
    assert Kimi()(group) == close(1.2, 1.0, 0.8, -0.5, -0.7)


def test_kimi_ignores_length_where_all_are_of_one_length_and_for_one_alone() -> None:
    assert Kimi()(made("300+ 300+ 300-")) == (1.0, 1.0, -0.5)
    assert Kimi()(made("300+")) == (1.0,)


def test_arora_zanette_takes_from_right_answers_by_their_length_among_the_right() -> None:
    # right: 100 and 300: mean 200, deviation 100: z = -1 and 1
    # sigmoid(-1) = 0.268941421, sigmoid(1) = 0.731058579;  alpha 0.2: 1 - 0.0537882843 and 1 - 0.1462117157
    rewards = AroraZanette(alpha=0.2)(made("100+ 300+ 9000-"))
    assert rewards == pytest.approx((0.9462117157, 0.8537882843, 0.0), abs=1e-9)


def test_arora_zanette_takes_half_of_alpha_where_nothing_differs() -> None:
    # z = 0: 1 - 0.2 * 0.5
    assert AroraZanette(alpha=0.2)(made("300+ 300+ 50-")) == close(0.9, 0.9, 0.0)
    assert AroraZanette(alpha=0.2)(made("300+")) == close(0.9)


def test_arora_zanette_gives_nothing_for_what_was_cut_and_leaves_it_out_of_the_mean() -> None:
    # the cut one is out: mean 200, deviation 100 as above
    rewards = AroraZanette(alpha=0.2)(made("100+ 300+ 8000+!"))
    assert rewards == pytest.approx((0.9462117157, 0.8537882843, 0.0), abs=1e-9)
    assert AroraZanette()(made("8000-! 8000-!")) == (0.0, 0.0)


def test_dast_sets_a_budget_between_the_right_lengths_and_the_limit() -> None:
    # 2 of 4 right, mean of the right 400, limit 1600: budget 0.5 * 400 + 0.5 * 1600 = 1000
    # right: 300: lam -0.7: 0.85;  500: lam -0.5: 0.75;  wrong: 1500: lam 0.5: 0.35 -> -0.1;  500: -0.45 - 0.1 = -0.55
    assert Dast()(made("300+ 500+ 1500- 500-", limit_tokens=1600)) == close(0.85, 0.75, -0.1, -0.55)


def test_dast_keeps_a_long_right_answer_above_a_tenth() -> None:
    # all right: budget = mean = (100 + 100 + 100 + 1700) / 4 = 500;  100: lam -0.8: 0.9;  1700: lam 2.4: -0.7 -> 0.1
    assert Dast()(made("100+ 100+ 100+ 1700+", limit_tokens=2000)) == close(0.9, 0.9, 0.9, 0.1)


def test_dast_takes_the_limit_as_the_budget_where_none_is_right() -> None:
    # wrong: 1000 of 1000: lam 0: -0.1;  0: lam -1: -1
    assert Dast()(made("1000- 0-", limit_tokens=1000)) == close(-0.1, -1.0)


def test_dast_takes_right_answers_of_no_tokens() -> None:
    # budget 0 counts as 1: lam = -1: 0.5 + 0.5
    assert Dast()(made("0+ 0+", limit_tokens=1000)) == close(1.0, 1.0)


def test_alp_makes_tokens_dear_where_the_question_is_easy() -> None:
    # beta 0.001: 3 of 4 right: 0.00075 a token: 1 - 0.075, 1 - 0.15, 1 - 0.3, 0 - 0.3
    assert Alp(beta=0.001)(made("100+ 200+ 400+ 400-")) == close(0.925, 0.85, 0.7, -0.3)


def test_alp_prices_a_question_that_nobody_solves_as_if_one_had() -> None:
    # 0 of 4 right: max(0, 1/4): 0.00025 a token
    assert Alp(beta=0.001)(made("400- 400- 400- 0-")) == close(-0.1, -0.1, -0.1, 0.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100+ 250+ 50-", (1.5, 1.0, -0.5)),  # 2 of 3 right: the easy target, 200
        ("300+ 350- 50-", (1.5, -0.5, -0.5)),  # 1 of 3: the medium one, 300
        ("700+ 50- 50- 50-", (1.5, -0.5, -0.5, -0.5)),  # 1 of 4: the hard one, 800
        ("900+ 50- 50- 50-", (1.0, -0.5, -0.5, -0.5)),
        ("50- 9000-", (-0.5, -0.5)),
    ],
)
def test_laser_d_has_its_step_where_the_groups_accuracy_says(text: str, expected: tuple[float, ...]) -> None:
    assert LaserD()(made(text, targets=Targets(200, 300, 800))) == expected


def test_laser_de_pays_wrong_answers_above_the_target_that_do_not_repeat_themselves() -> None:
    # 1 of 4 right: target 3. Wrong: 4 tokens without repetition -0.5 + 0.5;  4 with: -0.5;  3 tokens, inside: -0.5
    group = with_ids(made("2+ 4- 4- 3-", targets=Targets(1, 2, 3)), (1, 2), (1, 2, 3, 4), (7, 8, 7, 8), (1, 2, 3))
    assert LaserD(explore=True, repetition_ngram_tokens=2)(group) == (1.5, 0.0, -0.5, -0.5)
    assert LaserD()(group) == (1.5, -0.5, -0.5, -0.5)


def test_grpo_lead_is_exponential_in_the_standardised_length() -> None:
    # right: 100, 200, 300: mean 200, deviation over n - 1: 100: z = -1, 0, 1: exp(0.05), 1, exp(-0.05)
    rewards = GrpoLead()(made("100+ 200+ 300+ 10-"))
    assert rewards == pytest.approx((1.0512710964, 1.0, 0.9512294245, -1.0), abs=1e-7)


def test_grpo_lead_gives_one_where_one_alone_is_right_or_all_are_of_one_length() -> None:
    assert GrpoLead()(made("500+ 10-")) == close(1.0, -1.0)
    assert GrpoLead()(made("500+ 500+")) == close(1.0, 1.0)


def test_grpo_lead_can_leave_short_groups_alone_as_its_code_does() -> None:
    # the three shortest: (100 + 200 + 300) / 3 = 200
    group = made("100+ 200+ 300+ 900+")
    assert GrpoLead(free_below_tokens=200)(group) == (1.0,) * 4
    assert GrpoLead(free_below_tokens=199)(group) == GrpoLead()(group)


def test_shorter_better_measures_from_the_shortest_right_answer() -> None:
    # S = 300: right 2, 2 - 0.001 * 500;  wrong: -0.001 * |100 - 300|, -0.001 * 700
    assert ShorterBetter()(made("300+ 800+ 100- 1000-")) == close(2.0, 1.5, -0.2, -0.7)


def test_shorter_better_measures_from_the_mean_where_none_is_right() -> None:
    # S = 400: -0.3, -0.1, -0.4
    assert ShorterBetter()(made("100- 300- 800-")) == close(-0.3, -0.1, -0.4)


def test_lengths_far_apart_overflow_nothing() -> None:
    group = made("1+ " * 200 + "100000000+")
    for reward in (AroraZanette(), GrpoLead(alpha=100)):
        assert all(map(math.isfinite, reward(group)))
