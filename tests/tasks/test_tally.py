"""The questions of the model in the box: right by another way of counting, held out by what is asked."""

from __future__ import annotations

import random
import re
from itertools import islice
from math import prod

import pytest

from taut.core import Task
from taut.errors import UsageError
from taut.tasks import LoadOptions, load_tasks
from taut.tasks._tally import FAMILIES, GRADES, LEGS, SPLITS, draw, questions


def tally(argument: str = "", **options: object) -> list[Task]:
    spec = f"tally:{argument}" if argument else "tally"
    return load_tasks(spec, LoadOptions(format_line=False, **options))  # type: ignore[arg-type]


def test_a_sum_is_what_python_makes_of_its_text() -> None:
    for task in tally("chain_sum", limit=60):
        expression = re.sub(r"[^-+\d ]", "", task.question).strip()
        assert eval(expression) == int(task.reference)


def test_a_product_is_the_product_of_the_numbers_in_its_text() -> None:
    for task in tally("products", limit=60):
        assert prod(map(int, re.findall(r"\d+", task.question))) == int(task.reference)


def test_legs_are_counted_as_the_text_lists_them() -> None:
    for task in tally("leg_counting", limit=60):
        listed = re.findall(r"(\d+) ([a-z ]+?)(?=,|\?| have)", task.question)
        legs = [int(count) * LEGS[animal if animal in LEGS else animal.removesuffix("s")] for count, animal in listed]
        assert sum(legs) == int(task.reference)


def test_a_story_gains_and_loses_what_its_words_say() -> None:
    gains = ("has", "buys", "finds", "gets", "wins", "given")
    for task in tally("stories", limit=60):
        total = 0
        for sentence in task.question.split(". ")[:-1]:
            amount = int(re.findall(r"\d+", sentence)[0])
            is_gain = any(f" {word} " in sentence for word in gains) and "given more" not in sentence
            total += amount if is_gain else -amount
        assert total == int(task.reference)


def test_the_larger_number_is_larger() -> None:
    for task in tally("compare", limit=60):
        numbers = re.findall(r"\d+(?:\.\d+)?", task.question.rstrip("?"))
        pick = max if "larg" in task.question else min
        assert task.reference == pick(numbers, key=float)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_question_is_in_the_same_split_under_every_seed_and_wording(family: str) -> None:
    keys = {
        split: {q.key for grade in GRADES for seed in (0, 1) for q in islice(questions(family, grade, split, seed), 30)}
        for split in SPLITS
    }
    assert not keys["test"] & keys["train"]
    assert not keys["test"] & keys["validation"]
    assert not keys["validation"] & keys["train"]


def test_a_sixteenth_of_all_questions_is_for_testing_and_one_for_validation() -> None:
    rng = random.Random(0)
    splits = [draw("stories", "hard", rng).split for _ in range(4000)]
    assert splits.count("test") / 4000 == pytest.approx(1 / 16, abs=0.012)
    assert splits.count("validation") / 4000 == pytest.approx(1 / 16, abs=0.012)


def test_families_and_grades_take_turns() -> None:
    first = tally(limit=15)
    assert [task.metadata["family"] for task in first] == list(FAMILIES) * 3
    assert [task.metadata["difficulty"] for task in first] == [grade for grade in GRADES for _ in FAMILIES]


def test_questions_are_those_of_the_whole_set_whatever_the_offset() -> None:
    assert [task.id for task in tally(limit=4, offset=6)] == [task.id for task in tally(limit=10)][6:]


def test_sums_are_worded_as_in_reasoning_gym() -> None:
    reasoning_gym = pytest.importorskip("reasoning_gym")
    theirs = reasoning_gym.create_dataset("chain_sum", seed=1, size=1)[0]["question"]
    wording = "State the final answer to the following arithmetic problem: "
    assert theirs.startswith(wording)
    assert any(task.question.startswith(wording) for task in tally("chain_sum", limit=20))


@pytest.mark.parametrize(
    ("argument", "options", "sentence"),
    [
        ("storys", {}, "tally has no family of questions 'storys' (did you mean 'stories'?)"),
        ("", {"difficulty": "hrad"}, "tally has no difficulty 'hrad' (did you mean 'hard'?)"),
        ("", {"split": "dev"}, "tally has no split 'dev'"),
        ("products", {"difficulty": "easy", "limit": 500}, "questions of this kind in the split test, 500 were asked"),
    ],
)
def test_what_there_is_not_is_said_in_one_sentence(argument: str, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        tally(argument, **options)
    assert sentence in str(error.value)
