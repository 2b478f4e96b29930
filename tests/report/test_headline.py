"""The headline claims what the intervals carry, and no more."""

from __future__ import annotations

from collections.abc import Callable

from taut.core import Score, Trace
from taut.metrics import summarize
from taut.report.headline import findings, headline
from tests.made_run import made_trace

Rule = Callable[[int], bool]


def always(_: int) -> bool:
    return True


def never(_: int) -> bool:
    return False


def of(questions: int, base: Rule, other: Rule, tokens: int, *, scored: bool = True) -> str:
    """The headline of two presets, the baseline at 100 tokens a question."""
    traces: list[Trace] = []
    for i in range(questions):
        traces.append(made_trace("base", i, base(i) if scored else None, 100 + i % 3))
        traces.append(made_trace("other", i, other(i) if scored else None, tokens + i % 3))
    return headline(summarize(traces, baseline="base", presets=["base", "other"]))


def test_many_questions_without_a_loss_keep_accuracy() -> None:
    text = of(400, always, always, 40)
    assert text.startswith("other spends 0.41 [0.41, 0.41] times the tokens of base and keeps its accuracy to within 5")
    assert "0.0 points [−0.7, +0.7] over 400 answers of each" in text


def test_few_questions_leave_it_open_even_if_all_agree() -> None:
    text = of(20, always, always, 40)
    assert text.startswith("No preset is shown to be cheaper at equal accuracy.")
    assert "whether that costs accuracy is open" in text


def test_cheaper_and_clearly_worse_is_said() -> None:
    assert of(60, always, lambda i: i % 2 == 0, 40).startswith(
        "Every preset that is clearly cheaper than base is also clearly less accurate. other spends 0.41"
    )


def test_the_same_tokens_are_not_cheaper() -> None:
    assert of(60, always, always, 100) == "No preset is clearly cheaper than base."


def test_a_dearer_and_better_preset_is_named() -> None:
    text = of(60, lambda i: i % 2 == 0, always, 300)
    assert text.startswith(
        "No preset is clearly cheaper than base. other is clearly more accurate than the baseline: +50"
    )
    assert "at 2.98 [2.98, 2.98] times its tokens." in text


def test_nothing_right_is_nothing_to_keep() -> None:
    assert of(30, never, never, 40).startswith("No preset got a single question right")


def test_nothing_scored_compares_tokens_only() -> None:
    assert of(30, always, always, 40, scored=False) == (
        "No answer could be scored, so tokens are all there is to compare. "
        "other spends 0.41 [0.40, 0.41] times the tokens of base."
    )


def test_nothing_answered_and_nothing_to_compare_with() -> None:
    assert headline(summarize([], baseline="base", presets=["base"])) == "Nothing was answered yet."
    assert headline(summarize([made_trace("base", 0)], baseline="base", presets=["base"])).startswith("Only one preset")


def test_a_baseline_that_always_failed_cannot_be_compared_with() -> None:
    traces = [made_trace("base", 0, error="cut"), made_trace("other", 0)]
    assert headline(summarize(traces, baseline="base", presets=["base", "other"])).startswith(
        "No question was answered by"
    )


def many(questions: int, rules: dict[str, Rule], tokens: dict[str, int] | None = None) -> list[str]:
    """The findings of several presets, the first the baseline; 100 tokens a question unless told otherwise."""
    traces = [
        made_trace(name, i, rule(i), (tokens or {}).get(name, 100) + i % 3)
        for name, rule in rules.items()
        for i in range(questions)
    ]
    return findings(summarize(traces, baseline=next(iter(rules)), presets=list(rules)))


def test_a_baseline_without_accuracy_has_none_to_keep() -> None:
    text = of(150, lambda i: i == 0, lambda i: i == 1, 40)
    assert text.startswith("The baseline, base, gets only 0.7 % right: there is no accuracy to keep. other spends 0.41")
    assert "keeps" not in text


def test_a_baseline_that_may_have_no_accuracy_makes_no_claim_of_keeping() -> None:
    # 1 of 5 right: Wilson's interval begins at 3.6 %.
    assert of(5, lambda i: i == 0, lambda i: i == 0, 40).startswith(
        "The baseline, base, may get as little as 4 % right: too little for a claim that accuracy is kept."
    )


def test_a_baseline_of_twenty_per_cent_can_keep_them() -> None:
    assert of(400, lambda i: i % 5 == 0, lambda i: i % 5 == 0, 40).startswith("other spends 0.41")


def test_one_preset_of_several_is_told_to_be_the_best_of_them() -> None:
    found = many(400, {"base": always, "one": always, "two": always}, {"one": 40, "two": 60})
    assert found[0].startswith("one spends 0.41")
    assert found[0].endswith("over 400 answers of each (best of 2, not corrected).")


def test_a_gain_that_does_not_survive_correction_is_not_claimed() -> None:
    # 8 questions won and 1 lost: p = 2 * 10 / 2**9 = 0.039, and twice that for two presets.
    def base(i: int) -> bool:
        return i >= 8

    def gains(i: int) -> bool:
        return i != 20

    alone = many(30, {"base": base, "one": gains})
    assert any(text.startswith("one is clearly more accurate") for text in alone)
    with_another = many(30, {"base": base, "one": gains, "two": base})
    assert not any("clearly more accurate" in text for text in with_another)


def test_fewer_than_five_questions_are_no_result() -> None:
    assert of(4, always, always, 40) == "4 questions are too few for an interval (at least 5)."
    assert of(1, always, always, 40) == "1 question is too few for an interval (at least 5)."


def test_many_cut_answers_of_the_baseline_are_told() -> None:
    traces = [made_trace("base", i, i > 2, finish="length" if i < 3 else "stop") for i in range(12)]
    traces += [made_trace("other", i) for i in range(12)]
    cut = "3 of 12 baseline answers were cut at the ceiling: raise --max-tokens."
    assert findings(summarize(traces, baseline="base", presets=["base", "other"]))[-1] == cut
    traces[0].finish = "stop"
    assert cut not in headline(summarize(traces, baseline="base", presets=["base", "other"]))


def test_many_unreadable_answers_of_the_baseline_are_told() -> None:
    traces = [made_trace("base", i, False) for i in range(4)]
    for trace in traces:
        trace.score = Score(False, None, "no number")
    assert headline(summarize(traces, baseline="base", presets=["base"])).endswith(
        "In 4 of 4 baseline answers no answer was found: look at the traces."
    )


def test_a_wide_interval_comes_with_the_number_of_questions_it_takes() -> None:
    # 20 that all agree: 2 of 22 differ after the adjustment, 1.96**2 * (2 / 22) / 0.05**2 - 2 = 137.7.
    assert "to ±5 points, about 140 questions are needed (approximately" in of(20, always, always, 40)
    assert "questions are needed" not in of(400, always, always, 40)
