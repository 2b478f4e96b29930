"""Every task set: stable and unique ids, plain messages, and a gold answer that scores true."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from taut.core import Task
from taut.errors import UsageError
from taut.plugins import entries
from taut.tasks import LoadOptions, load_tasks
from taut.verify import score

MAX_ROWS = 200
LOCAL: Mapping[str, int] = {
    "gsm8k": 1319,
    "math500": 500,
    "aime24": 30,
    "aime25": 30,
    "amc23": 40,
    "asdiv": 2215,
    "mawps": 1465,
}
"""Sets that the folder with real data holds, and their questions."""
OTHERS = {"svamp", "mmlu_pro", "gpqa", "file", "reasoning_gym", "tally"}
PROCEDURAL = """
ab advanced_geometry base_conversion basic_arithmetic binary_alternation bitwise_arithmetic
caesar_cipher calendar_arithmetic chain_sum complex_arithmetic count_bits count_primes cryptarithm
decimal_arithmetic dice emoji_mystery family_relationships figlet_font fraction_simplification gcd
gsm_symbolic intermediate_integration lcm leg_counting letter_counting list_functions maze
mini_sudoku n_queens number_filtering number_format number_sorting palindrome_generation
polynomial_equations power_function prime_factorization products propositional_logic rearc
sentence_reordering simple_equations simple_geometry spell_backward syllogism time_intervals
tower_of_hanoi word_sequence_reversal word_sorting
"""
"""Datasets of reasoning-gym that are quick to make."""


def check(tasks: list[Task]) -> None:
    assert len({task.id for task in tasks}) == len(tasks)
    for task in tasks:
        assert task.question.strip()
        assert task.metadata["answer_format"] in ("number", "latex", "choice", "text")
        assert task.verifier in entries("verifiers")
        msgspec.json.encode(task)


def gold_answers(task: Task) -> list[str]:
    return [f"\\boxed{{{task.reference}}}", f"<answer>{task.reference}</answer>"]


def test_every_task_set_is_checked_here() -> None:
    assert set(entries("tasks")) == set(LOCAL) | OTHERS


@pytest.mark.parametrize("name", LOCAL)
def test_a_set_from_the_data_folder_is_whole_and_its_gold_answers_are_right(name: str, shared_data: Path) -> None:
    tasks = load_tasks(name, LoadOptions(data=shared_data))
    assert len(tasks) == LOCAL[name]
    check(tasks)
    for task in load_tasks(name, LoadOptions(data=shared_data, limit=MAX_ROWS)):
        for answer in gold_answers(task):
            assert score(answer, task).value is True, (task.id, task.reference)


@pytest.mark.parametrize("name", LOCAL)
def test_an_answer_of_another_kind_is_wrong(name: str, shared_data: Path) -> None:
    for task in load_tasks(name, LoadOptions(data=shared_data, limit=20)):
        assert score("I cannot tell.", task).value is False
        assert score("\\boxed{-987654321}", task).value is False


@pytest.mark.parametrize("name", ["gsm8k", "math500", "asdiv"])
def test_the_set_s_own_folder_will_do_as_well(name: str, shared_data: Path) -> None:
    folder = {"gsm8k": "gsm8k", "math500": "math_contest", "asdiv": "easy_math"}[name]
    options = LoadOptions(limit=3, data=shared_data)
    assert load_tasks(name, options) == load_tasks(name, LoadOptions(limit=3, data=shared_data / folder))


@pytest.mark.parametrize("name", PROCEDURAL.split())
def test_procedural_questions_come_twice_the_same_and_their_gold_answers_are_right(name: str) -> None:
    pytest.importorskip("reasoning_gym", reason="the extra 'procedural' is not installed")
    tasks = load_tasks(f"reasoning_gym:{name}", LoadOptions(limit=3, seed=11))
    check(tasks)
    for task in tasks:
        if task.reference is not None:
            assert score(f"<answer>{task.reference}</answer>", task).value is True
        assert score("", task).value is False


@pytest.mark.parametrize("name", sorted(OTHERS - {"file", "reasoning_gym", "tally"}))
def test_a_set_without_its_data_says_what_is_missing(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no split"):
        load_tasks(name, LoadOptions(data=tmp_path))
