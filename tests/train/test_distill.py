"""Learning from the traces of a stronger model, here the fake engine that always adds right."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from pathlib import Path

import pytest

from taut.cli import main
from tests.made_run import made_trace
from tests.train.made import question_row, write_rows
from tests.train.running import train

pytestmark = [pytest.mark.transformers, pytest.mark.timeout(300)]

STEPS = ("distill.steps=2", "distill.batch_size=4")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "sums.jsonl", [question_row(index) for index in range(11, 15)])


def completions(out: Path) -> list[str]:
    lines = (out / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["completion"][0]["content"] for line in lines]


def test_right_traces_are_learned_in_the_students_tags(tiny: Path, questions: Path, tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    asked = ["--engine", "fake", "--task", str(questions), "--verifier", "number", "--preset", "direct"]
    assert main(["bench", *asked, "--rollouts", "2", "--out", str(bench)]) == 0
    out = tmp_path / "run"
    traces = bench / "traces.jsonl"
    assert train("distill", out, f"model.path={tiny}", f"distill.traces={traces}", *STEPS) == 0
    learned = completions(out)
    assert len(learned) == 8
    assert all(text.startswith("<think>\n") and "</think>" in text for text in learned)
    assert (out / "model" / "model.safetensors").exists()


def test_the_teacher_may_be_asked_first(tiny: Path, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    teacher = (f"data.tasks={questions}", "distill.teacher=fake", "distill.builder=shortest_correct")
    assert train("distill", out, f"model.path={tiny}", *teacher, "distill.rollouts=2", *STEPS) == 0
    assert len((out / "teacher" / "traces.jsonl").read_bytes().splitlines()) == 8
    assert len(completions(out)) == 4


def test_traces_without_a_right_answer_are_refused(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = write_rows(tmp_path / "wrong.jsonl", [question_row(index, answer="-1") for index in range(11, 15)])
    out = tmp_path / "run"
    assert train("distill", out, f"model.path={tiny}", f"data.tasks={wrong}", "distill.teacher=fake", *STEPS) == 2
    assert "none is right: 4 wrong" in capsys.readouterr().err


def test_something_to_learn_from_is_needed(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("distill", tmp_path / "run", f"model.path={tiny}", *STEPS) == 2
    assert "distill learns from distill.traces" in capsys.readouterr().err


def test_a_limit_is_of_questions_and_keeps_every_answer(tiny: Path, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    teacher = (f"data.tasks={questions}", "distill.teacher=fake", "distill.rollouts=3", "data.limit=2")
    assert train("distill", out, f"model.path={tiny}", *teacher, *STEPS) == 0
    assert "6 examples" in (out / "README.md").read_text(encoding="utf-8")


def test_what_a_teacher_was_paid_for_is_named_where_another_recipe_is_refused(
    tiny: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    teacher = (f"model.path={tiny}", f"data.tasks={questions}", "distill.teacher=fake", *STEPS)
    assert train("distill", out, *teacher, "distill.max_length_tokens=5") == 2
    assert train("distill", out, *teacher) == 2
    assert f"distill.traces={out / 'teacher' / 'traces.jsonl'} uses its answers" in capsys.readouterr().err


def test_a_teacher_that_could_not_be_reached_may_be_replaced(tiny: Path, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = (f"model.path={tiny}", f"data.tasks={questions}", *STEPS)
    assert train("distill", out, *settings, "distill.teacher=http://127.0.0.1:9") != 0
    assert train("distill", out, *settings, "distill.teacher=fake") == 0


def test_a_teacher_that_is_gone_is_asked_again_by_the_same_command(
    tiny: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from taut import bench
    from taut.errors import EngineError
    from taut.train import distill

    async def gone(*_: object, resumed_by: str, **__: object) -> None:
        failed = made_trace("direct", "q", error="cannot reach it")
        failed.error_kind = "unreachable"
        bench._stop_if_the_server_is_gone(deque([failed], maxlen=1), resumed_by)

    monkeypatch.setattr(distill, "sweep", gone)
    teacher = (f"data.tasks={questions}", "distill.teacher=fake")
    assert train("distill", tmp_path / "run", f"model.path={tiny}", *teacher, *STEPS) == 2
    assert "what was done is kept, and the same command asks the failed ones again" in capsys.readouterr().err
    with pytest.raises(EngineError, match="--resume asks the failed ones again"):
        asyncio.run(gone(resumed_by="--resume"))
