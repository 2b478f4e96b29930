from __future__ import annotations

import re
from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taut.core import Kind, Turn
from taut.dialects import FAMILIES, Dialect, Splitter, render_turn, starts_in

Parts = list[tuple[Kind, str]]

# What each family's output looks like, for a prompt that the template has left as it does by default.
OUTPUTS: dict[str, tuple[str, str, str]] = {
    "gpt_oss": (
        "<|channel|>analysis<|message|>2+2.<|end|><|start|>assistant<|channel|>final<|message|>4<|return|>",
        "2+2.",
        "4",
    ),
    "gemma_4": ("<|channel>thought\n2+2.\n<channel|>4", "2+2.\n", "4"),
    "magistral_2506": ("<think>\n2+2.\n</think>\n4", "2+2.\n", "4"),
    "magistral": ("[THINK]2+2.[/THINK]4", "2+2.", "4"),
    "kimi_triangle": ("◁think▷2+2.◁/think▷4", "2+2.", "4"),
    "kimi_k2_5": ("2+2.</think>4", "2+2.", "4"),
    "kimi_k2_thinking": ("<think>2+2.</think>4", "2+2.", "4"),
    "exaone_deep": ("2+2.\n</thought>\n\n4", "2+2.\n", "4"),
    "seed_oss": ("<seed:think>2+2.</seed:think>4", "2+2.", "4"),
    "minimax_m3": ("<mm:think>2+2.</mm:think>4", "2+2.", "4"),
    "minimax_m2": ("2+2.\n</think>\n\n4", "2+2.\n", "4"),
    "granite_3_2": ("Here is my thought process:\n\n2+2.\n\nHere is my response:\n\n4", "2+2.\n\n", "4"),
    "granite_3_3": ("<think>2+2.</think>\n<response>4</response>", "2+2.", "4"),
    "granite_4_2": ("2+2.\n</think>\n4", "2+2.\n", "4"),
    "hunyuan": ("<think>\n2+2.\n</think>\n<answer>\n4\n</answer>", "2+2.\n", "4\n"),
    "glm_4_5": ("\n<think>2+2.</think>\n4", "2+2.", "4"),
    "glm_4_7": ("2+2.</think>4", "2+2.", "4"),
    "deepseek_v3": ("<think>2+2.</think>4", "2+2.", "4"),
    "deepseek_r1": ("2+2.\n</think>\n\n4", "2+2.\n", "4"),
    "nemotron_v1": ("<think>\n2+2.\n</think>\n\n4", "2+2.\n", "4"),
    "nemotron_v1_5": ("<think>\n2+2.\n</think>\n\n4", "2+2.\n", "4"),
    "nemotron_nano_v2": ("2+2.\n</think>\n\n4", "2+2.\n", "4"),
    "nemotron_3": ("2+2.\n</think>\n4", "2+2.\n", "4"),
    "smollm3": ("<think>\n2+2.\n</think>\n4", "2+2.\n", "4"),
    "phi_4_reasoning": ("<think>2+2.</think>\n\n4", "2+2.", "4"),
    "qwq": ("2+2.\n</think>\n\n4", "2+2.\n", "4"),
    "qwen3_thinking": ("2+2.\n</think>\n\n4", "2+2.\n", "4"),
    "qwen3_5": ("2+2.\n</think>\n\n4", "2+2.\n", "4"),
    "qwen3": ("<think>\n2+2.\n</think>\n\n4", "2+2.\n", "4"),
    "think_tags": ("<think>2+2.</think>4", "2+2.", "4"),
    "plain": ("2+2 is 4", "", "2+2 is 4"),
}


def split(dialect: Dialect, chunks: list[str], start: Kind | None = None) -> Parts:
    splitter = Splitter(dialect, start)
    parts = [part for chunk in chunks for part in splitter.feed(chunk)]
    return join(parts + splitter.finish())


def join(parts: Parts) -> Parts:
    return [(kind, "".join(text for _, text in group)) for kind, group in groupby(parts, key=lambda part: part[0])]


def text_of(parts: Parts, kind: Kind) -> str:
    return "".join(text for part_kind, text in parts if part_kind == kind)


def test_every_family_has_an_example() -> None:
    assert set(OUTPUTS) == set(FAMILIES)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_familys_own_output_splits_into_thinking_and_answer(name: str) -> None:
    raw, thinking, answer = OUTPUTS[name]
    for chunks in ([raw], list(raw)):
        parts = split(FAMILIES[name], chunks)
        assert (text_of(parts, "thinking"), text_of(parts, "answer")) == (thinking, answer)


def test_only_plain_does_not_think() -> None:
    assert [name for name, dialect in FAMILIES.items() if not dialect.thinks] == ["plain"]


