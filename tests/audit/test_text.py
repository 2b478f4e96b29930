"""Sentences by place, and patterns of words."""

from __future__ import annotations

import pytest

from taut.audit.text import MAX_SENTENCE_CHARS, lowered, sentences, words_pattern


def cut(text: str) -> list[str]:
    return [text[each.start : each.end] for each in sentences(text)]


def test_full_stops_and_lines_end_sentences_and_decimals_do_not() -> None:
    assert cut("It is 3.5. So? Yes!\nx = 2\n\nDone") == ["It is 3.5.", "So?", "Yes!", "x = 2", "Done"]


def test_the_number_of_a_list_item_belongs_to_its_sentence() -> None:
    assert cut("1. First this. 2. Then that.\n**3. At last.**") == [
        "1. First this.",
        "2. Then that.",
        "**3. At last.**",
    ]


def test_a_blank_line_opens_a_paragraph_and_a_line_end_does_not() -> None:
    assert [each.opens_paragraph for each in sentences("One.\nTwo. Three.\n\nFour.")] == [True, False, False, True]


def test_chinese_full_stops_end_sentences_without_a_space() -> None:
    assert cut("答案是七。等等。") == ["答案是七。", "等等。"]


@pytest.mark.parametrize("text", ["", "  \n\n "])
def test_nothing_has_no_sentences(text: str) -> None:
    assert sentences(text) == []


def test_text_without_full_stops_is_cut_and_nothing_of_it_is_lost() -> None:
    text = "word " * 300
    found = sentences(text)
    assert all(each.end - each.start <= MAX_SENTENCE_CHARS for each in found)
    assert "".join(text[each.start : each.end] for each in found) == text.rstrip()


def test_lower_case_keeps_every_character_in_its_place() -> None:
    text = "İstanbul. Let’s"
    assert len(lowered(text)) == len(text)
    assert lowered(text).endswith("let's")


def test_words_are_found_whole_with_any_ending_after_a_star_and_with_a_comma_between() -> None:
    pattern = words_pattern(("hold on", "double*"))
    assert pattern.search("hold, on")
    assert pattern.search("doubled")
    assert not pattern.search("household only")
