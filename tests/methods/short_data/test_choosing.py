"""Builders that choose among answers as they are: by length, budget, preset, difficulty."""

from __future__ import annotations

import pytest

from taut.errors import UsageError
from taut.methods.model_based.short_data.budget_search import BudgetSearch
from taut.methods.model_based.short_data.chain_valve import ChainValve
from taut.methods.model_based.short_data.long_to_short import LongToShort
from taut.methods.model_based.short_data.mix_lengths import MixLengths
from taut.methods.model_based.short_data.select import Select
from taut.methods.model_based.short_data.shortest_correct import ShortestCorrect
from tests.methods.short_data.made import chosen_tokens, lengths_question, made, made_question, made_sample


def test_the_shortest_right_answer_is_kept_though_a_wrong_one_is_shorter() -> None:
    question = made_question([made_sample(90), made_sample(10, False), made_sample(40), made_sample(20, None)])
    examples, dropped = made(ShortestCorrect(), question)
    assert chosen_tokens(examples) == [40]
    assert dropped == {}


def test_only_the_first_n_samples_are_looked_at() -> None:
    question = made_question([made_sample(90, False), made_sample(60), made_sample(10)])
    assert chosen_tokens(made(ShortestCorrect(of_n=2), question)[0]) == [60]
    assert made(ShortestCorrect(of_n=1), question)[1] == {"q/0": "no right answer among the first of_n"}


def test_several_of_the_shortest_are_kept_in_order_of_length() -> None:
    assert chosen_tokens(made(ShortestCorrect(keep=2), lengths_question(50, 30, 40))[0]) == [30, 40]


def test_what_is_longer_than_the_limit_is_dropped_with_that_reason() -> None:
    # 30 of thinking and 5 of the answer are 35 in all, and 30 by the thinking alone.
    question = lengths_question(30)
    assert made(ShortestCorrect(max_tokens=34), question)[1] == {"q/0": "longer than max_tokens"}
    assert chosen_tokens(made(ShortestCorrect(max_tokens=34, of="thinking"), question)[0]) == [30]


def test_a_cut_answer_is_never_taught() -> None:
    question = made_question([made_sample(10, finish="length"), made_sample(50)])
    assert chosen_tokens(made(ShortestCorrect(), question)[0]) == [50]


def test_pairs_reject_longer_wrong_answers_and_right_ones_from_the_ratio_on() -> None:
    # Totals are 5 more: chosen 45; right ones count from 67.5 on, so 58 + 5 does not and 63 + 5 does.
    samples = [made_sample(40), made_sample(58), made_sample(63), made_sample(50, False), made_sample(30, False)]
    examples, _ = made(LongToShort(), made_question(samples))
    assert {e.chosen.thinking_tokens.tokens for e in examples} == {40}
    rejected = [(e.rejected.thinking_tokens.tokens, e.columns["rejected_is_right"]) for e in examples if e.rejected]
    assert rejected == [(63, True), (50, False)]


@pytest.mark.parametrize(("which", "expected"), [("wrong", [50]), ("right", [63]), ("both", [63, 50])])
def test_which_answers_are_rejected_is_a_parameter(which: str, expected: list[int]) -> None:
    question = made_question([made_sample(40), made_sample(63), made_sample(50, False)])
    examples, _ = made(LongToShort(rejected=which), question)  # type: ignore[arg-type]
    assert [e.rejected.thinking_tokens.tokens for e in examples if e.rejected] == expected


def test_a_question_gives_no_more_pairs_than_allowed_and_the_longest_come_first() -> None:
    examples, _ = made(LongToShort(most_pairs=2), lengths_question(10, 100, 300, 200))
    assert [e.rejected.thinking_tokens.tokens for e in examples if e.rejected] == [300, 200]


def test_without_a_longer_answer_there_is_no_pair() -> None:
    assert made(LongToShort(), lengths_question(40, 41))[1] == {"q/0": "no longer answer to reject"}