def test_tags_and_what_we_write_agree() -> None:
    for dialect in FAMILIES.values():
        if dialect.thinks:
            assert dialect.open_tags[0] in dialect.open
            assert dialect.close_tags[0] in dialect.close


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "plain"])
@pytest.mark.parametrize("answer", ["", "4"])
def test_a_rendered_turn_splits_back_into_itself(name: str, answer: str) -> None:
    dialect = FAMILIES[name]
    for prompt in ("", "user: 2+2?\nassistant:" + dialect.open):
        start = starts_in(dialect, prompt)
        closed = render_turn(dialect, Turn("2+2.", closed=True, answer=answer), prompt)
        parts = split(dialect, [closed], start)
        assert text_of(parts, "thinking").strip() == "2+2."
        assert text_of(parts, "answer") == answer
        assert starts_in(dialect, prompt + closed) == "answer"
        opened = render_turn(dialect, Turn("2+2"), prompt)
        assert split(dialect, [opened], start) == [("thinking", "2+2")]
        assert starts_in(dialect, prompt + opened) == "thinking"


@pytest.mark.parametrize("name", FAMILIES)
def test_an_empty_turn_adds_nothing(name: str) -> None:
    assert render_turn(FAMILIES[name], Turn(), "prompt") == ""


def test_a_turn_opens_the_thought_only_if_the_prompt_has_not() -> None:
    qwen = FAMILIES["qwen3"]
    turn = Turn("Two plus two", closed=True, answer="4")
    assert render_turn(qwen, turn, "<|im_start|>assistant\n") == "<think>\nTwo plus two\n</think>\n\n4"
    assert render_turn(qwen, turn, "<|im_start|>assistant\n<think>\n") == "Two plus two\n</think>\n\n4"
    assert render_turn(qwen, Turn(closed=True), "<|im_start|>assistant\n") == "<think>\n\n</think>\n\n"


def test_a_prompt_with_a_closed_thought_takes_the_answer_alone() -> None:
    prompt = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert render_turn(FAMILIES["qwen3"], Turn(closed=True, answer="4"), prompt) == "4"
    assert render_turn(FAMILIES["deepseek_v3"], Turn(closed=True), "<｜Assistant｜></think>") == ""


def test_newlines_are_not_doubled_when_thinking_is_closed() -> None:
    turn = Turn("So it is 4.\n\n", closed=True)
    assert render_turn(FAMILIES["qwen3"], turn, "") == "<think>\nSo it is 4.\n</think>\n\n"
    assert render_turn(FAMILIES["glm_4_7"], turn, "<think>") == "So it is 4.\n\n</think>"


def test_an_answer_that_has_begun_closes_the_thinking() -> None:
    assert render_turn(FAMILIES["qwen3"], Turn("Hm", answer="4"), "") == "<think>\nHm\n</think>\n\n4"


def test_a_plain_model_is_asked_for_the_answer_in_words() -> None:
    plain = FAMILIES["plain"]
    assert render_turn(plain, Turn("2+2."), "A:") == "2+2."
    assert render_turn(plain, Turn("2+2.", closed=True), "A:") == "2+2.\n\nTherefore, the final answer is:"
    assert render_turn(plain, Turn(closed=True, answer="4"), "A:") == "The final answer is: 4"


def test_a_plain_model_thinks_only_if_the_turn_says_so() -> None:
    plain = FAMILIES["plain"]
    assert starts_in(plain, "A: 2+2. ") is None
    assert starts_in(plain, "A: 2+2. ", Turn("2+2. ")) == "thinking"
    assert starts_in(plain, "A: ", Turn("2+2. ", closed=True)) == "answer"
    assert split(plain, ["<think>", "x"], "thinking") == [("thinking", "<think>x")]


def test_thoughts_of_earlier_turns_do_not_count() -> None:
    qwen = FAMILIES["qwen3"]
    asked = "<|im_start|>user\nWhat does <think> do?<|im_end|>\n<|im_start|>assistant\n"
    assert starts_in(qwen, asked) is None
    assert starts_in(qwen, asked + "<think>\nIt") == "thinking"
    assert starts_in(qwen, asked + "<think>\n\n</think>\n\nIt") == "answer"
    assert starts_in(FAMILIES["gpt_oss"], "<|start|>user<|message|>Hi<|end|><|start|>assistant") is None


def test_output_without_a_thought_is_all_answer() -> None:
    assert split(FAMILIES["qwen3"], ["\n", "The ", "answer"]) == [("answer", "\nThe answer")]
    assert split(FAMILIES["qwen3"], ["\n "]) == [("answer", "\n ")]


def test_a_close_tag_alone_ends_the_thought_that_the_template_opened() -> None:
    assert split(FAMILIES["qwq"], ["Hm", "</think>", "4"]) == [("thinking", "Hm"), ("answer", "4")]


