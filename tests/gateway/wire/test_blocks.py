"""Blocks: one open at a time, nothing lost, whatever order the pieces come in."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from taut.core import Piece
from taut.gateway.wire._blocks import Blocks, Step, blocks_of, is_object
from tests.gateway.wire.replies import ANSWER, CLOCK, THINKING, WEATHER, calling, outcome_of


def told(steps: Sequence[Step]) -> list[str]:
    """Steps as short words: ``+0`` opens the first block, ``-0`` closes it, other texts are added."""
    words = {"open": "+{}", "close": "-{}", "add": "{}:{}"}
    return [words[what].format(block.number, text) for what, block, text in steps]


def all_steps(pieces: Sequence[Piece], *, at_once: bool = False) -> list[str]:
    blocks = Blocks()
    steps = blocks.add(pieces) if at_once else [step for piece in pieces for step in blocks.add([piece])]
    return told([*steps, *blocks.finish()])


def test_a_text_goes_on_until_something_else_comes() -> None:
    assert all_steps((*THINKING, *ANSWER)) == [
        *("+0", "0:Two and two", "0: make four.", "-0"),
        *("+1", "1:It is ", "1:4.", "-1"),
    ]


def test_neighbours_that_come_together_are_joined() -> None:
    assert all_steps((*THINKING, *ANSWER), at_once=True) == [
        "+0",
        "0:Two and two make four.",
        "-0",
        "+1",
        "1:It is 4.",
        "-1",
    ]


def test_thinking_that_is_taken_up_again_is_a_block_of_its_own() -> None:
    pieces = (Piece("thinking", "a"), Piece("answer", "b"), Piece("thinking", "c"))
    assert all_steps(pieces) == ["+0", "0:a", "-0", "+1", "1:b", "-1", "+2", "2:c", "-2"]


def test_two_calls_one_after_the_other_stream_as_they_come() -> None:
    assert all_steps(calling(*WEATHER, *CLOCK)) == [
        *("+0", '0:{"city":', '0: "Oslo"}', "-0"),
        *("+1", "1:{", "1:}", "-1"),
    ]


def test_a_call_waits_until_the_arguments_of_the_one_before_are_whole() -> None:
    first, second = calling(*WEATHER), calling(*CLOCK)
    mixed = (first[0], first[1], second[0], second[1], first[2])
    assert all_steps(mixed) == ["+0", '0:{"city":', '0: "Oslo"}', "-0", "+1", "1:{}", "-1"]


def test_a_text_within_a_call_waits_for_its_end() -> None:
    first = calling(*WEATHER)
    assert all_steps((first[0], first[1], Piece("answer", "\n"), first[2])) == [
        *("+0", '0:{"city":', '0: "Oslo"}', "-0"),
        *("+1", "1:\n", "-1"),
    ]


def test_a_call_whose_arguments_never_become_whole_ends_with_the_reply() -> None:
    cut = calling(*WEATHER[:2], *CLOCK)
    assert all_steps(cut) == ["+0", '0:{"city":', "-0", "+1", "1:{}", "-1"]


def test_a_call_without_arguments_is_opened_and_closed() -> None:
    assert all_steps(calling(WEATHER[0])) == ["+0", "-0"]


def test_a_call_is_opened_when_its_name_has_come() -> None:
    blocks = Blocks()
    assert blocks.add(calling({"index": 0, "id": "x", "function": {"arguments": "{"}})) == []
    steps = blocks.add(calling({"index": 0, "function": {"name": "weather"}}))
    assert told(steps) == ["+0", "0:{"]
    assert (blocks.told[0].id, blocks.told[0].name) == ("x", "weather")


def test_parts_without_an_index_belong_to_the_call_begun_last() -> None:
    pieces = calling(
        {"id": "a", "function": {"name": "f", "arguments": "{"}},
        {"function": {"arguments": "}"}},
        {"id": "b", "function": {"name": "g", "arguments": "{}"}},
    )
    assert all_steps(pieces) == ["+0", "0:{", "0:}", "-0", "+1", "1:{}", "-1"]


def test_an_answer_that_was_never_shown_comes_at_the_end() -> None:
    blocks = Blocks()
    blocks.add(THINKING)
    steps = blocks.finish(outcome_of((*THINKING, *ANSWER)).trace)
    assert told(steps) == ["-0", "+1", "1:It is 4.", "-1"]


def test_an_answer_that_was_shown_does_not_come_twice() -> None:
    blocks = Blocks()
    blocks.add(ANSWER)
    assert told(blocks.finish(outcome_of(ANSWER).trace)) == ["-0"]


def test_thinking_is_left_out_on_request() -> None:
    blocks = Blocks(show_thinking=False)
    steps = [*blocks.add((*THINKING, *ANSWER)), *blocks.finish()]
    assert told(steps) == ["+0", "0:It is 4.", "-0"]
    assert [block.kind for block in blocks_of(outcome_of((*THINKING, *ANSWER)).trace, show_thinking=False)] == [
        "answer"
    ]


def test_only_a_whole_object_ends_a_call() -> None:
    assert is_object('{"a": {"b": 1}} ')
    assert not is_object('{"a": {"b": 1}')
    assert not is_object("[1]")
    assert not is_object("}")
    assert not is_object("")


CALLS = st.integers(0, 2).flatmap(
    lambda index: st.sampled_from(["{", '"a": ', "1", "}", ", "]).map(
        lambda text: Piece(
            "answer", "", tool_calls=({"index": index, "function": {"name": f"f{index}", "arguments": text}},)
        )
    )
)
TEXTS = st.builds(Piece, st.sampled_from(["thinking", "answer"]), st.text(max_size=3))


@given(st.lists(st.one_of(CALLS, TEXTS), max_size=30))
def test_one_block_is_open_at_a_time_and_texts_are_whole(pieces: list[Piece]) -> None:
    blocks = Blocks()
    steps = [step for piece in pieces for step in blocks.add([piece])] + blocks.finish()
    open_block = None
    for what, block, _ in steps:
        if what == "open":
            assert open_block is None
            open_block = block
        assert block is open_block
        if what == "close":
            open_block = None
    assert open_block is None
    assert [block.number for block in blocks.told] == list(range(len(blocks.told)))
    outcome = outcome_of(pieces).trace
    for kind, text in (("thinking", outcome.thinking), ("answer", outcome.answer)):
        assert "".join(block.text for block in blocks.told if block.kind == kind) == text
