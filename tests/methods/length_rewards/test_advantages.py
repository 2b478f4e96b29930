"""From rewards to advantages, by hand; and where a reward's own promise is lost on the way."""

from __future__ import annotations

import math

import pytest

from taut.errors import UsageError
from taut.methods.model_based.advantages import (
    advantages,
    control_token_weights,
    difficulty_weight,
    difficulty_weighted,
    direct,
    group_normalised,
    leave_one_out,
    mean_centred,
    set_standardised,
)
from taut.methods.model_based.length_rewards.alp import Alp
from taut.methods.model_based.length_rewards.arora_zanette import AroraZanette
from taut.methods.model_based.length_rewards.cosine import Cosine
from taut.methods.model_based.length_rewards.l1_exact import L1Exact
from taut.methods.model_based.length_rewards.laser import Laser
from taut.methods.model_based.length_rewards.o1_pruner import O1Pruner
from taut.methods.model_based.length_rewards.plain import Plain
from taut.methods.model_based.length_rewards.shorter_better import ShorterBetter
from taut.rollouts import Reference
from tests.methods.length_rewards.made import made


def test_group_normalised_divides_by_the_deviation_over_n_minus_one() -> None:
    # 1, 1, 0, 0: mean 0.5, deviation sqrt(4 * 0.25 / 3) = 0.577350: +-0.866025
    assert group_normalised((1, 1, 0, 0)) == pytest.approx((0.866025, 0.866025, -0.866025, -0.866025), abs=1e-5)


def test_mean_centred_divides_by_nothing() -> None:
    assert mean_centred((1, 1, 0, 0)) == (0.5, 0.5, -0.5, -0.5)


def test_leave_one_out_takes_the_mean_of_the_others_off() -> None:
    # 1 - (1 + 0 + 0) / 3 = 2/3;  0 - 2/3
    assert leave_one_out((1, 1, 0, 0)) == pytest.approx((2 / 3, 2 / 3, -2 / 3, -2 / 3))


def test_direct_changes_nothing() -> None:
    assert direct((0.3, -0.7)) == (0.3, -0.7)


@pytest.mark.parametrize("make", [group_normalised, mean_centred, leave_one_out])
def test_equal_rewards_and_a_lone_one_have_no_advantage(make: object) -> None:
    assert callable(make)
    assert make((0.4, 0.4, 0.4)) == pytest.approx((0, 0, 0), abs=1e-9)
    assert make((0.4,)) == (0.0,)
    assert make(()) == ()


def test_set_standardised_takes_mean_and_deviation_over_all_groups() -> None:
    # 1, 3 and 5, 7: mean 4, deviation sqrt((9 + 1 + 1 + 9) / 3) = 2.581989
    found = set_standardised([(1, 3), (5, 7)])
    assert found[0] == pytest.approx((-3 / 2.581989, -1 / 2.581989), abs=1e-5)
    assert found[1] == pytest.approx((1 / 2.581989, 3 / 2.581989), abs=1e-5)


def test_difficulty_weight_falls_with_accuracy_around_three_quarters() -> None:
    # 0.4 + 1.1 / (1 + exp(0)) = 0.95 at 0.75;  at 0: 0.4 + 1.1 / (1 + exp(-7.5)) = 1.499392
    # at 1: 0.4 + 1.1 / (1 + exp(2.5)) = 0.4 + 1.1 * 0.0758582 = 0.483444
    assert difficulty_weight(0.75) == pytest.approx(0.95)
    assert difficulty_weight(0) == pytest.approx(1.499392, abs=1e-6)
    assert difficulty_weight(1) == pytest.approx(0.483444, abs=1e-6)


def test_difficulty_weighted_weighs_what_is_pushed_down_by_the_share_of_wrong_answers() -> None:
    # 1, 0, 0, 0: mean 0.25, deviation 0.5: 1.5, -0.5 x 3;  accuracy 0.25:
    # up 0.4 + 1.1 / (1 + exp(-5)) = 1.492638;  down, at 0.75: 0.95
    found = difficulty_weighted((1, 0, 0, 0), 0.25)
    assert found == pytest.approx((1.5 * 1.492638, -0.475, -0.475, -0.475), abs=1e-5)


