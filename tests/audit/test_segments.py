"""Labels of sentences, runs of cues, and segments that cover the whole text."""

from __future__ import annotations

from itertools import pairwise

from taut.audit.measures import segment
from taut.audit.segments import count_runs
from tests.audit.made import APPROACH, CHECKING, READING, THINKING, behind


def labels(text: str, *places: int) -> list[tuple[str, str]]:
    _, segments = segment(text, places)
    return [(each.label, text[each.start : each.end].strip()) for each in segments]


def test_each_part_of_the_made_trace_has_its_label() -> None:
    assert labels(THINKING, behind("= 18")) == [
        ("reading", READING),
        ("working", "First, 16 - 3 - 4 = 9 are left."),
        ("stated", "Now 9 * 2 = 18 dollars."),
        ("checking", CHECKING),
        ("approach", APPROACH),
    ]


def test_segments_cover_the_text_without_gaps() -> None:
    _, segments = segment(THINKING, [behind("= 18")])
    assert segments[0].start == 0
    assert segments[-1].end == len(THINKING)
    assert all(one.end == other.start for one, other in pairwise(segments))


def test_before_the_answer_a_check_ends_with_its_paragraph() -> None:
    text = "x = 2.\n\nWait, is that right? It is.\n\nThen y = 3."
    assert labels(text) == [
        ("working", "x = 2."),
        ("checking", "Wait, is that right? It is."),
        ("working", "Then y = 3."),
    ]


def test_behind_the_answer_all_work_is_checking_until_another_approach() -> None:
    text = "x = 2.\n\nThen y = 3.\n\nPut it in: 2 + 3 = 5.\n\nAnother way is to add.\n\nThat gives 5."
    assert [label for label, _ in labels(text, behind("y = 3", text))] == ["working", "stated", "checking", "approach"]


def test_a_hmm_while_the_question_is_read_doubts_nothing() -> None:
    text = "Okay, so I need to find x. Hmm, let me think about how.\n\nFirst, x = 2."
    assert [label for label, _ in labels(text)] == ["reading", "working"]


def test_reflections_are_counted_by_runs_of_cues() -> None:
    labelled, _ = segment("x = 2. Wait. Hold on, is that right? Yes, x = 2.\n\nHmm, no. So x = 3.")
    assert count_runs(labelled, "checking") == 2


def test_switches_are_counted_where_another_approach_begins() -> None:
    labelled, _ = segment(THINKING)
    assert count_runs(labelled, "approach") == 1


def test_words_inside_other_words_are_no_cues() -> None:
    labelled, _ = segment("The waiter counts 3 = 3. The alternative is 4 = 4. Awaiting x = 2.")
    assert {item.cue for item in labelled} == {None}


def test_no_text_has_no_segments() -> None:
    assert segment("") == ([], [])


def test_cues_behind_bullets_numbers_and_quotes_count() -> None:
    labelled, _ = segment('*   Wait, x = 2.\n\n1. Alternatively, x = 3.\n\n- "Hmm", x = 4.\n\nx = 5.')
    assert [item.cue for item in labelled] == ["checking", "approach", "checking", None]
