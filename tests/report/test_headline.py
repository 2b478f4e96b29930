"""The headline claims what the intervals carry, and no more."""

from __future__ import annotations

from collections.abc import Callable

from taut.core import Trace
from taut.metrics import summarize
from taut.report.headline import headline
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
        "Every preset that is clearly cheaper than base is also clearly less accurate: other spends 0.41"
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
