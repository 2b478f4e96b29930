"""Text answers, and the boundary that all verifiers share."""

from __future__ import annotations

import pytest

from taut.core import Score, Task
from taut.errors import UsageError
from taut.verify import exact, score


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("Yes", "yes"),
        ("The answer is yes.", "Yes"),
        ("It rained.\n\nPurple", "purple"),
        (r"\boxed{Mrs. Hilt}", "Mrs. Hilt"),
        ("<answer> 3:30 p.m. </answer>", "3:30 p.m."),
        ("so\n#### 6th", "6th"),
        ("ｙｅｓ", "yes"),
        ("**Sara**", "Sara"),
        ("dog", ["cat", "dog"]),
        ("Straße", "STRASSE"),
    ],
)
def test_the_same_text_is_right(answer: str, reference: object) -> None:
    assert score(answer, Task("t", (), reference, "exact")).value is True


@pytest.mark.parametrize(("answer", "reference"), [("no", "yes"), ("yes and no", "yes"), ("", "yes"), ("cats", "cat")])
def test_other_text_is_wrong(answer: str, reference: str) -> None:
    assert score(answer, Task("t", (), reference, "exact")).value is False


@pytest.mark.parametrize("reference", [None, "", "  ", []])
def test_an_empty_reference_leaves_the_answer_unscored(reference: object) -> None:
    assert score("yes", Task("t", (), reference, "exact")).value is None


def test_without_a_reference_the_extracted_answer_is_still_told() -> None:
    result = score("The answer is 7.", Task("t", (), None, "number"))
    assert result == Score(None, "7", "the task has no reference")


def test_an_unknown_verifier_names_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'number'"):
        score("7", Task("t", (), "7", "numbre"))


def test_a_verifier_that_crashes_leaves_the_answer_unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(answer: str, task: Task) -> Score:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(exact, "verify", crash)
    result = score("yes", Task("t", (), "yes", "exact"))
    assert result == Score(None, None, "the verifier 'exact' failed: ZeroDivisionError: oh")


def test_same_ignores_what_normalisation_ignores() -> None:
    assert exact.same(" Yes. ", "yes")
    assert not exact.same("yes", "no")
