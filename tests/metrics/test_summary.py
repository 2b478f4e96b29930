"""Summaries of small runs whose numbers are worked out by hand."""

from __future__ import annotations

import msgspec
import pytest

from taut.core import Score, Trace
from taut.errors import UsageError
from taut.metrics import Summary, accuracy_efficiency_score, pareto_front, summarize
from tests.made_run import made_call, made_trace

BOTH = ("base", "short")


def two_presets() -> list[Trace]:
    """Ten questions. Right: base on 8, short on 7; base alone on 2, short alone on 1. Tokens 100 and 40."""
    short_is_right = [True] * 6 + [False] * 2 + [True] + [False]
    base_is_right = [True] * 8 + [False] * 2
    return [
        trace
        for i in range(10)
        for trace in (made_trace("base", i, base_is_right[i], 100), made_trace("short", i, short_is_right[i], 40))
    ]


def test_a_two_by_two_table_by_hand() -> None:
    summary = summarize(two_presets(), baseline="base", presets=BOTH)
    base, short = summary.presets["base"], summary.presets["short"]
    assert (base.correct, short.correct, short.n, short.scored) == (8, 7, 10, 10)
    assert base.comparison is None
    comparison = short.comparison
    assert comparison is not None
    assert (comparison.token_pairs, comparison.accuracy_pairs) == (10, 10)
    assert (comparison.questions_won, comparison.questions_lost) == (1, 2)
    assert comparison.p_value == pytest.approx(1.0)
    assert comparison.accuracy_difference is not None
    assert comparison.accuracy_difference.value == pytest.approx(-0.1)
    assert comparison.token_ratio is not None
    assert comparison.token_ratio.value == pytest.approx(0.4)
    assert (comparison.token_ratio.low, comparison.token_ratio.high) == pytest.approx((0.4, 0.4))
    # 0.6 of the tokens saved, accuracy (7 - 8) / 8 lower and weighted by 5.
    assert comparison.aes == pytest.approx(0.6 - 5 / 8)


def test_p_values_are_corrected_for_the_number_of_presets() -> None:
    # Six questions lost and none won: p = 2 / 2**6; of two such presets each gets twice that.
    traces = [made_trace(name, i, name == "base" or i >= 6) for name in ("base", "one", "two") for i in range(10)]
    presets = summarize(traces, baseline="base", presets=["base", "one", "two"]).presets
    one = presets["one"].comparison
    assert one is not None
    assert (one.p_value, one.p_value_holm) == pytest.approx((1 / 32, 1 / 16))
    alone = summarize(two_presets(), baseline="base", presets=BOTH).presets["short"].comparison
    assert alone is not None
    assert alone.p_value_holm == alone.p_value


def test_the_published_aes_cell_gets_its_sign() -> None:
    # Marco-o1 with a fast-solving prompt on GSM8K: 89.2 -> 81.7 right; +0.41 was published, which is
    # saved + 3 * 0.0841, so 0.1577 of the tokens were saved.
    assert accuracy_efficiency_score(0.1577, (81.7 - 89.2) / 89.2) == pytest.approx(-0.26, abs=0.005)


def test_aes_of_a_gain_and_of_the_baseline() -> None:
    # O1-Pruner, GSM8K: 89.2 % at 530 tokens -> 91.4 % at 343.
    assert accuracy_efficiency_score((530 - 343) / 530, (91.4 - 89.2) / 89.2) == pytest.approx(0.43, abs=0.005)
    assert accuracy_efficiency_score(0, 0) == 0


def test_every_kind_of_trace_is_counted_once() -> None:
    traces = [
        made_trace("base", 0, True),
        made_trace("base", 1, False),
        made_trace("base", 2, None),
        made_trace("base", 3, True, error="the stream broke off"),
        made_trace("base", 4, False, finish="length"),
        made_trace("base", 5),
    ]
    traces[1].score = Score(False, None, "no number")
    traces[5].score = None
    found = summarize(traces, baseline="base", presets=["base"]).presets["base"]
    assert (found.n, found.scored, found.correct, found.unscored, found.errors) == (6, 3, 1, 2, 1)
    assert (found.truncated, found.no_answer) == (1, 1)
    assert found.accuracy is not None
    assert found.accuracy.value == pytest.approx(1 / 3)
    assert found.accuracy_lower_bound == pytest.approx(1 / 6)


