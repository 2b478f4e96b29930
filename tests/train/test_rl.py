"""GRPO with length rewards on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taut import plugins
from taut.train.rewards import GROUP
from tests.train.made import pair_row, question_row, sum_row, write_rows
from tests.train.running import kill_at, log_of, train

pytestmark = [pytest.mark.transformers, pytest.mark.timeout(300)]

REWARDS = sorted(plugins.entries(GROUP))


@pytest.fixture(scope="session")
def taught(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model after it has learned eight sums by heart, each with a short thought and with a long one."""
    folder = tmp_path_factory.mktemp("taught")
    long = [{**sum_row(index), "completion": pair_row(index)["rejected"]} for index in range(8)]
    rows = write_rows(folder / "rows.jsonl", [*(sum_row(index) for index in range(8)), *long])
    out = folder / "run"
    settings = ["sft.steps=160", "sft.learning_rate=1e-2", "sft.batch_size=16", "sft.device_batch_size=16"]
    settings += ["sft.log_every_steps=40"]
    assert train("sft", out, f"model.path={tiny}", f"data.train={rows}", *settings) == 0
    return out / "model"


def test_a_length_reward_shortens_the_rollouts(settings: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    more = ("rl.batch_size=8", "rl.device_batch_size=64", "rl.num_generations=8", "rl.max_completion_tokens=64")
    assert train("rl", out, *settings, *more, "rl.reward=kimi", "rl.learning_rate=3e-3", "rl.steps=6") == 0
    lengths = [line["completion_tokens"] for line in log_of(out) if "reward" in line]
    assert lengths[-1] < 0.8 * lengths[0]


@pytest.fixture
def settings(taught: Path, tmp_path: Path) -> list[str]:
    questions = write_rows(tmp_path / "questions.jsonl", [question_row(index, wanted_tokens=12) for index in range(8)])
    return [
        f"model.path={taught}",
        f"data.train={questions}",
        "rl.reward=plain",
        "rl.steps=1",
        "rl.batch_size=2",
        "rl.num_generations=4",
        "rl.max_completion_tokens=32",
        "rl.learning_rate=1e-3",
        "rl.reference_samples=2",
    ]


def first(out: Path) -> dict[str, Any]:
    return next(line for line in log_of(out) if "reward" in line)


@pytest.mark.parametrize("reward", REWARDS)
def test_every_length_reward_trains(settings: list[str], tmp_path: Path, reward: str) -> None:
    out = tmp_path / "run"
    extra = ["rl.loss=grpo"] if reward == "thinkless" else []
    assert train("rl", out, *settings, f"rl.reward={reward}", *extra) == 0
    line = first(out)
    assert line["not_judged_share"] == 0
    assert 0 <= line["rollout_thinking_tokens"] <= line["completion_tokens"] <= 32


def test_a_killed_run_goes_on_with_the_same_curve_and_memory(settings: list[str], tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    questions = write_rows(tmp_path / "held.jsonl", [question_row(index) for index in range(90, 94)])
    long = [
        *settings,
        "rl.reward=hapo",
        "rl.steps=8",
        "rl.checkpoint_every_steps=3",
        f"held_out.tasks={questions}",
        "held_out.every_steps=2",
        "held_out.max_tokens=16",
        "held_out.temperature=1",
    ]
    assert train("rl", whole, *long) == 0
    kill_at("rl", killed, 5, long)
    assert train("rl", killed, *long) == 0
    assert log_of(killed) == log_of(whole)
    states = [json.loads(path.read_text())["reward_state"] for path in marks(whole)]
    assert states == [json.loads(path.read_text())["reward_state"] for path in marks(killed)]
    assert states[-1]["memories"][0]["shortest"]


def marks(out: Path) -> list[Path]:
    return sorted(out.glob("checkpoints/*/checkpoint-*/taut.json"))


def test_statistics_of_the_start_model_are_measured_once_and_kept(settings: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train("rl", out, *settings, "rl.reward=o1_pruner") == 0
    lines = [json.loads(line) for line in (out / "reference.jsonl").read_text().splitlines()]
    assert {line["question"] for line in lines} == {f"sum-{index}" for index in range(8)}
    assert all(0 < line["mean_tokens"] <= 32 and 0 <= line["accuracy"] <= 1 for line in lines)


def test_traces_without_a_question_do_not_serve_for_statistics(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from taut.core import Call, Count, Score, Task, Trace, Usage
    from taut.traces import encode

    call = Call("generate", "e", usage=Usage(Count(1, "counted"), Count(5, "counted"), Count(3, "counted")))
    task = Task("sum-0", ({"role": "user", "content": "What is 0 + 0?"},), "0")
    traces = tmp_path / "traces.jsonl"
    traces.write_bytes(encode(Trace(task, "direct", calls=[call], answer="0", score=Score(True))))
    assert train("rl", tmp_path / "run", *settings, "rl.reward=o1_pruner", f"rl.reference={traces}") == 2
    told = capsys.readouterr().err
    assert "o1_pruner needs reference statistics" in told
    assert "has none for 7 of 8 questions, the first is sum-1" in told


def test_a_wanted_length_is_in_the_prompt_and_in_the_reward(settings: list[str], tmp_path: Path) -> None:
    from taut.core import Task
    from taut.train.recipe import Rl
    from taut.train.rewards import open_reward
    from taut.train.rl import _row

    task = Task("q", ({"role": "user", "content": "What is 1 + 1?"},), "2", "number")
    reward = open_reward("l1_exact")
    row = _row(task, reward, Rl(reward="l1_exact", wanted_tokens=(100, 100)), {})
    assert row["prompt"][0]["content"] == "What is 1 + 1? Think for 100 tokens."
    assert row["wanted_tokens"] == 100
    free = _row(task, open_reward("kimi"), Rl(reward="kimi"), {})
    assert free["prompt"][0]["content"] == "What is 1 + 1?"


def test_a_reward_that_asks_for_lengths_says_that_there_are_none(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = write_rows(tmp_path / "bare.jsonl", [question_row(1)])
    changed = (f"data.train={questions}", "rl.reward=l1_max(alpha=0.01)")
    assert train("rl", tmp_path / "run", *settings, *changed) == 2
    assert (
        "l1_max(alpha=0.01) needs the length that each question asks for, and sum-1 has none" in capsys.readouterr().err
    )


def test_it_is_told_that_held_out_questions_are_asked_in_another_way(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = write_rows(tmp_path / "held.jsonl", [question_row(90)])
    asked = (*settings, "rl.reward=l1_max", f"held_out.tasks={questions}", "held_out.max_tokens=4")
    assert train("rl", tmp_path / "run", *asked) == 0
    told = capsys.readouterr().err
    assert "end in ' Think for {wanted_tokens} tokens.', the held-out ones do not" in told
    assert train("rl", tmp_path / "alike", *asked, "held_out.instruction= Think for 12 tokens.") == 0
    assert "the held-out ones do not" not in capsys.readouterr().err
    page = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert (
        "8 questions, 2 a step with 4 rollouts each, l1_max; only 2 of the questions are reached, in 1 step of 2"
        in page
    )


def test_an_unknown_reward_names_the_nearest(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("rl", tmp_path / "run", *settings, "rl.reward=kim") == 2
    assert "(did you mean 'kimi'?)" in capsys.readouterr().err


def test_a_ceiling_that_cuts_most_rollouts_is_told(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train("rl", out, *settings, "rl.max_completion_tokens=3", "rl.steps=5") == 0
    assert "100% of the rollouts so far were cut at max_completion_tokens" in capsys.readouterr().err
    assert "**Warning:** 100% of the rollouts were cut" in (out / "README.md").read_text(encoding="utf-8")


def test_before_the_penalty_begins_only_correctness_counts(settings: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    changed = ("rl.reward=plain(alpha=0.5)", "rl.penalty_after_steps=1", "rl.steps=2")
    assert train("rl", out, *settings, *changed) == 0
    before, after = (line for line in log_of(out) if "reward" in line)
    assert before["reward"] == pytest.approx(before["correct_share"])
    assert after["reward"] < after["correct_share"] - 0.4


def test_rounds_lower_the_ceiling(settings: list[str], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[rl]\nreward = "think_prune"\n[[stages]]\nmax_completion_tokens = 24\n[[stages]]\nmax_completion_tokens = 6\n',
        encoding="utf-8",
    )
    from taut.cli import main

    changed = [part for text in settings if "reward=" not in text for part in ("--set", text)]
    out = tmp_path / "run"
    assert main(["train", "rl", str(recipe), "--out", str(out), *changed]) == 0
    lengths = {line["stage"]: line["completion_tokens"] for line in log_of(out) if "reward" in line}
    assert lengths[1] <= 6


def test_half_of_every_group_may_be_made_to_begin_without_thinking(
    settings: list[str], tmp_path: Path, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taut.train.adapters.trl import TrlReward
    from taut.train.models import open_writer
    from taut.train.recipe import ModelPart

    seen: list[list[int]] = []
    real = TrlReward.__call__

    def reward(self: TrlReward, prompts: Any, completions: Any, completion_ids: Any, **columns: Any) -> Any:
        seen.extend(completion_ids)
        return real(self, prompts, completions, completion_ids, **columns)

    monkeypatch.setattr(TrlReward, "__call__", reward)
    assert train("rl", tmp_path / "run", *settings, "rl.no_thinking_share=0.5") == 0
    closed = open_writer(ModelPart(str(taught))).ids("<think>\n\n</think>\n\n")
    forced = [ids[: len(closed)] == closed for ids in seen]
    assert forced == [False, False, True, True] * 2


@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "dapo", "bnpo"])
def test_sharing_parts_with_rollouts_of_like_length_leaves_the_step_as_it_is(
    settings: list[str], tmp_path: Path, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taut.train import trainers

    asked = (*settings, "rl.reward=kimi", f"rl.loss={loss}", "rl.device_batch_size=2")
    assert train("rl", tmp_path / "by_length", *asked) == 0
    monkeypatch.setattr(trainers, "by_length", list)
    assert train("rl", tmp_path / "as_drawn", *asked) == 0
    sorted_, drawn = first(tmp_path / "by_length"), first(tmp_path / "as_drawn")
    assert drawn["gradient_norm"] > 0
    assert sorted_["gradient_norm"] == pytest.approx(drawn["gradient_norm"], rel=1e-4)
    assert sorted_["loss"] == pytest.approx(drawn["loss"], rel=1e-4, abs=1e-6)
