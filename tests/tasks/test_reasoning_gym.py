"""Procedural questions: repeatable, independent of the limit, judged from a trace alone."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest

from taut.errors import UsageError
from taut.tasks import LoadOptions, load_tasks
from taut.verify import _procedural, score

pytest.importorskip("reasoning_gym", reason="the extra 'procedural' is not installed")


def test_a_question_depends_on_seed_and_number_only() -> None:
    five = load_tasks("reasoning_gym:chain_sum", LoadOptions(limit=5, seed=7))
    assert load_tasks("reasoning_gym:chain_sum", LoadOptions(limit=2, seed=7, offset=3)) == five[3:]
    assert [task.id for task in five] == [f"reasoning_gym/chain_sum/default/7/{index}" for index in range(5)]


def test_difficulties_differ_in_size() -> None:
    lengths = [
        len(load_tasks("reasoning_gym:number_sorting", LoadOptions(limit=1, difficulty=level))[0].question)
        for level in ("easy", "medium", "hard")
    ]
    assert lengths == sorted(set(lengths))


@pytest.mark.parametrize("name", ["chain_sum", "word_sorting", "rearc", "knights_knaves", "graph_color"])
def test_an_answer_is_judged_after_a_trip_through_json(name: str) -> None:
    (task,) = load_tasks(f"reasoning_gym:{name}", LoadOptions(limit=1, seed=3))
    metadata = msgspec.json.decode(msgspec.json.encode(task.metadata))
    restored = replace(task, metadata=metadata)
    assert score("no idea", restored).value is False
    if task.reference is not None:
        assert score(f"<answer>{task.reference}</answer>", restored).value is True


@pytest.mark.parametrize(
    "answer", ["{}", "The answer is {}.", "7 then <answer>{}</answer> then 9", r"\boxed{{{}}}", "#### {}"]
)
def test_the_answer_is_found_in_the_usual_forms(answer: str) -> None:
    (task,) = load_tasks("reasoning_gym:chain_sum", LoadOptions(limit=1))
    assert score(answer.format(task.reference), task).value is True
    assert score(answer.format(f"{int(task.reference):,}"), task).value is True


def test_a_question_of_another_version_is_unscored() -> None:
    (task,) = load_tasks("reasoning_gym:chain_sum", LoadOptions(limit=1))
    other = replace(task, messages=({"role": "user", "content": "Something else?"},))
    assert score(str(task.reference), other).value is None
    assert score(str(task.reference), replace(task, metadata={})).value is None


@pytest.mark.parametrize(
    ("name", "difficulty", "message"),
    [
        ("chain_sum", "hrad", "no difficulty 'hrad' .did you mean 'hard'"),
        ("composite", None, "no dataset 'composite'"),
        ("caesar_cipher", "hard", "cannot make a question of caesar_cipher at difficulty hard"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(name: str, difficulty: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_tasks(f"reasoning_gym:{name}", LoadOptions(limit=1, difficulty=difficulty))


def test_datasets_that_follow_the_hash_seed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_procedural, "sys", SimpleNamespace(flags=SimpleNamespace(hash_randomization=1)))
    with pytest.raises(UsageError, match="set PYTHONHASHSEED=0"):
        load_tasks("reasoning_gym:ransom_note", LoadOptions(limit=1))


def test_they_are_made_where_it_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_procedural, "sys", SimpleNamespace(flags=SimpleNamespace(hash_randomization=0)))
    assert len(load_tasks("reasoning_gym:ransom_note", LoadOptions(limit=2))) == 2