def test_an_error_is_paid_for_but_not_compared() -> None:
    traces = [*two_presets(), made_trace("base", 10, True, 100), made_trace("short", 10, True, 5000, error="cut")]
    short = summarize(traces, baseline="base", presets=BOTH).presets["short"]
    assert short.comparison is not None
    assert short.comparison.token_pairs == 10
    assert short.total_completion_tokens == 400 + 5000
    assert short.completion_tokens is not None
    assert short.completion_tokens.value == 40
    assert short.tokens_per_correct == pytest.approx(5400 / 7)


def test_an_unscored_answer_counts_for_tokens_and_not_for_accuracy() -> None:
    traces = [*two_presets(), made_trace("base", 10, True, 100), made_trace("short", 10, None, 150)]
    comparison = summarize(traces, baseline="base", presets=BOTH).presets["short"].comparison
    assert comparison is not None
    assert (comparison.token_pairs, comparison.accuracy_pairs) == (11, 10)
    assert comparison.token_ratio is not None
    assert comparison.token_ratio.value == pytest.approx(550 / 1100)


def test_a_question_that_was_asked_again_counts_once_and_is_paid_twice() -> None:
    traces = [made_trace("base", 0, True, 30, error="cut"), made_trace("base", 0, True, 100)]
    found = summarize(traces, baseline="base", presets=["base"]).presets["base"]
    assert (found.n, found.errors, found.superseded, found.total_completion_tokens) == (1, 0, 1, 130)
    assert found.engines["main"].calls == 2


def test_seeds_of_one_question_stay_together() -> None:
    traces = [
        made_trace(preset, question, preset == "base" or question < 3, 100 if preset == "base" else 50, seed=seed)
        for preset in BOTH
        for question in range(6)
        for seed in range(4)
    ]
    short = summarize(traces, baseline="base", presets=BOTH).presets["short"]
    comparison = short.comparison
    assert (short.n, short.questions) == (24, 6)
    assert comparison is not None
    assert (comparison.accuracy_pairs, comparison.questions_won, comparison.questions_lost) == (24, 0, 3)
    assert comparison.p_value == pytest.approx(0.25)  # three questions, not twelve answers


def test_tokens_by_role_and_by_where_the_count_came_from() -> None:
    lost = made_call(30, 0, source="estimated")
    lost.discarded = True
    calls = [made_call(60, 20), made_call(0, 10, role="probe", source="counted"), lost]
    found = summarize(
        [made_trace("base", 0, calls=calls), made_trace("base", 1, calls=[made_call(20, 20)])],
        baseline="base",
        presets=["base"],
    ).presets["base"]
    means = {role: amount.mean for role, amount in found.tokens_by_role.items() if amount.mean}
    assert means == {"thinking": 40, "answer": 20, "probe": 5, "discarded": 15}
    assert found.completion is not None
    assert (found.completion.mean, found.completion.reported, found.completion.counted, found.completion.estimated) == (
        80,
        60,
        5,
        15,
    )
    assert found.prompt is not None
    assert found.prompt.mean == 200
    assert found.cached_prompt is not None
    assert found.cached_prompt.mean == 80


def test_a_call_without_usage_is_told() -> None:
    call = made_call(1, 1)
    call.usage = None
    found = summarize([made_trace("base", 0, calls=[call])], baseline="base", presets=["base"]).presets["base"]
    assert (found.calls_without_usage, found.total_completion_tokens) == (1, 0)


def test_latency_is_the_critical_path_and_the_sum_of_calls() -> None:
    trace = made_trace("base", 0, calls=[made_call(1, 1), made_call(1, 1)])
    trace.calls[0].role, trace.calls[0].first_token_s = "estimate", 0.1
    latency = summarize([trace], baseline="base", presets=["base"]).presets["base"].latency
    assert (latency.wall_p50_s, latency.calls_p50_s, latency.first_token_p50_s) == (2.0, 4.0, 0.5)


