"""Loops are told from good thinking that says a thing twice."""

from __future__ import annotations

from taut.audit.repetition import repeated_sentences
from taut.audit.text import sentences

LINE = "So the sum of both numbers is twenty. "


def repeated(text: str) -> list[str]:
    found = sentences(text)
    return [text[found[each].start : found[each].end] for each in sorted(repeated_sentences(text, found))]


def test_a_sentence_said_twice_is_no_loop() -> None:
    assert repeated(LINE + "Then we go on with it. " + LINE) == []


def test_from_its_third_time_on_a_sentence_is_repetition() -> None:
    assert repeated(LINE + "One. " + LINE + "Two. " + LINE) == [LINE.strip()]


def test_a_long_passage_said_twice_is_repetition() -> None:
    passage = "".join(f"Step {number} adds the number {number} to the total sum. " for number in range(6))
    assert len(repeated(passage + "Now once more. " + passage)) == 6


def test_short_sentences_that_come_again_are_no_loop() -> None:
    assert repeated("x = 2\n" * 2 + "y = 3\n" + "x = 2\n") == []


def test_a_loop_without_full_stops_or_spaces_is_seen() -> None:
    text = "abc" * 4000
    share = sum(len(each) for each in repeated(text)) / len(text)
    assert share > 0.8


def test_numbers_that_differ_make_no_loop() -> None:
    assert repeated("".join(f"For base {base} the digits do not divide the number. " for base in range(30))) == []
