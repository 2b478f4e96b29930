"""What a training shows: the note of its progress, the picture, the page, and the log that survives a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taut.train.curves import draw_curves, series
from taut.train.progress import Progress
from taut.train.run_folder import Checkpoint, RunFolder, append, mark, read_log

LINES: list[dict[str, Any]] = [
    {"step": 0, "held_out": {"accuracy": 0.5, "low": 0.3, "high": 0.7, "questions": 20, "thinking_tokens": 90.0}},
    {"step": 1, "reward": 0.1, "completion_tokens": 120.0},
    {"step": 2, "reward": 0.4, "completion_tokens": 80.0},
    {"step": 2, "held_out": {"accuracy": 0.6, "low": 0.4, "high": 0.8, "questions": 20, "thinking_tokens": 40.0}},
]


def test_the_note_says_reward_length_tokens_and_accuracy() -> None:
    progress = Progress(shown=False)
    progress.begin(0, 10, tokens=0)
    shares = {"correct_share": 0.5, "truncated_share": 0.25}
    progress.log({"loss": 0.0, "reward": 0.25, "completion_tokens": 1234.4, "tokens": 5000, **shares})
    progress.held_out("60% right in 80 tokens")
    note = progress.note()
    assert note.startswith("reward 0.250  50% right  1,234 tokens a rollout, 25% cut  5,000 tokens, ")
    assert note.endswith("tok/s  held out: 60% right in 80 tokens")


def test_where_nobody_watches_the_end_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.begin(0, 2, tokens=0)
    for done in (1, 2, 2):
        progress.step(done)
    assert capsys.readouterr().err.count("2/2 steps") == 1


def test_a_helper_of_a_distributed_training_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(shown=False)
    progress.begin(0, 1, tokens=0)
    progress.step(1)
    progress.say("anything")
    assert capsys.readouterr().err == ""


def test_a_series_takes_held_out_numbers_too() -> None:
    assert series(LINES, "completion_tokens") == ([1, 2], [120.0, 80.0])
    assert series(LINES, "thinking_tokens") == ([0, 2], [90.0, 40.0])


def test_what_is_cut_among_held_out_answers_is_not_drawn_as_cut_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    from taut.train import curves

    read: list[tuple[list[int], list[float]]] = []

    def reading(lines: curves.Lines, name: str) -> tuple[list[int], list[float]]:
        read.append(series(lines, name))
        return read[-1]

    monkeypatch.setattr(curves, "series", reading)
    lines: list[dict[str, Any]] = [
        {"step": 0, "held_out": {"truncated_share": 0.5}},
        {"step": 1, "correct_share": 1.0, "truncated_share": 0.25},
    ]
    assert curves._rollouts(None, lines)
    assert read == [([1], [1.0]), ([1], [0.25])]


def held_out_line(step: int, thinking: list[int]) -> dict[str, Any]:
    from taut.train.generation import Drawn
    from taut.train.held_out import standing

    drawn = [Drawn(f"q{index}", True, tokens, tokens + 5, finished=True) for index, tokens in enumerate(thinking)]
    found = standing(drawn)
    return {"step": step, "held_out": found.as_line()}


def test_the_thinking_is_compared_with_the_starts_question_by_question() -> None:
    from taut.train.held_out import Standing, ratio_in_words

    before, after = held_out_line(0, [100] * 10), held_out_line(8, [40, 60] * 5)
    start = before["held_out"]["thinking_by_question"]
    shorter = Standing(**after["held_out"]).against(start)
    assert shorter.thinking_ratio == 0.5
    assert shorter.thinking_ratio_high is not None
    assert shorter.thinking_ratio_high < 0.6
    assert ratio_in_words(shorter.as_line()).startswith("; thinking x 0.50 (95 % interval 0.")
    same = Standing(**before["held_out"]).against(start)
    assert ratio_in_words(same.as_line()).endswith(
        "(95 % interval 1.00 to 1.00) of the start's; longer or shorter is open"
    )
    assert Standing(**after["held_out"]).against([1, 2]).thinking_ratio is None
    few = Standing(**held_out_line(1, [5, 5])["held_out"]).against([10, 10])
    assert ratio_in_words(few.as_line()) == "; thinking x 0.50 of the start's, too few questions for an interval"


def test_the_curves_are_a_picture_and_nothing_without_a_line(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_curves(LINES, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    draw_curves([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_checkpoint_counts_only_when_it_is_whole(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in (2, 4):
        (run.stage(0) / f"checkpoint-{step}").mkdir(parents=True)
    whole = Checkpoint(run.stage(0) / "checkpoint-2", 0, 2, 0, tokens=7, reward_state={"a": 1})
    mark(whole)
    assert run.last() == whole
    for step in (1, 2, 3):
        append(run.log, {"step": step, "loss": 1.0})
    with run.log.open("a", encoding="utf-8") as file:
        file.write('{"step": 4, "lo')
    run.forget_after(whole)
    assert [line["step"] for line in read_log(run.log)] == [1, 2]
    assert not (run.stage(0) / "checkpoint-4").exists()


def test_the_later_stage_is_the_last(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for stage, step in ((0, 12), (1, 3)):
        folder = run.stage(stage) / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        mark(Checkpoint(folder, stage, step, 12 * stage))
    last = run.last()
    assert last is not None
    assert (last.stage, last.total_step) == (1, 15)


def test_a_busy_machine_is_told_to_train_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from taut.train.models import busy

    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("os.getloadavg", lambda: (5.5, 0.0, 0.0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert "(load 5.5 on 4 cores) and torch has 4 threads: OMP_NUM_THREADS=1" in busy("cpu")
    assert not busy("cuda")
    monkeypatch.setattr("os.getloadavg", lambda: (0.5, 0.0, 0.0))
    assert not busy("cpu")