def test_cost_by_hand() -> None:
    # One call: 60 prompt tokens at $1, 40 cached at $0.10, 100 completion tokens at $10 per million.
    prices = {"main": {"prompt": 1.0, "cached": 0.1, "completion": 10.0}}
    found = summarize([made_trace("base", 0)], baseline="base", presets=["base"], prices=prices).presets["base"]
    assert found.cost_per_question_dollars == pytest.approx((60 * 1.0 + 40 * 0.1 + 100 * 10.0) / 1e6)


def test_an_engine_without_a_price_leaves_the_cost_open() -> None:
    trace = made_trace("base", 0, calls=[made_call(1, 1), made_call(1, 1)])
    trace.calls[1].engine = "small"
    prices = {"main": {"prompt": 1.0, "completion": 10.0}}
    found = summarize([trace], baseline="base", presets=["base"], prices=prices).presets["base"]
    assert found.engines["small"].cost_dollars is None
    assert found.cost_per_question_dollars is None


@pytest.mark.parametrize(
    ("price", "message"),
    [
        ({"prompt": 1.0}, "need 'prompt' and 'completion'"),
        ({"prompt": 1.0, "completion": 1.0, "cache": 1.0}, r"unknown 'cache' \(did you mean 'cached'\?\)"),
        ({"prompt": 1.0, "completion": float("nan")}, "no number of dollars"),
        (3, "need 'prompt' and 'completion'"),
    ],
)
def test_an_unreadable_price_is_refused(price: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        summarize([], baseline="base", presets=["base"], prices={"main": price})  # type: ignore[dict-item]


def test_one_question_has_numbers_and_no_bootstrap_interval() -> None:
    traces = [made_trace("base", 0, True, 100), made_trace("short", 0, False, 50)]
    comparison = summarize(traces, baseline="base", presets=BOTH).presets["short"].comparison
    assert comparison is not None
    assert comparison.token_ratio is not None
    assert (comparison.token_ratio.value, comparison.token_ratio.low) == (0.5, None)
    assert comparison.p_value == 1


def test_nothing_scored_is_none_and_not_zero() -> None:
    found = summarize([made_trace("base", i, None) for i in range(6)], baseline="base", presets=["base"])
    preset = found.presets["base"]
    assert (preset.accuracy, preset.accuracy_lower_bound, preset.tokens_per_correct) == (None, 0.0, None)
    assert found.pareto_front == ()


def test_all_wrong_is_zero_with_an_interval_and_no_aes() -> None:
    traces = [made_trace(preset, i, False) for preset in BOTH for i in range(6)]
    short = summarize(traces, baseline="base", presets=BOTH).presets["short"]
    assert short.accuracy is not None
    assert (short.accuracy.value, short.accuracy.low) == (0, 0)
    assert short.accuracy.high == pytest.approx(0.3903, abs=1e-4)  # Wilson for 0 of 6
    assert short.comparison is not None
    assert short.comparison.aes is None


def test_a_preset_without_traces_is_listed_empty() -> None:
    short = summarize([made_trace("base", 0)], baseline="base", presets=BOTH).presets["short"]
    assert (short.n, short.accuracy, short.completion_tokens, short.tokens_by_role) == (0, None, None, {})
    assert short.comparison is not None
    assert short.comparison.token_ratio is None


def test_a_baseline_that_is_no_preset_is_refused() -> None:
    with pytest.raises(UsageError, match=r"baseline 'shrt' is none of the presets \(did you mean 'short'\?\)"):
        summarize(two_presets(), baseline="shrt", presets=BOTH)


def test_traces_of_a_preset_that_is_not_of_the_run_are_refused() -> None:
    with pytest.raises(UsageError, match="traces of 'short'"):
        summarize(two_presets(), baseline="base", presets=["base"])


def test_the_pareto_front_by_hand() -> None:
    points = [(100, 0.8), (50, 0.7), (60, 0.7), (40, 0.9), (30, 0.5), (40, 0.9)]
    assert pareto_front(points) == [4, 3, 5]
    assert pareto_front([]) == []


def test_a_summary_survives_json() -> None:
    summary = summarize(two_presets(), baseline="base", presets=BOTH)
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary
