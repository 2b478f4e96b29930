"""Rewards that read one response at a time, against numbers worked out by hand from the formulas."""

from __future__ import annotations

import pytest

from taut.errors import UsageError
from taut.methods.model_based.length_rewards.adapt_think import AdaptThink
from taut.methods.model_based.length_rewards.cosine import Cosine
from taut.methods.model_based.length_rewards.dapo_overlong import DapoOverlong
from taut.methods.model_based.length_rewards.hapo import Hapo
from taut.methods.model_based.length_rewards.l1_exact import L1Exact
from taut.methods.model_based.length_rewards.l1_max import L1Max
from taut.methods.model_based.length_rewards.laser import Laser
from taut.methods.model_based.length_rewards.o1_pruner import O1Pruner
from taut.methods.model_based.length_rewards.plain import Plain
from taut.methods.model_based.length_rewards.think_prune import ThinkPrune
from taut.methods.model_based.length_rewards.thinkless import Thinkless
from taut.rollouts import Reference
from tests.methods.length_rewards.made import made, with_ids


def close(*numbers: float) -> object:
    return pytest.approx(numbers, abs=1e-12)


def test_plain_takes_a_price_per_token_from_right_and_wrong() -> None:
    # 1 - 0.001 * 100 = 0.9;  0 - 0.001 * 300 = -0.3;  1 - 0.001 * 0 = 1
    assert Plain(alpha=0.001)(made("100+ 300- 0+")) == close(0.9, -0.3, 1.0)


def test_plain_can_count_the_thinking_alone() -> None:
    # 50 of the 100 tokens think: 1 - 0.001 * 50
    assert Plain(alpha=0.001, of="thinking")(made("100+")) == close(0.95)


def test_l1_exact_takes_a_price_per_token_beside_the_mark_on_either_side() -> None:
    # n = 1000: 1 - 0.0003 * 500 = 0.85 for 500 and for 1500;  0 - 0.0003 * 0 = 0;  1 - 0.0003 * 1000 = 0.7
    assert L1Exact()(made("500+ 1500+ 1000- 0+", wanted_tokens=1000)) == close(0.85, 0.85, 0.0, 0.7)


def test_l1_max_of_the_paper_is_a_half_at_the_mark_and_clipped_at_both_ends() -> None:
    # n = 2000: at 2000 delta = 0.5;  at 1000 0.0003 * 1000 + 0.5 = 0.8;  at 0 0.6 + 0.5 = 1.1 -> 1
    # at 4000 -0.6 + 0.5 = -0.1 -> 0;  wrong 0
    assert L1Max()(made("2000+ 1000+ 0+ 4000+ 1000-", wanted_tokens=2000)) == close(0.5, 0.8, 1.0, 0.0, 0.0)


def test_l1_max_of_the_code_has_half_the_slope() -> None:
    # (clip(0.0003 * 1000, -1, 1) + 1) / 2 = 1.3 / 2;  at 6000: clip(-1.2) = -1 -> 0;  at 0: (0.6 + 1) / 2
    assert L1Max(form="code")(made("1000+ 2000+ 6000+ 0+ 0-", wanted_tokens=2000)) == close(0.65, 0.5, 0.0, 0.8, 0.0)


def test_o1_pruner_measures_against_the_start_model() -> None:
    # mean 600, accuracy 0.75:  600/300 - 1 + 2 * (1 - 0.75) = 1.5;  600/1200 - 1 + 2 * (0 - 0.75) = -2.0
    # 600/600 - 1 + 2 * 0.25 = 0.5
    group = made("300+ 1200- 600+", reference=Reference(600, 0.75))
    assert O1Pruner()(group) == close(1.5, -2.0, 0.5)


def test_o1_pruner_is_clipped_and_takes_an_empty_response_as_one_token() -> None:
    # 600/1 - 1 + 0.5 = 599.5 -> 4;  600/6000 - 1 - 1.5 = -2.4 -> -2
    assert O1Pruner()(made("0+ 6000-", reference=Reference(600, 0.75))) == close(4.0, -2.0)


def test_cosine_falls_for_right_answers_and_rises_for_wrong_ones() -> None:
    # limit 1000, L = 500: cos(pi / 2) = 0: right 1 + 1/2 = 1.5, wrong 0 - 10/2 = -5;  L = 0: 2 and -10
    reward = Cosine(repetition_price=0)
    assert reward(made("500+ 500- 0+ 0-", limit_tokens=1000)) == close(1.5, -5.0, 2.0, -10.0)
    # L = 250: cos(pi / 4) = 0.70710678: 1 + (1 + 0.70710678) / 2 = 1.85355339
    assert reward(made("250+", limit_tokens=1000)) == pytest.approx((1.85355339,))


def test_cosine_punishes_what_comes_within_16_tokens_of_the_limit_right_or_wrong() -> None:
    # 984 + 16 = 1000 >= 1000;  983 + 16 = 999 < 1000: 1 + (1 + cos(0.983 pi)) / 2 = 1 + (1 - 0.998574) / 2 = 1.000713
    rewards = Cosine(repetition_price=0)(made("984+ 2000- 983+", limit_tokens=1000))
    assert rewards == pytest.approx((-10.0, -10.0, 1.000713), abs=1e-6)


def test_cosine_takes_a_price_for_each_token_of_a_run_that_was_there_before() -> None:
    # runs of 2: 1 2 3 1 2 3: the runs (1 2) and (2 3) come again at 3..4 and 4..5: three tokens, 3 * 0.05 = 0.15
    # 6 tokens of 1000: 1 + (1 + cos(0.006 pi)) / 2 = 1.999911
    reward = Cosine(repetition_ngram_tokens=2)
    group = with_ids(made("6+ 6+", limit_tokens=1000), (1, 2, 3, 1, 2, 3), (1, 2, 3, 4, 5, 6))
    assert reward(group) == pytest.approx((1.999911 - 0.15, 1.999911), abs=1e-6)


def test_cosine_counts_a_token_once_though_several_repeated_runs_hold_it() -> None:
    # 5 5 5 5: the run (5 5) from 0 comes again from 1 and from 2: tokens 1, 2 and 3 are repeated, not four of them
    rewards = Cosine(repetition_ngram_tokens=2, correct_short=0, correct_long=0)(
        with_ids(made("4+", limit_tokens=1000), (5, 5, 5, 5))
    )
    assert rewards == close(-0.15)


def test_think_prune_pays_for_what_is_right_whole_and_inside() -> None:
    group = made("100+ 400+ 401+ 100- 100+!", limit_tokens=400)
    assert ThinkPrune()(group) == (1.0, 1.0, 0.0, 0.0, 0.0)
    assert ThinkPrune(round_limit_tokens=99)(group) == (0.0,) * 5


def test_laser_has_a_step_at_the_target() -> None:
    assert Laser(target_tokens=300)(made("300+ 301+ 0+ 100- 900-")) == (1.5, 1.0, 1.5, -0.5, -0.5)


def test_dapo_overlong_is_free_up_to_the_cache_and_linear_in_it() -> None:
    # limit 20480, cache 4096: free to 16384;  18432 is half of the cache: -0.5;  20480: -1
    group = made("16384+ 18432+ 20480+ 18432- 100-", limit_tokens=20480)
    assert DapoOverlong()(group) == close(1.0, 0.5, 0.0, -1.5, -1.0)
    # cache 1024: free to 19456;  19968 is half of it
    assert DapoOverlong(cache_tokens=1024)(made("18432+ 19968+", limit_tokens=20480)) == close(1.0, 0.5)


def test_dapo_overlong_does_not_fall_further_above_the_limit() -> None:
    assert DapoOverlong()(made("3000+ 3000-", limit_tokens=1000)) == close(0.0, -2.0)


def test_dapo_overlong_refuses_a_cache_as_long_as_the_limit() -> None:
    with pytest.raises(UsageError, match="cache_tokens is 4096, it must be below the limit of 1024 tokens"):
        DapoOverlong(cache_tokens=4096)(made("1+", limit_tokens=1024))


def test_hapo_pays_for_being_shorter_than_ever_and_lets_short_wrong_answers_be() -> None:
    # h = 300: L = 200: cos(pi / 3) = 0.5;  L = 300: 0;  L = 400: cos(2 pi / 3) = -0.5;  L = 600: -1 -> -0.7 if right
    group = made("200+ 300+ 400+ 600+ 9000+ 200- 400- 600-", shortest_so_far=300)
    assert Hapo()(group) == close(1.5, 1.0, 0.5, 0.3, 0.3, 0.0, -0.5, -1.0)


def test_hapo_ignores_length_until_an_answer_was_right() -> None:
    assert Hapo()(made("200+ 900+ 900-")) == (1.0, 1.0, 0.0)


def test_hapo_takes_a_shortest_answer_of_no_tokens() -> None:
    # h counts as 1: L = 0: 1;  L = 5: -1 -> -0.7
    assert Hapo()(made("0+ 5+", shortest_so_far=0)) == close(2.0, 0.3)


def test_adapt_think_adds_a_bonus_where_thinking_was_left_out() -> None:
    # accuracy 0.75: thinking 1 - 0.75 and 0 - 0.75; without thinking 0.05 more
    group = made("900+ 900- 20+n 20-n", reference=Reference(800, 0.75))
    assert AdaptThink()(group) == close(0.25, -0.75, 0.30, -0.70)


def test_thinkless_halves_a_right_answer_that_thought() -> None:
    assert Thinkless()(made("900+ 20+n 900- 20-n")) == (0.5, 1.0, -1.0, -1.0)
    assert Thinkless(gamma=0.25)(made("900+")) == (0.75,)
