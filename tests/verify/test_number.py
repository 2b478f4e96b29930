"""Numbers: what is read out of an answer, and which are equal. Expected values are worked by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from taut.core import Task
from taut.verify import number, score
from taut.verify._numbers import read


def judge(answer: str, reference: Any) -> bool | None:
    return score(answer, Task("t", (), reference, "number")).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        ("1,234.50", Fraction(2469, 2)),
        ("$5", 5),
        ("-$5", -5),
        ("$-5", -5),
        ("US$5", 5),
        ("€1,000", 1000),
        ("3/4", Fraction(3, 4)),
        ("1 1/2", Fraction(3, 2)),
        ("1½", Fraction(3, 2)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        (r"\frac43", Fraction(4, 3)),
        (r"1\frac{1}{2}", Fraction(3, 2)),
        ("50%", 50),
        (r"50\%", 50),
        ("5 km", 5),
        ("5km", 5),
        ("5 km/h", 5),
        ("5 m^2", 5),
        ("5 m²", 5),
        (r"5 \text{ apples}", 5),
        (r"\text{18 dollars}", 18),
        (r"336^\circ", 336),
        ("45°", 45),
        ("1.5e3", 1500),
        (r"1.5 \times 10^3", 1500),
        (r"1.5 \cdot 10^{-3}", Fraction(3, 2000)),
        ("-7", -7),
        ("−7", -7),
        ("- 7", -7),
        ("+7", 7),
        (".5", Fraction(1, 2)),
        ("18.", 18),
        ("025", 25),
        ("70,000", 70000),
        ("70 000", 70000),
        ("70\u202f000", 70000),
        (r"70{,}000", 70000),
        (r"70\,000", 70000),
        ("1 000 000", 1000000),
        ("2 million", 2000000),
        ("x = 5", 5),
        ("2 + 3 = 5", 5),
        ("٣", 3),
    ],
)
def test_a_number_is_read_as_people_write_it(text: str, value: Fraction | int) -> None:
    found = read(text)
    assert found is not None
    assert found.value == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "3, 5",
        "5 hours 30 minutes",
        r"10\sqrt{2}",
        "5x",
        "5i",
        "5!",
        "2^{10}",
        "1/0",
        "2+3",
        "NaN",
        "inf",
        "-inf",
        "1" * 5000,
        "5 * 3",
        r"\frac{1}{x}",
    ],
)
def test_what_is_not_one_number_is_not_read(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("answer", "extracted"),
    [
        ("So 3 + 4 = 7 apples.", "7"),
        ("It costs $70,000.", "70,000"),
        ("The answer is 18. I took 3 steps.", "18"),
        ("The answer is 2*9 = $18 every day.", "18"),
        ("**Answer:** 18\n\nCheck: 16 - 3 - 4 = 9", "18"),
        ("The answer is 18. I hope this answer is right!", "18"),
        ("9 * 2 = 18\n#### 18", "18"),
        ("#### Step 3: add\nThat makes 12.", "12"),
        (r"\boxed{3} and then \boxed{18}, not 19", "18"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{5 \text{ km}}", r"5 \text{ km}"),
        (r"\boxed{12} or \boxed{13", "12"),
        (r"\boxed 7", "7"),
        ("<answer>7</answer> and 8", "7"),
        ("İ <answer>6</answer> <ANSWER>7</ANSWER> <answer>8", "7"),
        (r"<answer>\boxed{7}</answer>", "7"),
        ("from 10-12", "12"),
        ("-5 - -3", "-3"),
        ("the area is 5 m^2", "5"),
        ("😀 42 😀", "42"),
        ("الجواب 42", "42"),
    ],
)
def test_the_answer_is_taken_from_where_the_stated_rule_says(answer: str, extracted: str) -> None:
    assert number.extract(answer) == extracted


@pytest.mark.parametrize(
    "answer", ["", "   \n", "I don't know", "NaN", r"\boxed{}", "{{{{", "}}}}", "\\boxed{", r"10\sqrt{2}"]
)
def test_an_answer_without_a_number_is_wrong_and_nothing_is_extracted(answer: str) -> None:
    result = score(answer, Task("t", (), "5", "number"))
    assert (result.value, result.extracted) == (False, None)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("25", "5"),
        ("5", "25"),
        ("70,000", "70"),
        ("70", "70,000"),
        ("-5", "5"),
        (r"\boxed{10\sqrt{2}}", "2"),
        (r"\boxed{3, 5}", "5"),
        ("0.33", "1/3"),
        ("0.334", "1/3"),
        ("45.7", "45.67"),
        ("11.9996", "12"),
        ("0.5%", "50%"),
        ("18.5", "18"),
    ],
)
def test_different_numbers_are_wrong(answer: str, reference: str) -> None:
    assert judge(answer, reference) is False


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("18.00", "18"),
        ("18", 18),
        ("18", 18.0),
        ("0.1", 0.1),
        ("3/4", "0.75"),
        ("0.333", "1/3"),
        ("1/3", "0.3333333"),
        ("0.667", "2/3"),
        ("0.666", "2/3"),
        ("33.3", Fraction(100, 3)),
        ("50%", "50"),
        ("50%", "0.5"),
        ("0.5", "50%"),
        ("25", "025"),
        ("5 km", "5 km"),
    ],
)
def test_equal_numbers_are_right(answer: str, reference: Any) -> None:
    assert judge(answer, reference) is True


@pytest.mark.parametrize("reference", [None, True, math.nan, math.inf, "", "many", "3, 5", ["5"], {"a": 1}.keys()])
def test_a_reference_that_is_no_number_leaves_the_answer_unscored(reference: Any) -> None:
    assert judge("5", reference) is None or reference == ["5"]


def test_same_compares_two_extracted_answers_as_numbers() -> None:
    assert number.same("1/2", "0.5")
    assert number.same("70,000", "70000")
    assert not number.same("5", "25")
    assert number.same("about  right", "about right")


PIECES = ["1", " ", "\n", r"\boxed{", r"\boxed{1}", "{", "}", "1,", "123,", "1 ", "1/", "1.", "1e", "-", "*", "_", "#"]
PIECES += ["$", "\\", "<answer>", "the answer is ", "answer:\n", r"\frac{1", r"\text{", r"\[", "😀", "\u202e", "(A) "]


def test_no_pattern_backtracks_over_a_long_answer() -> None:
    # Quadratic time over 30,000 characters would take minutes.
    texts = [piece * (30_000 // len(piece)) for piece in PIECES]
    for text in [*texts, "</answer>" + "<answer>" * 4000, "</answer>" * 4000 + "<answer>"]:
        for verifier, reference in (("number", "7"), ("math", "7"), ("choice", "B"), ("exact", "seven")):
            assert score(text, Task("t", (), reference, verifier)).value is False


def test_a_megabyte_of_text_is_judged() -> None:
    assert judge("so we add 3 to 4, which is 7; but wait. " * 25_000 + "The answer is 8.", "8") is True
