"""Supervised fine-tuning of a tiny model, start to end."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from taut.train.reading import read_recipe
from tests.train.made import question_row, sum_row, write_rows
from tests.train.running import begin, kill_at, log_of, signal_at, train

pytestmark = [pytest.mark.transformers, pytest.mark.timeout(300)]


@pytest.fixture
def settings(tiny: Path, tmp_path: Path) -> list[str]:
    rows = write_rows(tmp_path / "rows.jsonl", [sum_row(index) for index in range(24)])
    return [
        f"model.path={tiny}",
        f"data.train={rows}",
        "sft.learning_rate=1e-2",
        "sft.steps=12",
        "sft.batch_size=8",
        "sft.device_batch_size=4",
        "sft.checkpoint_every_steps=3",
    ]


@pytest.fixture
def held_out(tmp_path: Path) -> list[str]:
    questions = write_rows(tmp_path / "held.jsonl", [question_row(index) for index in range(90, 96)])
    return [
        f"held_out.tasks={questions}",
        "held_out.every_steps=4",
        "held_out.max_tokens=8",
        "held_out.samples=2",
        "held_out.temperature=1",
    ]


def test_a_run_leaves_a_model_curves_and_a_page(settings: list[str], held_out: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train("sft", out, *settings, *held_out) == 0
    losses = [line["loss"] for line in log_of(out) if "loss" in line]
    assert len(losses) == 12
    assert losses[-1] < losses[0] - 2
    assert [line["step"] for line in log_of(out) if "held_out" in line] == [0, 4, 8, 12]
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names(out / "model")
    assert (out / "curves.png").stat().st_size > 5000
    assert f"taut bench --engine transformers:{out / 'model'}" in (out / "README.md").read_text(encoding="utf-8")
    assert json.loads((out / "manifest.json").read_text())["steps"] == 12
    assert read_recipe(out / "recipe.toml", "sft").settings.steps == 12


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_killed_run_goes_on_with_the_same_curve(settings: list[str], held_out: list[str], tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train("sft", whole, *settings, *held_out) == 0
    kill_at("sft", killed, 7, [*settings, *held_out])
    assert max(line["step"] for line in log_of(killed)) < 12
    assert train("sft", killed, *settings, *held_out) == 0
    assert log_of(killed) == log_of(whole)


def test_drawing_held_out_answers_does_not_touch_the_training(
    settings: list[str], held_out: list[str], tmp_path: Path
) -> None:
    without, asked = tmp_path / "without", tmp_path / "asked"
    assert train("sft", without, *settings, "sft.steps=6") == 0
    assert train("sft", asked, *settings, *held_out, "sft.steps=6", "held_out.every_steps=1") == 0
    assert [line for line in log_of(asked) if "loss" in line] == log_of(without)


def test_an_interrupted_run_saves_where_it_is_and_says_how_to_go_on(settings: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    long = [*settings, "sft.steps=4000", "sft.checkpoint_every_steps=1000"]
    process = begin("sft", out, long)
    told = signal_at(process, out, 2, signal.SIGINT)
    assert process.returncode == 130, told
    assert "stopping once this step is done; the same again ends at once" in told
    assert "the same command goes on from there" in told
    (mark,) = out.glob("checkpoints/stage-0/checkpoint-*/taut.json")
    assert f"stopped at step {json.loads(mark.read_text())['step']}" in told


def test_a_finished_run_is_not_trained_again(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    short = [*settings, "sft.steps=1"]
    assert train("sft", out, *short) == 0
    before = log_of(out)
    assert train("sft", out, *short) == 0
    assert "is finished already" in capsys.readouterr().err
    assert log_of(out) == before


def test_stages_follow_the_column_of_the_rows_each_with_a_new_optimiser(settings: list[str], tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "staged.jsonl", [sum_row(index, stage=index % 2) for index in range(16)])
    out = tmp_path / "run"
    changed = [*settings, f"data.train={rows}", "sft.steps=3", "sft.schedule=linear"]
    assert train("sft", out, *changed) == 0
    lines = log_of(out)
    assert [(line["step"], line["stage"]) for line in lines] == [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1)]
    # The learning rate begins anew: it is not the tail of the first stage's.
    assert lines[3]["learning_rate"] == lines[0]["learning_rate"] == pytest.approx(1e-2)
    assert names(out / "checkpoints") == {"stage-1"}


def test_a_run_killed_in_its_second_stage_goes_on_there(settings: list[str], tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "staged.jsonl", [sum_row(index, stage=index % 2) for index in range(16)])
    changed = [*settings, f"data.train={rows}", "sft.steps=5", "sft.checkpoint_every_steps=2", "lora.rank=2"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train("sft", whole, *changed) == 0
    kill_at("sft", killed, 8, changed)
    assert train("sft", killed, *changed) == 0
    assert log_of(killed) == log_of(whole)
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names(killed / "model")


def test_a_folder_of_another_recipe_is_refused(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train("sft", out, *settings, "sft.steps=1") == 0
    assert train("sft", out, *settings, "sft.steps=1", "sft.learning_rate=1e-3") == 2
    assert "holds a run of another recipe: sft.learning_rate was 0.01 and is 0.001" in capsys.readouterr().err


def test_a_recipe_whose_data_could_not_be_read_may_be_mended(settings: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train("sft", out, *settings, "sft.steps=1", f"data.train={tmp_path / 'nowhere.jsonl'}") == 2
    assert train("sft", out, *settings, "sft.steps=1") == 0


def test_held_out_questions_that_are_trained_on_are_refused(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = write_rows(tmp_path / "held.jsonl", [question_row(3), question_row(93)])
    assert train("sft", tmp_path / "run", *settings, f"held_out.tasks={questions}") == 2
    assert "1 of 2 held-out questions are trained on too, the first is sum-3" in capsys.readouterr().err


def test_when_memory_ends_it_is_said_what_to_lower(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from taut.train import trainers

    real = trainers.ExampleTrainer.training_step

    def step(self: Any, *arguments: Any, **more: Any) -> Any:
        if self.state.global_step == 4:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")
        return real(self, *arguments, **more)

    monkeypatch.setattr(trainers.ExampleTrainer, "training_step", step)
    out = tmp_path / "run"
    assert train("sft", out, *settings) == 2
    told = capsys.readouterr().err
    assert "lower device_batch_size (now 4), batch_size (now 8), max_length_tokens (now 1024)" in told
    assert "the checkpoint of step 3 is kept in" in told
    assert (out / "checkpoints" / "stage-0" / "checkpoint-3" / "taut.json").exists()


def test_a_loss_that_is_no_number_ends_the_run(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("sft", tmp_path / "run", *settings, "sft.learning_rate=1e30", "sft.max_gradient_norm=1e30") == 2
    assert "lower learning_rate" in capsys.readouterr().err