def test_an_open_tag_written_again_is_dropped() -> None:
    assert split(FAMILIES["deepseek_r1"], ["<think>\nHm</think>4"]) == [("thinking", "Hm"), ("answer", "4")]


def test_thinking_may_begin_again_on_a_new_line() -> None:
    parts = split(FAMILIES["qwen3"], ["<think>a</think>b\n<think>c</think>d"])
    assert parts == [("thinking", "a"), ("answer", "b\n"), ("thinking", "c"), ("answer", "d")]


def test_an_answer_may_talk_about_the_tags() -> None:
    parts = split(FAMILIES["qwen3"], list("<think>a</think>Write `<think>`, then `</think>`."))
    assert parts == [("thinking", "a"), ("answer", "Write `<think>`, then `</think>`.")]


def test_thinking_may_talk_about_the_open_tag() -> None:
    assert split(FAMILIES["qwen3"], list("<think>a <think> b</think>c")) == [
        ("thinking", "a <think> b"),
        ("answer", "c"),
    ]


def test_harmony_may_think_twice() -> None:
    raw = (
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>b<|end|>"
        "<|start|>assistant<|channel|>final<|message|>c"
    )
    assert split(FAMILIES["gpt_oss"], list(raw)) == [("thinking", "ab"), ("answer", "c")]


def test_an_unfinished_tag_comes_out_at_the_end() -> None:
    assert split(FAMILIES["qwen3"], ["1 </thi"], "thinking") == [("thinking", "1 </thi")]


def test_the_kind_changes_with_the_tag() -> None:
    splitter = Splitter(FAMILIES["qwen3"], None)
    kinds = [(splitter.feed(text), splitter.kind)[1] for text in ("<think>", "a</think", ">", "b")]
    assert kinds == ["thinking", "thinking", "answer", "answer"]


def test_text_is_not_held_back_longer_than_a_tag_may_grow() -> None:
    splitter = Splitter(FAMILIES["qwen3"], "thinking")
    assert splitter.feed("1 <") == [("thinking", "1 ")]
    assert splitter.feed(" 2") == [("thinking", "< 2")]
    assert splitter.feed("</think") == []
    assert splitter.feed(">\n\n4") == [("answer", "4")]
    assert splitter.finish() == []


FRAGMENTS = ["<", "<thi", "nk>", "<think>", "</think>", "</", "think>", "\n", " ", "a", "bc"]
STARTS: list[Kind | None] = [None, "thinking", "answer"]


@st.composite
def chunked(draw: st.DrawFn, fragments: list[str]) -> list[str]:
    text = "".join(draw(st.lists(st.sampled_from(fragments), max_size=12)))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)))))
    edges = [0, *cuts, len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def harmony_fragments() -> list[str]:
    dialect = FAMILIES["gpt_oss"]
    return [*dialect.open_tags, *dialect.close_tags, "<|start|>assistant", "<|", "end|>", "a", "\n"]


@given(chunked(FRAGMENTS), st.sampled_from(STARTS), st.sampled_from(["qwen3", "qwq"]))
def test_the_result_does_not_depend_on_the_chunks(chunks: list[str], start: Kind | None, name: str) -> None:
    dialect = FAMILIES[name]
    assert split(dialect, chunks, start) == split(dialect, ["".join(chunks)], start)


@given(chunked(harmony_fragments()), st.sampled_from(STARTS))
def test_the_result_does_not_depend_on_the_chunks_where_tags_begin_alike(chunks: list[str], start: Kind | None) -> None:
    dialect = FAMILIES["gpt_oss"]
    assert split(dialect, chunks, start) == split(dialect, ["".join(chunks)], start)


@given(chunked(FRAGMENTS), st.sampled_from(STARTS))
def test_nothing_but_tags_and_white_space_is_lost_or_moved(chunks: list[str], start: Kind | None) -> None:
    raw = "".join(chunks)
    kept = "".join(text for _, text in split(FAMILIES["qwen3"], chunks, start))
    letters = re.compile("[abc]")
    assert letters.findall(kept) == letters.findall(raw)
    opens, closes = raw.count("<think>"), raw.count("</think>")
    lost = len("".join(raw.split())) - len("".join(kept.split()))
    assert lost in {len("<think>") * m + len("</think>") * n for m in range(opens + 1) for n in range(closes + 1)}


words = st.text("ab <>/1\n", max_size=20).map(lambda text: f"x{text}x")


@given(words, words, st.integers(0, 2), st.integers(0, 2))
def test_texts_without_tags_come_out_exactly(thinking: str, answer: str, before: int, after: int) -> None:
    raw = "<think>" + "\n" * before + thinking + "</think>" + "\n" * after + answer
    assert split(FAMILIES["qwen3"], list(raw)) == [("thinking", thinking), ("answer", answer)]
