"""Builders that rewrite chains: conditions, ratios, steps, cuts and stages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from taut.errors import UsageError
from taut.methods.model_based.short_data._chains import chain_of, steps_of, with_chain, words_of
from taut.methods.model_based.short_data._nouns import Tools
from taut.methods.model_based.short_data.c3ot import C3ot
from taut.methods.model_based.short_data.cut_at_first_correct import CutAtFirstCorrect
from taut.methods.model_based.short_data.drop_steps import DropSteps
from taut.methods.model_based.short_data.implicit_cot import ImplicitCot
from taut.methods.model_based.short_data.token_skip import TokenSkip
from tests.methods.short_data.made import TOOLS, made, made_question, made_sample, thoughts

CHAIN = "I read 3 and 4.\n\nSo 3 + 4 = 7.\n\nWait, 4 + 3 = 7 too.\n\nIt fits.\n\nWait, once more: 3 + 4 = 7."
QUESTION = made_question([made_sample(100, thinking=CHAIN)])


@pytest.mark.parametrize("text", [CHAIN, "one\ntwo\n", "First. Then 2 more. Done.", "  odd \n\n\n text ", "x", ""])
def test_steps_and_words_joined_are_the_text(text: str) -> None:
    assert "".join(steps_of(text)) == text
    assert "".join(words_of(text)) == text


def test_steps_are_paragraphs_or_else_lines_or_else_sentences() -> None:
    assert len(steps_of(CHAIN)) == 5
    assert steps_of("a\nb\nc") == ["a\n", "b\n", "c"]
    assert steps_of("One is 1.5 long. Two follows. Done") == ["One is 1.5 long. ", "Two follows. ", "Done"]


def test_a_reply_without_thinking_has_its_chain_before_the_last_line() -> None:
    sample = made_sample(0, thinking="", answer="3 and 4.\nThat makes 7.\nThe answer is 7.")
    assert chain_of(sample) == "3 and 4.\nThat makes 7."
    written = with_chain(sample, "makes 7", Tools(count=lambda text: len(text.split())))
    assert (written.thinking, written.answer) == ("", "makes 7\n\nThe answer is 7.")
    assert (written.answer_tokens.tokens, written.answer_tokens.source) == (6, "counted")


def test_tokens_of_a_shortened_chain_are_estimated_by_its_share_of_the_characters() -> None:
    sample = made_sample(100, thinking="abcdefghij")
    written = with_chain(sample, "abcde", Tools())
    assert (written.thinking_tokens.tokens, written.thinking_tokens.source) == (50, "estimated")
    assert with_chain(sample, "abcdefghij", Tools()).thinking_tokens.source == "reported"


def test_c3ot_teaches_both_lengths_under_their_conditions() -> None:
    tools = replace(TOOLS, compressions={QUESTION.samples[0].key: "3 + 4 = 7."})
    (long, short), _ = made(C3ot(), QUESTION, tools=tools)
    assert long.messages is not None
    assert short.messages is not None
    assert long.messages[-1]["content"] == "What is 3 + 4 (q/0)?\n\nReason at length."
    assert short.messages[-1]["content"] == "What is 3 + 4 (q/0)?\n\nReason in few words."
    assert (long.chosen.thinking, short.chosen.thinking) == (CHAIN, "3 + 4 = 7.")
    assert long.chosen.answer == short.chosen.answer == "The answer is 7."


def test_c3ot_drops_what_has_no_compression_or_none_that_is_shorter() -> None:
    assert made(C3ot(), QUESTION)[1] == {"q/0": "no compression of its chain"}
    longer = replace(TOOLS, compressions={QUESTION.samples[0].key: CHAIN + " And so on."})
    assert made(C3ot(), QUESTION, tools=longer)[1] == {"q/0": "its compression is not shorter"}


def test_c3ot_asks_the_compressor_with_question_and_chain() -> None:
    (task,) = C3ot().asks([QUESTION])
    assert task.id == QUESTION.samples[0].key
    assert task.question.endswith(f"Question:\nWhat is 3 + 4 (q/0)?\n\nReasoning:\n{CHAIN}")


def test_the_most_important_words_are_kept_in_their_order() -> None:
    question = made_question([made_sample(100, thinking="a bbb cc dddd e ffffff")])
    builder = TokenSkip(ratios=(0.5,), importance="llmlingua2")
    (example,), _ = made(builder, question)
    # By length: ffffff, dddd and bbb are half of the six words.
    assert example.chosen.thinking == "bbb dddd ffffff"
    assert example.columns == {"ratio": 0.5}
    assert example.messages is not None
    assert example.messages[-1]["content"] == "What is 3 + 4 (q/0)?<|eot_id|>0.5<|eot_id|>"


def test_words_with_digits_and_kept_words_stay_whatever_they_weigh() -> None:
    question = made_question([made_sample(100, thinking="Step one: a 7 longword another")])
    (example,), _ = made(TokenSkip(ratios=(0.5,)), question)
    # Three of six: "Step", "one:" and "7" must stay, though they weigh less than the long words.
    assert example.chosen.thinking == "Step one: 7"
    (example,), _ = made(TokenSkip(ratios=(0.5,), keep=(), keep_digits=False), question)
    assert example.chosen.thinking == "Step longword another"


def test_at_ratio_one_question_and_chain_are_as_they_were() -> None:
    (example,), _ = made(TokenSkip(ratios=(1.0,)), QUESTION)
    assert (example.messages, example.chosen.thinking) == (None, CHAIN)


def test_the_random_control_keeps_as_many_words_and_needs_no_model() -> None:
    question = made_question([made_sample(100, thinking="a bbb cc dddd e ffffff g hh iii jjjj")])
    builder = TokenSkip(ratios=(0.3,), importance="random")
    assert builder.needs == frozenset()
    texts = {thoughts(made(replace(builder, seed=seed), question, tools=Tools())[0])[0] for seed in range(20)}
    assert {len(text.split()) for text in texts} == {3}
    assert len(texts) > 10


def test_each_question_draws_one_ratio_and_all_of_them_on_request() -> None:
    questions = [made_question([made_sample(100, thinking=CHAIN)], f"q/{number}") for number in range(300)]
    drawn = [example.columns["ratio"] for example in made(TokenSkip(), *questions)[0]]
    counts = {ratio: drawn.count(ratio) for ratio in TokenSkip().ratios}
    # Fifty are expected of each, with a standard deviation of 6.5.
    assert all(30 <= count <= 70 for count in counts.values())
    every = made(TokenSkip(all_ratios=True), QUESTION)[0]
    assert [example.columns["ratio"] for example in every] == [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def test_long_chains_are_left_out_of_token_skip() -> None:
    long = made_question([made_sample(496, thinking=CHAIN)])
    assert made(TokenSkip(), long)[1] == {"q/0": "longer than max_tokens"}
    assert len(made(TokenSkip(max_tokens=None), long)[0]) == 1


def test_checks_behind_the_first_right_answer_are_dropped_and_other_steps_stay() -> None:
    (example,), _ = made(DropSteps(), QUESTION)
    assert example.chosen.thinking == "I read 3 and 4.\n\nSo 3 + 4 = 7.\n\nIt fits."
    assert example.columns == {"steps": 5, "steps_left_out": 2}


def test_a_check_before_the_right_answer_stays() -> None:
    chain = "So 3 + 4 = 8.\n\nWait, no.\n\nSo 3 + 4 = 7.\n\nWait, yes."
    (example,), _ = made(DropSteps(), made_question([made_sample(50, thinking=chain)]))
    assert example.chosen.thinking == "So 3 + 4 = 8.\n\nWait, no.\n\nSo 3 + 4 = 7."


def test_all_steps_behind_the_answer_can_be_dropped() -> None:
    (example,), _ = made(DropSteps(what="after_answer"), QUESTION)
    assert example.chosen.thinking == "I read 3 and 4.\n\nSo 3 + 4 = 7."


def test_random_steps_spare_the_last_and_the_one_with_the_answer() -> None:
    builder = DropSteps(what="random", share=1.0)
    (example,), _ = made(builder, QUESTION)
    assert example.chosen.thinking == "So 3 + 4 = 7.\n\nWait, once more: 3 + 4 = 7."
    assert builder.needs == frozenset()
    (blind,), _ = made(builder, QUESTION, tools=Tools())
    assert blind.chosen.thinking == "Wait, once more: 3 + 4 = 7."


def test_a_chain_in_which_the_answer_was_not_found_is_dropped_with_that_reason() -> None:
    question = made_question([made_sample(10, thinking="Seven, I think.")])
    for builder in (DropSteps(), CutAtFirstCorrect()):
        assert made(builder, question)[1] == {"q/0": "the right answer was not found in its chain"}


def test_the_chain_is_cut_behind_the_step_that_first_states_the_answer() -> None:
    (example,), _ = made(CutAtFirstCorrect(), QUESTION)
    assert example.chosen.thinking == "I read 3 and 4.\n\nSo 3 + 4 = 7."
    (example,), _ = made(CutAtFirstCorrect(statements=2), QUESTION)
    assert example.chosen.thinking.endswith("Wait, 4 + 3 = 7 too.")
    (example,), _ = made(CutAtFirstCorrect(end="statement"), QUESTION)
    assert example.chosen.thinking == "I read 3 and 4.\n\nSo 3 + 4 = 7"


def test_a_cut_behind_the_sentence_leaves_out_what_begins_to_doubt_in_the_same_step() -> None:
    chain = "So 3 + 4 = 7. Wait, let me check that.\n\nYes."
    question = made_question([made_sample(50, thinking=chain)])
    assert thoughts(made(CutAtFirstCorrect(), question)[0]) == ["So 3 + 4 = 7."]
    assert thoughts(made(CutAtFirstCorrect(end="step"), question)[0]) == ["So 3 + 4 = 7. Wait, let me check that."]


def test_a_cut_does_not_leave_a_displayed_formula_open() -> None:
    question = made_question([made_sample(50, thinking="\\[\n3 + 4 = 7\n\\]\n\nWait.")])
    assert thoughts(made(CutAtFirstCorrect(), question)[0]) == ["\\[\n3 + 4 = 7\n\\]"]


def test_a_chain_that_ends_with_its_answer_is_kept_whole_but_makes_no_pair_with_itself() -> None:
    question = made_question([made_sample(10, thinking="So 3 + 4 = 7.")])
    (example,), _ = made(CutAtFirstCorrect(), question)
    assert (example.chosen.thinking_tokens.source, example.columns) == ("reported", {"share_kept": 1.0})
    assert made(CutAtFirstCorrect(makes="preference"), question)[1] == {"q/0": "no longer answer to reject"}


def test_the_cut_chain_is_preferred_to_the_longest_right_one() -> None:
    question = made_question([made_sample(100, thinking=CHAIN), made_sample(300, thinking=CHAIN * 3)])
    (example,), _ = made(CutAtFirstCorrect(makes="preference"), question)
    assert example.rejected is not None
    assert example.rejected.thinking_tokens.tokens == 300


def test_stages_take_words_from_the_left_until_none_is_left() -> None:
    question = made_question([made_sample(60, thinking="one two three four five six")])
    examples, _ = made(ImplicitCot(stages=3, smoothing_lambda=0), question)
    assert thoughts(examples) == ["one two three four five six", "three four five six", "five six", ""]
    assert [example.columns["stage"] for example in examples] == [0, 1, 2, 3]
    assert examples[-1].chosen.thinking_tokens.tokens == 0


def test_stages_of_a_fixed_size_end_with_everything_removed_as_in_the_paper() -> None:
    question = made_question([made_sample(60, thinking="a b c d e f g h i j")])
    examples, _ = made(ImplicitCot(stages=3, per_stage=2, smoothing_lambda=0), question)
    assert [example.columns["removed"] for example in examples] == [0, 2, 4, 10]


def test_stages_can_remove_whole_steps() -> None:
    examples, _ = made(ImplicitCot(stages=5, per_stage=1, unit="steps", smoothing_lambda=0), QUESTION)
    assert [len(steps_of(text)) for text in thoughts(examples)] == [5, 4, 3, 2, 1, 0]


def test_smoothing_removes_one_word_more_with_the_papers_probability() -> None:
    questions = [made_question([made_sample(60, thinking="a b c d e f g h i j")], f"q/{n}") for n in range(4000)]
    examples, _ = made(ImplicitCot(stages=2, per_stage=2, smoothing_lambda=1.0), *questions)
    further = [example.columns["removed"] - 2 for example in examples if example.columns["stage"] == 1]
    # P(0) = 1 - exp(-1) = 0.632, P(1) = 0.632 * exp(-1) = 0.233; the standard error is below 0.008.
    assert further.count(0) / 4000 == pytest.approx(0.632, abs=0.03)
    assert further.count(1) / 4000 == pytest.approx(0.233, abs=0.03)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: C3ot(long_condition="x", short_condition=" x"), "are the same"),
        (lambda: C3ot(least_saved=1.0), "c3ot: least_saved is 1.0, it must be from 0 to below 1"),
        (lambda: TokenSkip(ratios=()), "token_skip: ratios is empty"),
        (lambda: TokenSkip(ratios=(0.5, 1.2)), r"token_skip: ratios has 1.2, each must be above 0 and at most 1"),
        (lambda: DropSteps(share=0), "drop_steps: share is 0, it must be above 0 and at most 1"),
        (lambda: CutAtFirstCorrect(statements=0), "cut_at_first_correct: statements is 0"),
        (lambda: ImplicitCot(stages=0), "implicit_cot: stages is 0"),
        (lambda: ImplicitCot(per_stage=0), "implicit_cot: per_stage is 0"),
        (lambda: ImplicitCot(smoothing_lambda=-1), "implicit_cot: smoothing_lambda is -1"),
    ],
)
def test_values_outside_their_range_are_refused(wrong: type, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        wrong()
