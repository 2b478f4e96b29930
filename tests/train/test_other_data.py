"""A run that goes on must find what it began with, and questions to be held out must not be trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taut.core import Task
from tests.train.conftest import Told
from tests.train.made import question_row, sum_row, write_rows
from tests.train.running import train

pytestmark = [pytest.mark.transformers, pytest.mark.timeout(300)]


@pytest.fixture
def stopped(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """A run with held-out questions and validation rows, stopped after the first of two steps, and its settings."""
    from taut.train.watching import Watch

    def is_stopped(watch: Watch) -> bool:
        watch.stop.wanted = watch.trainer.state.global_step == 1
        return watch.stop.wanted

    rows = write_rows(tmp_path / "rows.jsonl", [sum_row(index) for index in range(8)])
    validation = write_rows(tmp_path / "validation.jsonl", [sum_row(index) for index in range(8, 10)])
    held_out = write_rows(tmp_path / "held.jsonl", [question_row(index) for index in range(90, 92)])
    settings = [f"model.path={tiny}", f"data.train={rows}", f"data.validation={validation}"]
    settings += [f"held_out.tasks={held_out}", "held_out.max_tokens=4", "sft.steps=2", "sft.checkpoint_every_steps=1"]
    with monkeypatch.context() as patch:
        patch.setattr(Watch, "_is_stopped", is_stopped)
        assert train("sft", tmp_path / "run", *settings) == 130
    return tmp_path / "run", settings


@pytest.mark.parametrize(
    ("file", "rows", "named"),
    [
        ("held.jsonl", [question_row(index) for index in range(92, 95)], "held-out questions"),
        ("held.jsonl", [question_row(90), question_row(91, answer="7")], "held-out questions"),
        ("validation.jsonl", [sum_row(11)], "validation rows"),
        ("rows.jsonl", [sum_row(index) for index in range(7)], "rows"),
    ],
)
def test_a_run_does_not_go_on_with_other_files(
    stopped: tuple[Path, list[str]], file: str, rows: list[dict[str, Any]], named: str, tmp_path: Path, told: Told
) -> None:
    out, settings = stopped
    before = (tmp_path / file).read_bytes()
    write_rows(tmp_path / file, rows)
    assert train("sft", out, *settings) == 2
    assert f"began with other {named} than there are now: put the files back" in told()
    (tmp_path / file).write_bytes(before)
    assert train("sft", out, *settings) == 0


def test_statistics_that_were_kept_serve_the_same_questions_only(tmp_path: Path) -> None:
    from taut.rollouts import Reference
    from taut.train.reference import _asked, _load

    def task(name: str, text: str) -> Task:
        return Task(name, ({"role": "user", "content": text},), "1")

    first = task("q", "What is 0 + 1?")
    file = tmp_path / "reference.jsonl"
    file.write_text(json.dumps({"question": "q", "asked": _asked(first), "mean_tokens": 3.5, "accuracy": 0.5}) + "\n")
    assert _load(file, {"q": _asked(first)}) == {"q": Reference(3.5, 0.5)}
    assert _load(file, {"q": _asked(task("q", "What is 1 + 0?"))}) is None


def test_statistics_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    from taut.errors import UsageError
    from taut.train.reference import _load

    file = tmp_path / "reference.jsonl"
    file.write_text('{"question": "q", "asked": "a", "mean_tokens": "x", "accuracy": 1}\n')
    with pytest.raises(UsageError, match=r"cannot read .*reference.jsonl: Expected `float`.*delete it"):
        _load(file, {})


@pytest.mark.parametrize(
    ("name", "text", "refused"),
    [
        ("other", "What is 9 + 9?", True),
        ("sum-99", "What is 9 + 9? <|eot_id|>0.5<|eot_id|>", True),
        ("sum-99", "In short: What is 9 + 9?", True),
        ("sum-99", "What is 8 + 9?", False),
        ("other", "What is 9 + 9? In short.", False),
        ("", "What is 9 + 9? In short.", False),
    ],
)
def test_a_held_out_question_is_known_again_under_what_was_added_to_it(
    tiny: Path, name: str, text: str, refused: bool, tmp_path: Path, told: Told
) -> None:
    row = {**sum_row(99), "prompt": [{"role": "user", "content": text}], **({"id": name} if name else {})}
    rows = write_rows(tmp_path / "rows.jsonl", [row])
    held_out = write_rows(tmp_path / "held.jsonl", [question_row(99)])
    more = (f"held_out.tasks={held_out}", "held_out.max_tokens=2", "sft.steps=1")
    assert train("sft", tmp_path / "run", f"model.path={tiny}", f"data.train={rows}", *more) == (2 if refused else 0)
    assert ("1 of 1 held-out questions are trained on too, the first is sum-99" in told()) is refused


def test_traces_that_changed_are_read_anew(tiny: Path, tmp_path: Path) -> None:
    from taut.cli import main

    questions = write_rows(tmp_path / "sums.jsonl", [question_row(index) for index in range(11, 15)])
    out, learnt = tmp_path / "run", []
    for limit in ("2", "4"):
        bench = tmp_path / f"bench-{limit}"
        asked = ["--engine", "fake", "--task", str(questions), "--verifier", "number", "--limit", limit]
        assert main(["bench", *asked, "--preset", "direct", "--out", str(bench)]) == 0
        traces = tmp_path / "traces.jsonl"
        traces.write_bytes((bench / "traces.jsonl").read_bytes())
        steps = ("distill.steps=1", "distill.batch_size=2")
        wrong = ("held_out.tasks=tally?split=nowhere",) if limit == "2" else ()
        code = train("distill", out, f"model.path={tiny}", f"distill.traces={traces}", *steps, *wrong)
        assert code == (2 if wrong else 0)
        learnt.append(len((out / "train.jsonl").read_bytes().splitlines()))
    assert learnt == [2, 4]
