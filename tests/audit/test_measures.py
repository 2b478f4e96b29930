"""The figures of one trace, worked out by hand."""

from __future__ import annotations

import pytest

from taut.audit import Round, Thought, audit
from taut.audit.totals import totals
from taut.core import Count
from taut.errors import UsageError
from taut.metrics import Estimate
from tests.audit.made import THINKING, behind, made_thought

STANDS = behind("9 * 2 = 18")


def test_positions_and_tokens_of_the_made_trace() -> None:
    found = audit(made_thought(thinking_tokens=Count(len(THINKING), "reported")))
    assert (found.stands_at, found.tokens_to_answer, found.tokens_after) == (STANDS, STANDS, len(THINKING) - STANDS)
    assert found.tokens_source == "reported"
    assert found.right is True
    assert (found.rounds, found.new_rounds, found.reflections, found.switches) == (3, 2, 1, 1)
    assert sum(found.tokens_by_label.values()) == len(THINKING)
    assert not found.is_truncated
    assert not found.is_without_answer


def test_tokens_that_nobody_reported_are_estimated_and_marked() -> None:
    found = audit(made_thought())
    assert found.tokens_source == "estimated"
    assert found.thinking_tokens == -(-len(THINKING) // 4)


def test_outcome_efficiency_is_the_share_up_to_the_first_right_answer() -> None:
    assert audit(made_thought()).outcome_efficiency == pytest.approx(STANDS / len(THINKING))
    assert audit(made_thought(reference=None)).outcome_efficiency is None


def test_process_efficiency_is_the_share_of_rounds_that_are_no_checks() -> None:
    check = THINKING.index("Alternatively") - THINKING.index("Wait")
    assert audit(made_thought()).process_efficiency == pytest.approx(1 - check / len(THINKING))


def test_underthinking_is_the_share_behind_a_right_answer_that_was_given_up() -> None:
    found = audit(made_thought(answer="It is \\boxed{20}."))
    assert found.right is False
    assert found.underthinking == pytest.approx(1 - STANDS / len(THINKING))
    assert found.outcome_efficiency == pytest.approx(STANDS / len(THINKING))
    assert found.stands_at is None


def test_a_wrong_answer_that_never_met_the_right_one_is_not_underthinking() -> None:
    found = audit(made_thought(answer="It is \\boxed{20}.", reference="999"))
    assert (found.underthinking, found.outcome_efficiency) == (0.0, 0.0)


def test_a_right_answer_has_no_underthinking() -> None:
    assert audit(made_thought()).underthinking is None


@pytest.mark.parametrize(
    ("changes", "is_truncated", "is_without_answer"),
    [
        ({"finish": "length"}, True, False),
        ({"finish": "stop", "is_closed": False}, False, False),
        ({"is_closed": False, "answer": ""}, True, True),
        ({"is_closed": True, "answer": " "}, False, True),
    ],
)
def test_truncation_and_missing_answers(
    changes: dict[str, object], is_truncated: bool, is_without_answer: bool
) -> None:
    found = audit(made_thought(**changes))
    assert (found.is_truncated, found.is_without_answer) == (is_truncated, is_without_answer)


def test_rounds_of_a_judge_replace_those_of_the_words() -> None:
    middle = len(THINKING) // 2
    rounds = [Round(0, middle, "18", True), Round(middle, len(THINKING), "18", False)]
    found = audit(made_thought(), rounds)
    assert (found.rounds, found.new_rounds, found.rounds_source) == (2, 1, "judge")
    assert found.process_efficiency == pytest.approx(middle / len(THINKING))


def test_a_short_check_belongs_to_the_round_that_it_checks() -> None:
    thinking = "9 * 2 = 18 dollars.\n\nWait, is that right? Yes, 18 it is."
    assert audit(Thought("t", thinking, "\\boxed{18}")).rounds == 1


def test_a_loop_is_measured_and_makes_a_trace_without_an_answer_one_of_the_worst() -> None:
    line = "Let me compute the sum of these two numbers again.\n"
    found = audit(Thought("t", line * 50))
    assert found.repeated_tokens == pytest.approx(found.thinking_tokens * 48 / 50, rel=0.05)
    assert found.spent_after == found.repeated_tokens


def test_a_worked_solution_as_the_reference_is_what_it_comes_to() -> None:
    assert audit(made_thought(reference="16 - 7 = 9 eggs.\n9 * 2 = 18 dollars.\n#### 18")).right is True
    assert audit(made_thought(reference="Twice nine is \\boxed{20}.")).right is False


def test_the_text_of_an_option_as_the_reference_is_its_letter() -> None:
    thought = Thought("t", "So the answer is B.", "The answer is (B).", reference="4", options=("3", "4"))
    found = audit(thought)
    assert (found.right, found.final, found.stands_at) == (True, "B", len("So the answer is B"))


@pytest.mark.parametrize("reference", ["", " ", ["18", "19"]])
def test_a_reference_that_says_nothing_judges_nothing(reference: object) -> None:
    found = audit(made_thought(reference=reference))
    assert (found.right, found.outcome_efficiency) == (None, None)


def test_without_the_packages_for_intervals_there_are_means_without() -> None:
    def missing(name: str) -> None:
        raise UsageError(f"{name} is missing")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taut.metrics.intervals.library", missing)
        found = totals([audit(made_thought(group=str(number))) for number in range(8)])
    assert found.measures["right"] == Estimate(1.0)
    assert found.measures["rounds"] == Estimate(3.0)
