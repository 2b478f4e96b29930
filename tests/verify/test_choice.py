"""Letters of options."""

from __future__ import annotations

import pytest

from taut.core import Task
from taut.verify import choice, score

OPTIONS = ["42 km", "red", "blue", "None of the others"]


@pytest.mark.parametrize(
    "answer",
    [
        "C",
        "c",
        "(C)",
        "C.",
        "**C**",
        r"\boxed{C}",
        r"\boxed{\text{C}}",
        r"\boxed{\text{(C) blue}}",
        r"\boxed{blue}",
        "<answer>C</answer>",
        "The answer is C.",
        "the answer is (C) blue",
        "**Answer: C**",
        "Answer:\n\n**C**. It is blue.",
        "The correct answer is option C",
        "The correct answer is **C. blue**",
        "A is too long. I think B is red.\n\nSo it must be C",
        "blue",
        "Blue.",
        "C. blue",
        "We rule out (A) and (B), which leaves (C).",
        "the answer is $C$",
    ],
)
def test_the_letter_is_found_however_it_is_written(answer: str) -> None:
    result = score(answer, Task("t", (), "C", "choice", {"options": OPTIONS}))
    assert (result.value, result.extracted) == (True, "C")


@pytest.mark.parametrize(
    "answer",
    ["", "I don't know", "A matter of taste", "It depends.", "E", r"\boxed{E}", r"\boxed{12}", "Because of that"],
)
def test_an_answer_without_an_option_is_wrong(answer: str) -> None:
    result = score(answer, Task("t", (), "C", "choice", {"options": OPTIONS}))
    assert (result.value, result.extracted) == (False, None)


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        (r"C, no: \boxed{D}", "D"),
        ("The answer is A", "A"),
        ("I will go with A.", "A"),
        ("So option A fits best.", "A"),
    ],
)
def test_another_letter_is_wrong(answer: str, letter: str) -> None:
    result = score(answer, Task("t", (), "C", "choice", {"options": OPTIONS}))
    assert (result.value, result.extracted) == (False, letter)


@pytest.mark.parametrize("reference", [None, "E", "blue", 2, ""])
def test_a_reference_that_is_no_letter_leaves_the_answer_unscored(reference: object) -> None:
    assert score("C", Task("t", (), reference, "choice", {"options": OPTIONS})).value is None


def test_same_ignores_case() -> None:
    assert choice.same("c", "C")
    assert not choice.same("A", "B")
