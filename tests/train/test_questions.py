"""Questions for reinforcement learning and held-out accuracy."""

from __future__ import annotations

from pathlib import Path

import pytest

from taut.errors import UsageError
from tests.train.made import question_row, write_rows

pytestmark = pytest.mark.transformers
pytest.importorskip("trl")

from taut.train.questions import load, mixed  # noqa: E402 - after the check that training is installed


@pytest.fixture
def sums(tmp_path: Path) -> str:
    return str(write_rows(tmp_path / "sums.jsonl", [question_row(index) for index in range(30)]))


def test_options_stand_behind_a_question_mark(sums: str) -> None:
    assert len(load([f"{sums}?limit=4&seed=3"])) == 4
    assert load([f"{sums}?limit=4&seed=3"]) == load([f"{sums}?limit=4&seed=3"])
    found = load(["reasoning_gym:chain_sum?difficulty=easy&limit=3&seed=5000&format_line=false"])
    assert [task.metadata["difficulty"] for task in found] == ["easy"] * 3


def test_questions_of_a_file_are_asked_as_they_are(sums: str) -> None:
    task = load([sums])[12]
    assert (task.question, task.reference, task.verifier, task.id) == ("What is 2 + 1?", "3", "number", "sum-12")


def test_sets_are_mixed_by_their_shares(tmp_path: Path) -> None:
    easy = str(write_rows(tmp_path / "easy.jsonl", [question_row(index, id=f"e{index}") for index in range(30)]))
    hard = str(write_rows(tmp_path / "hard.jsonl", [question_row(index, id=f"h{index}") for index in range(10)]))
    found = [task.id[0] for task in mixed((), (easy, hard), (0.75, 0.25), seed=0)]
    assert (found.count("e"), found.count("h")) == (30, 10)
    found = [task.id[0] for task in mixed((), (easy, hard), (0.5, 0.5), seed=0)]
    assert (found.count("e"), found.count("h")) == (10, 10)
    assert mixed((), (easy, hard), (0.5, 0.5), seed=1) == mixed((), (easy, hard), (0.5, 0.5), seed=1)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("gsm8k?limt=3", "unknown option 'limt' (did you mean 'limit'?)"),
        ("sums.jsonl?difficulty=easy", "unknown option 'difficulty'"),
        ("gsm8k?limit=x", "limit = 'x' is not right"),
        ("gsm9k", "(did you mean 'gsm8k'?)"),
    ],
)
def test_a_set_that_cannot_be_read_is_told(spec: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        load([spec])
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"answer": "1"}, "line 1, has no question"),
        ({"prompt": "What?"}, "line 1, has no answer"),
        ({"prompt": "What?", "answer": "1", "wanted_tokens": "x"}, "wanted_tokens"),
    ],
)
def test_a_row_that_is_no_question_is_told(tmp_path: Path, row: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        load([str(write_rows(tmp_path / "rows.jsonl", [row]))])
    assert told in str(caught.value)


def test_a_question_that_is_there_twice_is_refused(sums: str) -> None:
    with pytest.raises(UsageError, match="is there twice"):
        load([sums, sums])


def test_shares_fit_the_sets(sums: str) -> None:
    with pytest.raises(UsageError, match=r"data\.shares has 1 numbers above 0 for 2 sets"):
        mixed((), (sums, sums), (1.0,), seed=0)


@pytest.mark.parametrize("text", ["Be brief.", " Be brief.", "\nBe brief."])
def test_an_instruction_stands_apart_from_the_question(text: str) -> None:
    from taut.core import Task
    from taut.train.questions import instructed

    task = Task("q", ({"role": "user", "content": "What is 1 + 1?"},), "2", "number")
    assert instructed(task, text).question == f"What is 1 + 1?{text if text[0].isspace() else ' ' + text}"
    assert instructed(task, "") is task
