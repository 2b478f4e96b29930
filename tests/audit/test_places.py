"""Where an answer is stated, by the verifier's equality."""

from __future__ import annotations

from typing import Any

import pytest

from taut.audit import Thought
from taut.audit.answers import Final, final_of, verifier_for
from taut.audit.places import statements
from tests.audit.made import THINKING, behind, made_thought


def places(thinking: str, value: str, verifier: str = "number", **changes: Any) -> list[str]:
    """The text up to each statement's end, from the last full stop or line end on."""
    thought = Thought("t", thinking, **changes)
    return [thinking[:end] for end in statements(thinking, Final(value, verifier, "answer"), thought)]


def first(thinking: str, value: str, verifier: str = "number", **changes: Any) -> str | None:
    found = places(thinking, value, verifier, **changes)
    return found[0] if found else None


def test_the_answer_of_the_made_trace_first_stands_behind_its_calculation() -> None:
    thought = made_thought()
    final = final_of(thought)
    assert final == Final("18", "number", "answer")
    found = statements(THINKING, final, thought)
    assert found[0] == behind("9 * 2 = 18")
    assert found[-1] == behind("32 - 14 = 18")
    assert len(found) == 3


@pytest.mark.parametrize(
    ("thinking", "value"),
    [
        ("So the answer is 1/2", "0.5"),
        ("Thus x = \\frac{1}{2}", "0.5"),
        ("The final answer: \\boxed{0.50}", "1/2"),
        ("That makes 1,200", "1200"),
        ("The total is $18", "18"),
        ("#### 42", "42"),
        ("In all, there are seven", "7"),
    ],
)
def test_a_number_is_found_however_it_is_written(thinking: str, value: str) -> None:
    assert first(f"{thinking}. Then more.", value) == thinking


@pytest.mark.parametrize(
    "thinking",
    [
        "18 * 2 is 36",
        "The sum = 18 + 4",
        "Here n is 18x",
        "The area is 180",
        "The sum is 18.5",
        "She bought 18 eggs",
        "f = 18^2",
        "Is the answer 17?",
    ],
)
def test_a_number_that_is_no_result_is_not_the_answer(thinking: str) -> None:
    assert places(f"{thinking}.", "18") == []


def test_a_number_of_the_question_counts_only_where_it_is_announced() -> None:
    thinking = "We have 20 eggs, that is 20. So the answer is 20."
    assert places(thinking, "20", question="There are 20 eggs.") == ["We have 20 eggs, that is 20. So the answer is 20"]


def test_one_digit_needs_a_sentence_that_concludes() -> None:
    assert first("Let k = 3. We try on. So there are 3.", "3") == "Let k = 3. We try on. So there are 3"


def test_an_option_is_chosen_not_mentioned() -> None:
    thinking = "Options: A. 3 B. 4. Option B is not it. What of A? So the answer is A. B is the correct one?"
    assert first(thinking, "A", "choice") == thinking[: behind("answer is A", thinking)]
    assert places("It is not B, so B is not right. A is wrong.", "A", "choice") == []


def test_an_option_is_stated_by_what_it_says() -> None:
    thinking = "2,455,335 / 0.0225 = 109,126,000. Hm."
    options = ("$245,533,500", "$109,126,000")
    assert first(thinking, "B", "choice", options=options) == thinking[: behind("126,000", thinking)]


def test_options_are_read_from_the_lines_of_the_question() -> None:
    thinking = "So the energy must be 10^-4 eV. Hm."
    question = "Which one?\nA: 10^-9 eV\nB: 10^-4 eV"
    assert first(thinking, "B", "choice", question=question) == "So the energy must be 10^-4 eV"


@pytest.mark.parametrize(
    "written", ["\\dfrac{\\pi}{2}", "\\left( \\frac{\\pi}{2} \\right)", "π/2", "$\\frac{ \\pi }{2}$"]
)
def test_a_formula_is_found_in_latex_and_as_it_is_typed(written: str) -> None:
    value = "\\left(\\frac{\\pi}{2}\\right)" if "left" in written else "\\frac{\\pi}{2}"
    assert len(places(f"Therefore θ = {written}. Next.", value, "math")) == 1


def test_a_text_counts_where_it_is_concluded_and_not_denied() -> None:
    thinking = "Paris is big. It is not Lyon, so not Paris? Therefore it must be Paris. Yes."
    assert places(thinking, "Paris", "exact") == [thinking[: behind("must be Paris", thinking)]]


def test_an_answer_that_is_nowhere_has_no_place() -> None:
    assert places("I do not know.", "18") == []


@pytest.mark.parametrize(
    ("answer", "value", "verifier"),
    [
        ("She earns \\boxed{18} dollars.", "18", "number"),
        ("The answer is (C).", "C", "choice"),
        ("Thus \\boxed{\\frac{\\pi}{2}}", "\\frac{\\pi}{2}", "math"),
        ("Final answer: Paris", "Paris", "exact"),
        ("So she has 7 apples left.", "7", "number"),
    ],
)
def test_the_final_answer_and_its_kind_are_told_without_a_reference(answer: str, value: str, verifier: str) -> None:
    assert final_of(Thought("t", "…", answer)) == Final(value, verifier, "answer")


def test_without_an_answer_only_a_box_of_the_thinking_is_final() -> None:
    assert final_of(Thought("t", "Perhaps the answer is 4. So \\boxed{5}. Wait")) == Final("5", "number", "thinking")
    assert final_of(Thought("t", "Perhaps the answer is 4. Wait")) is None


def test_the_verifier_follows_from_the_reference() -> None:
    assert [verifier_for(each) for each in ("1,200", "(B)", "\\sqrt{2}", "blue")] == [
        "number",
        "choice",
        "math",
        "exact",
    ]
