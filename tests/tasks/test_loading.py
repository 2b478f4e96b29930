"""Which tasks are taken, by name and from own files."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pytest
from pyarrow import parquet

from taut.errors import UsageError
from taut.plugins import entries
from taut.tasks import LoadOptions, load_tasks
from taut.tasks._loading import SPECIAL
from taut.verify import score


def own_file(folder: Path, rows: list[dict[str, Any]], name: str = "own.jsonl") -> str:
    path = folder / name
    path.write_bytes(b"\n".join(msgspec.json.encode(row) for row in rows))
    return str(path)


def sums(count: int) -> list[dict[str, Any]]:
    return [{"id": f"n{i}", "question": f"{i} + 1?", "answer": i + 1} for i in range(count)]


def test_a_larger_limit_only_adds_items_and_keeps_the_order_of_the_source(tmp_path: Path) -> None:
    path = own_file(tmp_path, sums(50))
    few = [task.id for task in load_tasks(path, LoadOptions(limit=5, seed=3))]
    more = [task.id for task in load_tasks(path, LoadOptions(limit=20, seed=3))]
    everything = [task.id for task in load_tasks(path)]
    assert len(few) == 5
    assert set(few) < set(more)
    assert more == [task for task in everything if task in set(more)]


def test_the_rank_of_an_item_depends_on_seed_and_id_only(tmp_path: Path) -> None:
    whole = load_tasks(own_file(tmp_path, sums(50)), LoadOptions(limit=10, seed=1))
    kept = {task.id for task in whole}
    rest = [row for row in reversed(sums(50)) if f"own/{row['id']}" in kept or row["id"] > "n30"]
    assert {task.id for task in load_tasks(own_file(tmp_path, rest), LoadOptions(limit=10, seed=1))} == kept


def test_offset_continues_where_another_run_ended(tmp_path: Path) -> None:
    path = own_file(tmp_path, sums(10))
    first = {task.id for task in load_tasks(path, LoadOptions(limit=4))}
    second = {task.id for task in load_tasks(path, LoadOptions(limit=6, offset=4))}
    assert len(first | second) == 10
    assert not first & second
    with pytest.raises(UsageError, match="no questions left at offset 10"):
        load_tasks(path, LoadOptions(offset=10))


def test_another_seed_takes_other_items(tmp_path: Path) -> None:
    path = own_file(tmp_path, sums(50))
    chosen = [{task.id for task in load_tasks(path, LoadOptions(limit=10, seed=seed))} for seed in (1, 2)]
    assert chosen[0] != chosen[1]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gsm8", "no task named 'gsm8' .did you mean 'gsm8k'"),
        ("reasoning_gym:chain_sun", "did you mean 'chain_sum'"),
        ("reasoning_gym", "no dataset ''"),
        ("missing.jsonl", "missing.jsonl cannot be read: No such file"),
        ("", "no task named ''"),
    ],
)
def test_an_unknown_task_names_the_nearest_one(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_tasks(spec)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("gsm8k", {"columns": {"question": "q"}}, "gsm8k does not take columns (--column): they are for own files"),
        ("gsm8k", {"verifier": "exact"}, "gsm8k does not take a verifier (--verifier): it is for own files"),
        ("gsm8k", {"difficulty": "easy"}, "gsm8k does not take a difficulty (--difficulty): it is for reasoning_gym"),
        ("aime24", {"split": "test"}, "aime24 does not take a split (--split): it is for public sets that have sev"),
        ("own.csv", {"split": "test"}, "own.csv does not take a split (--split)"),
        ("own.csv", {"data": Path("x")}, "own.csv does not take a data folder (--data): it is for public sets"),
        ("reasoning_gym:chain_sum", {"data": Path("x")}, "reasoning_gym:chain_sum does not take a data folder"),
        ("reasoning_gym:chain_sum", {"verifier": "exact"}, "reasoning_gym:chain_sum does not take a verifier"),
    ],
)
def test_an_option_that_the_set_would_ignore_is_refused(spec: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        load_tasks(spec, LoadOptions(**options))


def test_every_set_reads_only_options_that_there_are() -> None:
    declared = [set(getattr(entry.load(), "READS", ())) for entry in entries("tasks").values()]
    assert set[str]().union(*declared) == set(SPECIAL)
    assert set(SPECIAL) <= {field.name for field in fields(LoadOptions)}


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": -1}, {"offset": -1}])
def test_a_senseless_selection_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must"):
        LoadOptions(**options)


@pytest.mark.parametrize(
    ("answers", "verifiers"),
    [
        ([18, "1,000"], ["number", "number"]),
        ([r"\sqrt{2}", "3"], ["math", "number"]),
        (["yes", "3", 25.0], ["exact", "number", "number"]),
        ([None, "3"], ["exact", "number"]),
        ([True, False], ["exact", "exact"]),
    ],
)
def test_the_verifier_of_an_own_row_follows_its_answer(
    tmp_path: Path, answers: list[Any], verifiers: list[str]
) -> None:
    rows = [{"question": f"q{i}", "answer": answer} for i, answer in enumerate(answers)]
    tasks = load_tasks(own_file(tmp_path, rows))
    assert [task.verifier for task in tasks] == verifiers
    for task, answer in zip(tasks, answers, strict=True):
        assert score(str(answer), task).value is (None if answer is None else True)


def test_an_answer_that_is_a_list_holds_texts_of_which_any_counts(tmp_path: Path) -> None:
    rows = [{"question": "a", "answer": ["$5", "five"]}, {"question": "b", "answer": []}]
    either, nothing = load_tasks(own_file(tmp_path, rows))
    assert (either.verifier, either.reference) == ("exact", ["$5", "five"])
    assert score("<answer>Five</answer>", either).value is True
    assert nothing.reference is None


def test_true_and_false_are_the_words(tmp_path: Path) -> None:
    rows = [{"question": "a", "answer": True}, {"question": "b", "options": [True, False], "answer": False}]
    truth, choice = load_tasks(own_file(tmp_path, rows))
    assert (truth.reference, choice.reference) == ("true", "B")
    assert "A. true\nB. false" in choice.question


def test_a_missing_number_leaves_the_answer_unscored(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"question": ["a", "b"], "answer": [float("nan"), 4.0]}), tmp_path / "q.parquet")
    unknown, known = load_tasks(str(tmp_path / "q.parquet"))
    assert (unknown.reference, known.reference) == (None, "4.0")
    assert score("4", unknown).value is None


def test_text_answers_of_an_own_file_are_asked_for_between_tags(tmp_path: Path) -> None:
    told, without_reference = load_tasks(own_file(tmp_path, [{"question": "a", "answer": "yes"}, {"question": "b"}]))
    assert told.question.endswith("<answer> and </answer>.")
    assert without_reference.question == "b"
    assert score("I think so: <answer>Yes</answer>", told).value is True


def test_columns_and_verifier_can_be_named(tmp_path: Path) -> None:
    path = own_file(tmp_path, [{"frage": "2+2?", "lösung": "4", "nr": 7, "question": "no"}])
    columns = {"question": "frage", "answer": "lösung", "id": "nr"}
    (task,) = load_tasks(path, LoadOptions(columns=columns, verifier="exact", format_line=False))
    assert (task.id, task.question, task.reference, task.verifier) == ("own/7", "2+2?", "4", "exact")


def test_options_make_a_choice_task(tmp_path: Path) -> None:
    rows = [
        {"question": "Sky?", "options": ["red", "blue"], "answer": "blue"},
        {"question": "Sun?", "options": ["hot", "cold"], "answer": "a"},
    ]
    first, second = load_tasks(own_file(tmp_path, rows))
    assert "A. red\nB. blue" in first.question
    assert (first.reference, second.reference) == ("B", "A")
    assert score("The answer is (B).", first).value is True


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ({"answer": "4"}, {}, "line 1: there is no column 'question'; its columns: answer"),
        ({"question": " ", "answer": "4"}, {}, "line 1: the column 'question' is empty"),
        ({"questions": "a"}, {}, "did you mean 'questions'"),
        ({"question": "a"}, {"columns": {"answer": "solutoin"}}, "line 1: there is no column 'solutoin'"),
        ({"question": "a"}, {"columns": {"anwser": "b"}}, "did you mean 'answer'"),
        ({"question": "a", "answer": "4"}, {"verifier": "numbr"}, "did you mean 'number'"),
        ({"question": "a", "options": ["x", "y"], "answer": "z"}, {}, "line 1: the answer 'z' is neither"),
        ({"question": "a", "options": "x", "answer": "x"}, {}, "line 1: expected a list of 2 to 10 options"),
        ({"question": "a", "options": "[" * 100_000, "answer": "x"}, {}, "line 1: expected a list of 2 to 10 options"),
        ({"question": "a", "options": ["x", None], "answer": "x"}, {}, "line 1: an option is null"),
        ({"question": ["a"], "answer": "4"}, {}, "line 1: the column 'question' holds a list"),
        ({"question": "a", "id": {"b": 4}}, {}, "line 1: the id is an object, not text or a number"),
        ({"question": "a", "answer": {"b": 4}}, {}, "line 1: the answer is an object, not text or a number"),
        ({"question": "a", "answer": ["b", None]}, {}, "line 1: an answer of the list is null"),
        (
            {"question": "a", "answer": ["4"]},
            {"verifier": "number"},
            "line 1: the answer is a list, which the verifier",
        ),
        ({"question": "a", "answer": []}, {"columns": {"answer": "answer"}}, "'answer' holds an empty list"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(
    tmp_path: Path, row: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_tasks(own_file(tmp_path, [row]), LoadOptions(**options))


def test_two_rows_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"line 2 has the same id as .*line 1"):
        load_tasks(own_file(tmp_path, [{"id": 1, "question": "a"}, {"id": 1, "question": "b"}]))


def test_parquet_and_csv_give_the_same_tasks(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"question": ["2+2?"], "answer": ["4"]}), tmp_path / "own.parquet")
    (tmp_path / "own.csv").write_text("question,answer\n2+2?,4\n")
    assert load_tasks(str(tmp_path / "own.parquet")) == load_tasks(str(tmp_path / "own.csv"))