def test_the_ladder_goes_from_the_longest_to_the_shortest_with_the_papers_scale() -> None:
    # Totals are 105, 65 and 25: the middle one has 1 - (65 - 25) / (105 - 25) = 0.5.
    examples, _ = made(ChainValve(), lengths_question(20, 100, 60))
    assert chosen_tokens(examples) == [100, 60, 20]
    assert [example.columns for example in examples] == [
        {"stage": 0, "scale": 0.0},
        {"stage": 1, "scale": 0.5},
        {"stage": 2, "scale": 1.0},
    ]


def test_a_short_ladder_has_the_first_and_the_last_stage() -> None:
    examples, _ = made(ChainValve(levels=4), lengths_question(20, 100))
    assert [example.columns["stage"] for example in examples] == [0, 3]


def test_lengths_that_hardly_differ_are_one_rung() -> None:
    # 100 of 105 is 5 % shorter, less than the tenth that a step must save.
    assert made(ChainValve(), lengths_question(100, 95))[1] == {"q/0": "right answers of one length only"}


def test_more_lengths_than_levels_are_thinned_out_evenly() -> None:
    # Totals of 15, 25, 45, 85, 165 are all apart: rungs 0, 2 and 4 remain.
    assert chosen_tokens(made(ChainValve(), lengths_question(10, 20, 40, 80, 160))[0]) == [160, 40, 10]


def test_the_search_ends_at_the_first_budget_that_fails() -> None:
    samples = [
        made_sample(200, budget_tokens=None),
        made_sample(150, budget_tokens=400),
        made_sample(90, budget_tokens=200),
        made_sample(50, False, budget_tokens=100),
        made_sample(30, budget_tokens=50),
    ]
    question = made_question(samples)
    examples, _ = made(BudgetSearch(), question)
    assert (chosen_tokens(examples), examples[0].columns) == ([90], {"budget_tokens": 200})
    assert chosen_tokens(made(BudgetSearch(search="smallest"), question)[0]) == [30]


def test_a_budget_under_which_the_answer_grows_again_ends_the_search() -> None:
    samples = [made_sample(90, budget_tokens=200), made_sample(120, budget_tokens=50)]
    assert chosen_tokens(made(BudgetSearch(), made_question(samples))[0]) == [90]
    assert chosen_tokens(made(BudgetSearch(cheaper=False), made_question(samples))[0]) == [120]


def test_a_preference_is_over_the_answer_without_a_budget() -> None:
    samples = [made_sample(200), made_sample(90, budget_tokens=100), made_sample(300, budget_tokens=400)]
    (example,), _ = made(BudgetSearch(makes="preference"), made_question(samples))
    assert example.rejected is not None
    assert (example.chosen.thinking_tokens.tokens, example.rejected.thinking_tokens.tokens) == (90, 200)


def test_questions_without_budgets_or_failing_under_the_largest_are_dropped() -> None:
    without = lengths_question(10, name="without")
    failing = made_question([made_sample(9), made_sample(5, False, budget_tokens=9)], "failing")
    assert made(BudgetSearch(), without, failing)[1] == {
        "without": "no sample under a budget",
        "failing": "not right under its largest budget",
    }


def test_long_and_short_examples_are_mixed_in_about_the_share_that_is_asked_for() -> None:
    questions = [lengths_question(10, 100, name=f"q/{number}") for number in range(500)]
    examples, _ = made(MixLengths(), *questions)
    long = sum(example.columns["length"] == "long" for example in examples)
    # 100 are expected, with a standard deviation of sqrt(500 * 0.2 * 0.8) = 9.
    assert 73 <= long <= 127
    assert {(example.columns["length"], example.chosen.thinking_tokens.tokens) for example in examples} == {
        ("long", 100),
        ("short", 10),
    }


def test_whether_a_question_is_long_does_not_depend_on_the_others() -> None:
    questions = [lengths_question(10, 100, name=f"q/{number}") for number in range(50)]
    alone = [made(MixLengths(long_share=0.5), question)[0][0].columns for question in questions]
    together = [example.columns for example in made(MixLengths(long_share=0.5), *questions)[0]]
    other = [example.columns for example in made(MixLengths(long_share=0.5, seed=1), *questions)[0]]
    assert alone == together != other