def test_control_token_weights_share_one_unit_among_the_rest() -> None:
    assert control_token_weights(101) == (0.001, 0.01)
    assert control_token_weights(1) == (0.001, 1.0)


def test_advantages_of_a_step_are_made_by_name_and_an_unknown_name_is_told() -> None:
    assert advantages("mean_centred", [(1, 0), (3,)], [0.5, 1]) == [(0.5, -0.5), (0.0,)]
    assert advantages("set_standardised", [(1, 3), (5, 7)], [1, 1]) == set_standardised([(1, 3), (5, 7)])
    assert advantages("difficulty_weighted", [(1, 0, 0, 0)], [0.25]) == [difficulty_weighted((1, 0, 0, 0), 0.25)]
    with pytest.raises(UsageError, match="did you mean 'group_normalised'"):
        advantages("group_normalized", [(1,)], [1])  # type: ignore[arg-type]


def test_plain_under_group_normalisation_turns_a_long_right_answer_against_itself() -> None:
    # 0.001 a token: 0.9, 0.9, 0.9, -1.0 (right, 2000 tokens) and -0.1 (wrong, 100 tokens): mean 0.32
    # right and long: -1.32; wrong: -0.42: both negative, and the right one is pushed down three times as hard
    rewards = Plain(alpha=0.001)(made("100+ 100+ 100+ 2000+ 100-"))
    assert rewards == pytest.approx((0.9, 0.9, 0.9, -1.0, -0.1))
    assert mean_centred(rewards) == pytest.approx((0.58, 0.58, 0.58, -1.32, -0.42))
    found = group_normalised(rewards)
    assert found[3] < found[4] < 0
    assert found[3] / found[4] == pytest.approx(1.32 / 0.42)


def test_a_step_or_a_factor_leaves_the_same_right_answer_above_the_wrong_one() -> None:
    group = made("100+ 100+ 100+ 2000+ 100-")
    for reward in (Laser(target_tokens=200), AroraZanette()):
        found = group_normalised(reward(group))
        assert found[3] > found[4]


def test_plain_puts_a_long_right_answer_below_an_empty_wrong_one() -> None:
    # 1 - 0.0001 * 12000 = -0.2 < 0
    assert Plain()(made("12000+ 0-")) == pytest.approx((-0.2, 0.0))


def test_l1_exact_puts_a_right_answer_off_the_mark_below_a_wrong_one_on_it() -> None:
    # n = 100: 1 - 0.0003 * 3900 = -0.17 < 0
    assert L1Exact()(made("4000+ 100-", wanted_tokens=100)) == pytest.approx((-0.17, 0.0))


def test_o1_pruner_puts_a_slow_right_answer_below_a_quick_wrong_one() -> None:
    # 600/1200 - 1 + 2 * 0.5 = 0.5;  600/150 - 1 - 2 * 0.5 = 2
    assert O1Pruner()(made("1200+ 150-", reference=Reference(600, 0.5))) == pytest.approx((0.5, 2.0))


def test_cosine_puts_a_right_answer_at_the_limit_below_a_wrong_one_before_it() -> None:
    # -10 against 0 - 5 * (1 + cos(pi / 2)) = -5
    assert Cosine(repetition_price=0)(made("1000+ 500-", limit_tokens=1000)) == pytest.approx((-10.0, -5.0))


def test_shorter_better_puts_a_long_right_answer_below_a_short_wrong_one() -> None:
    # S = 300: 2 - 0.001 * 3000 = -1 against -0.001 * 100
    assert ShorterBetter()(made("300+ 3300+ 200-")) == pytest.approx((2.0, -1.0, -0.1))


def test_the_price_of_alp_survives_normalisation_only_where_the_epsilon_is_small() -> None:
    # all right, 100 and 300 tokens: rewards differ by 2e-5, deviation 1.414e-5:
    # with 1e-6: 1e-5 / 1.514e-5 = 0.660; with TRL's 1e-4: 1e-5 / 1.1414e-4 = 0.0876
    rewards = Alp()(made("100+ 300+"))
    assert group_normalised(rewards)[0] == pytest.approx(0.660, abs=1e-3)
    deviation = math.sqrt(2) * 1e-5
    assert (rewards[0] - rewards[1]) / 2 / (deviation + 1e-4) == pytest.approx(0.0876, abs=1e-4)