def test_long_answers_may_be_asked_of_one_preset() -> None:
    question = made_question([made_sample(100, preset="teacher"), made_sample(200, preset="own")])
    assert chosen_tokens(made(MixLengths(long_share=1, long_preset="teacher"), question)[0]) == [100]
    assert made(MixLengths(long_share=1, long_preset="nobody"), question)[1] == {
        "q/0": "no right answer of the preset 'nobody'"
    }


def test_no_more_than_n_are_selected_and_the_others_say_so() -> None:
    questions = [lengths_question(10, name=f"q/{number}") for number in range(5)]
    examples, dropped = made(Select(n=3), *questions)
    assert len(examples) == 3
    assert list(dropped.values()) == ["not among the 3 that were picked"] * 2


def test_what_is_always_solved_or_repeats_itself_is_not_selected() -> None:
    easy = made_question([made_sample(10), made_sample(10)], "easy")
    hard = made_question([made_sample(10), made_sample(10, False)], "hard")
    loop = made_question([made_sample(10, thinking="So 7.\n\n" * 9), made_sample(10, False)], "loop")
    examples, dropped = made(Select(most_solve_rate=0.9), easy, hard, loop)
    assert [example.question.id for example in examples] == ["hard"]
    assert dropped == {
        "easy": "solved too often",
        "loop": "its right answers are too long, or repeat themselves",
    }


def test_categories_are_drawn_alike_however_many_questions_they_have() -> None:
    many = [made_question([made_sample(10)], f"many/{number}", kind="sums") for number in range(40)]
    few = [made_question([made_sample(10)], f"few/{number}", kind="words") for number in range(4)]
    counts = [
        sum(
            example.columns["category"] == "words"
            for example in made(Select(n=8, category="kind", seed=s), *many, *few)[0]
        )
        for s in range(30)
    ]
    # Uniform over questions would give 8 * 4 / 44 = 0.7 on average; over categories nearly all four are taken.
    assert sum(counts) / len(counts) > 3


def test_longer_chains_are_likelier_to_be_selected() -> None:
    questions = [made_question([made_sample(tokens)], f"q/{tokens}", kind="one") for tokens in range(10, 110, 10)]
    picked = [made(Select(n=1, category="kind", seed=seed), *questions)[0][0] for seed in range(40)]
    # The longest has a chance of one half, the second longest a quarter.
    assert sum(example.chosen.thinking_tokens.tokens >= 90 for example in picked) >= 22


def test_questions_that_differ_in_numbers_alone_are_one_category() -> None:
    texts = (
        "Ann has 3 apples and buys 4 more. How many?",
        "Ann has 12 apples and buys 5 more. How many?",
        "Name a prime.",
    )
    questions = []
    for number, text in enumerate(texts):
        question = made_question([made_sample(10)], f"q/{number}")
        object.__setattr__(question.task, "messages", ({"role": "user", "content": text},))
        questions.append(question)
    categories = {e.question.id: e.columns["category"] for e in made(Select(), *questions)[0]}
    assert categories["q/0"] == categories["q/1"] != categories["q/2"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: ShortestCorrect(of_n=0), "shortest_correct: of_n is 0, it must be at least 1"),
        (lambda: LongToShort(ratio=1.0), "long_to_short: ratio is 1.0, it must be above 1"),
        (lambda: ChainValve(levels=1), "chain_valve: levels is 1, it must be at least 2"),
        (lambda: MixLengths(long_share=1.5), "mix_lengths: long_share is 1.5, it must be from 0 to 1"),
        (lambda: Select(n=0), "select: n is 0, it must be at least 1"),
        (lambda: Select(least_solve_rate=0.9, most_solve_rate=0.2), "the first not above the second"),
    ],
)
def test_values_outside_their_range_are_refused(wrong: type, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        wrong()
