"""What cannot be trained on, or gone on from, is said in one sentence; nothing is trained on in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.train.conftest import Told
from tests.train.made import pair_row, question_row, sum_row, write_rows
from tests.train.running import log_of, train

pytestmark = [pytest.mark.transformers, pytest.mark.timeout(300)]


@pytest.fixture
def sft(tiny: Path, tmp_path: Path) -> list[str]:
    rows = write_rows(tmp_path / "rows.jsonl", [sum_row(index) for index in range(24)])
    return [f"model.path={tiny}", f"data.train={rows}", "sft.batch_size=8", "sft.checkpoint_every_steps=1"]


@pytest.fixture
def rl(tiny: Path, tmp_path: Path) -> list[str]:
    questions = write_rows(tmp_path / "questions.jsonl", [question_row(index) for index in range(4)])
    sizes = ["rl.steps=1", "rl.batch_size=2", "rl.num_generations=2", "rl.max_completion_tokens=6"]
    return [f"model.path={tiny}", f"data.train={questions}", "rl.reward=plain", *sizes]


def half_done(settings: list[str], out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of two steps that was stopped after the first; its checkpoint."""
    from taut.train.watching import Watch

    def is_stopped(watch: Watch) -> bool:
        watch.stop.wanted = watch.trainer.state.global_step == 1
        return watch.stop.wanted

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "_is_stopped", is_stopped)
        assert train("sft", out, *settings, "sft.steps=2") == 130
    return out / "checkpoints" / "stage-0" / "checkpoint-1"


@pytest.mark.parametrize(
    ("kind", "setting", "words"),
    [
        ("sft", "sft.learning_rate=inf", "sft.learning_rate is inf; it must be a finite number"),
        ("sft", "sft.epochs=-1", "sft.epochs is -1; it must be above 0"),
        ("sft", "sft.max_gradient_norm=0", "sft.max_gradient_norm is 0; it must be above 0"),
        ("rl", "rl.temperature=1e-40", "rl.temperature is 1e-40; it must be at least 0.01"),
        ("sft", "sft.seed=-1", "sft.seed is -1; it must be at least 0 and at most"),
        ("sft", "sft.seed=4294967296", "it must be at least 0 and at most 4.29497e+09"),
        ("sft", "lora.dropout=-1", "lora.dropout is -1; it must be at least 0 and at most 0.99"),
        ("sft", "lora.alpha=-3", "lora.alpha is -3; it must be above 0"),
        ("sft", "lora.rank=999999999", "it must be at least 1 and at most 8192"),
        ("rl", "rl.top_p=nan", "rl.top_p is nan; it must be a finite number"),
        ("rl", "rl.kl_weight=-1", "rl.kl_weight is -1; it must be at least 0"),
        ("dpo", "dpo.beta=0", "dpo.beta is 0; it must be above 0"),
        ("dpo", "dpo.label_smoothing=0.5", "dpo.label_smoothing is 0.5; it must be at least 0 and at most 0.49"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    kind: str, setting: str, words: str, sft: list[str], rl: list[str], tmp_path: Path, told: Told
) -> None:
    settings = rl if kind == "rl" else sft[:2]
    assert train(kind, tmp_path / "run", *settings, setting) == 2
    assert words in told()


def test_fewer_questions_than_a_step_takes_are_refused(rl: list[str], tmp_path: Path, told: Told) -> None:
    assert train("rl", tmp_path / "run", *rl, "rl.batch_size=10") == 2
    assert "rl.batch_size is 10 questions and there are 4: lower it" in told()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"metadata": "text"}, "questions.jsonl, line 5: the column 'metadata' must be an object"),
        ({"prompt": [{"role": "user"}]}, "questions.jsonl, line 5, has no question"),
        ({"prompt": [{"role": "user", "content": ["a"]}]}, "questions.jsonl, line 5, has no question"),
        ({"prompt": [{"role": "user", "content": [{"type": "image", "x": 1}]}]}, "line 5, has no question"),
        ({"wanted_tokens": 0}, "questions.jsonl, line 5: wanted_tokens is 0; it must be at least 1"),
        ({"wanted_tokens": 10**26}, "it must be at least 1 and at most 1,000,000,000"),
        ({"answer": ["1", "2"]}, "some answers are lists and others are not"),
    ],
)
def test_a_question_that_is_none_is_named(
    row: dict[str, Any], words: str, rl: list[str], tmp_path: Path, told: Told
) -> None:
    write_rows(tmp_path / "questions.jsonl", [*map(question_row, range(4)), {**question_row(4), **row}])
    assert train("rl", tmp_path / "run", *rl) == 2
    assert words in told()


def test_a_reward_that_compares_with_not_thinking_wants_a_model_that_thinks(
    rl: list[str], tmp_path: Path, told: Told
) -> None:
    assert train("rl", tmp_path / "run", *rl, "rl.reward=thinkless", "model.dialect=plain") == 2
    assert "no tags of thinking are known for this model (dialect plain)" in told()
    assert train("rl", tmp_path / "run", *rl, "rl.no_thinking_share=0.1") == 2
    assert "rl.no_thinking_share is 0.1: of 2 rollouts that leaves none of one kind" in told()


def test_statistics_of_another_question_of_the_same_name_do_not_serve(
    rl: list[str], tmp_path: Path, told: Told
) -> None:
    from taut.core import Call, Count, Score, Task, Trace, Usage
    from taut.traces import encode

    def trace(preset: str, question: str) -> bytes:
        call = Call("generate", "e", usage=Usage(Count(1, "counted"), Count(5, "counted"), Count(3, "counted")))
        task = Task("sum-0", ({"role": "user", "content": question},), "0")
        return encode(Trace(task, preset, calls=[call], answer="0", score=Score(True)))

    traces = tmp_path / "traces.jsonl"
    asks = (*rl, "rl.reward=o1_pruner", f"rl.reference={traces}")
    traces.write_bytes(trace("direct", "What is 8 + 8?"))
    assert train("rl", tmp_path / "run", *asks) == 2
    assert "has another question than the training under the name sum-0" in told()
    traces.write_bytes(trace("direct", "What is 0 + 0?") + trace("concise", "What is 0 + 0?\nIn short."))
    assert train("rl", tmp_path / "run", *asks) == 2
    assert "has answers of several presets (concise, direct)" in told()


def test_statistics_are_measured_anew_only_where_the_recipe_changes_what_they_are_of(
    rl: list[str], tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taut.errors import UsageError
    from taut.train import loop

    def fail(*_: Any) -> None:
        raise UsageError("no model today")

    asks = (*rl, "rl.reward=o1_pruner", "rl.reference_samples=1")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "open_model", fail)
        for setting, measured in (
            ("rl.learning_rate=1e-4", 1),
            ("rl.learning_rate=1e-5", 0),
            ("rl.temperature=0.9", 1),
        ):
            assert train("rl", tmp_path / "run", *asks, setting) == 2
            assert told().count("asking the start model 4 questions 1 times each") == measured
    assert train("rl", tmp_path / "run", *asks) == 0


@pytest.mark.parametrize("damage", ["remove", "cut"])
def test_a_checkpoint_that_is_not_whole_is_not_gone_on_from(
    damage: str, sft: list[str], tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = half_done(sft, tmp_path / "run", monkeypatch)
    file = checkpoint / "optimizer.pt"
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:1000])
    assert train("sft", tmp_path / "run", *sft, "sft.steps=2") == 2
    said = told()
    assert f"{file} {'is missing' if damage == 'remove' else 'has 1,000 bytes of'}" in said
    assert f"delete {checkpoint} to go on from the checkpoint before" in said


def test_an_older_checkpoint_that_was_half_deleted_is_in_nobodys_way(tmp_path: Path) -> None:
    from taut.train.run_folder import Checkpoint, RunFolder, mark

    run = RunFolder(tmp_path)
    for step in (1, 2):
        folder = run.stage(0) / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "optimizer.pt").write_bytes(b"state")
        mark(Checkpoint(folder, 0, step, 0))
    (run.stage(0) / "checkpoint-1" / "optimizer.pt").unlink()
    last = run.last()
    assert last is not None
    assert last.step == 2


def test_a_run_does_not_go_on_with_other_rows(
    sft: list[str], tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_done(sft, tmp_path / "run", monkeypatch)
    write_rows(tmp_path / "rows.jsonl", [sum_row(index) for index in range(30)])
    assert train("sft", tmp_path / "run", *sft, "sft.steps=2") == 2
    assert "began with other rows than there are now" in told()
    write_rows(tmp_path / "rows.jsonl", [sum_row(index) for index in range(24)])
    assert train("sft", tmp_path / "run", *sft, "sft.steps=2") == 0


def test_the_clock_of_a_run_goes_on_where_it_stood(
    sft: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_done(sft, tmp_path / "run", monkeypatch)
    assert train("sft", tmp_path / "run", *sft, "sft.steps=2") == 0
    seconds = [json.loads(line)["seconds"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert seconds == sorted(seconds)


def test_a_full_disk_is_called_that(
    sft: list[str], tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taut.train import trainers

    def save(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(trainers.ExampleTrainer, "_save_checkpoint", save)
    assert train("sft", tmp_path / "run", *sft, "sft.steps=2") == 2
    assert "is the disk full? no checkpoint was saved yet; the same command goes on from there" in told()


def test_weights_that_are_no_numbers_are_not_kept(sft: list[str], tmp_path: Path, told: Told) -> None:
    assert train("sft", tmp_path / "run", *sft, "sft.steps=1", "sft.learning_rate=1e38") == 2
    assert "the weights are no numbers any more at step 1: lower learning_rate" in told()
    assert not (tmp_path / "run" / "model").exists()


def test_rows_without_a_stage_among_rows_with_one_are_named(sft: list[str], tmp_path: Path, told: Told) -> None:
    staged = [sum_row(index, stage=index % 2) for index in range(8)]
    write_rows(tmp_path / "rows.jsonl", [*staged, sum_row(9)])
    assert train("sft", tmp_path / "run", *sft) == 2
    assert "rows.jsonl, line 9, has no whole number in its column 'stage'" in told()


def test_a_pair_of_equals_and_a_completion_of_two_messages_are_named(tiny: Path, tmp_path: Path, told: Told) -> None:
    pair = pair_row(1)
    rows = write_rows(tmp_path / "pairs.jsonl", [{**pair, "rejected": pair["chosen"]}])
    assert train("dpo", tmp_path / "run", f"model.path={tiny}", f"data.train={rows}") == 2
    assert "pairs.jsonl, line 1: chosen and rejected are the same text" in told()
    row = sum_row(1)
    rows = write_rows(tmp_path / "two.jsonl", [{**row, "completion": row["completion"] * 2}])
    assert train("sft", tmp_path / "run", f"model.path={tiny}", f"data.train={rows}") == 2
    assert "two.jsonl, line 1: the column 'completion' has 2 messages" in told()


@pytest.mark.parametrize(
    ("path", "words"),
    [("", "model.path is empty"), ("model.gguf", "a Hugging Face folder can be trained, a GGUF file cannot")],
)
def test_a_model_that_is_no_folder_is_refused(path: str, words: str, tmp_path: Path, told: Told) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    rows = write_rows(tmp_path / "rows.jsonl", [sum_row(1)])
    named = tmp_path / path if path else ""
    assert train("sft", tmp_path / "run", f"model.path={named}", f"data.train={rows}") == 2
    assert words in told()


def test_the_page_has_the_commands_that_tell_what_changed(sft: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train("sft", out, *sft, "sft.steps=1", "held_out.tasks=tally?split=validation&limit=2") == 0
    page = (out / "README.md").read_text(encoding="utf-8")
    asked = "--task tally --split validation --limit 2 --temperature 0 --max-tokens 1024 --preset direct"
    assert f"taut bench --engine transformers:{out / 'model'} {asked} --out {out}/after" in page
    assert f"taut compare before={out}/before after={out}/after" in page
    assert len([line for line in log_of(out) if "held_out" in line]) == 2
    bare = tmp_path / "bare"
    assert train("sft", bare, *sft, "sft.steps=1") == 0
    page = (bare / "README.md").read_text(encoding="utf-8")
    assert "was not measured: the recipe has no `[held_out]`" in page
    assert "questions that were not trained on in the place of TASK" in page
    assert "--task TASK --limit 200 --temperature 0.6 --preset direct" in page
    asks = tmp_path / "asks"
    more = ("held_out.tasks=tally?split=validation&limit=1", "held_out.instruction= Be brief.", "held_out.max_tokens=8")
    assert train("sft", asks, *sft, "sft.steps=1", *more) == 0
    page = (asks / "README.md").read_text(encoding="utf-8")
    assert "The held-out questions ended in 'Be brief.'; these commands ask them without" in page


def test_a_start_that_was_refused_leaves_no_folder(sft: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train("sft", out, *sft, "held_out.tasks=tally?split=nowhere") == 2
    assert not out.exists()
    out.mkdir()
    assert train("sft", out, *sft, "held_out.tasks=tally?split=nowhere") == 2
    assert out.exists()


def test_rewards_that_are_no_numbers_end_the_run(rl: list[str], tmp_path: Path, told: Told) -> None:
    assert train("rl", tmp_path / "run", *rl, "rl.reward=plain(alpha=1e308)") == 2
    assert "plain gave -inf for a rollout of " in told()


def test_it_is_told_that_nothing_can_be_judged(rl: list[str], tmp_path: Path, told: Told) -> None:
    questions = [question_row(index, answer="no number", verifier="number") for index in range(4)]
    write_rows(tmp_path / "questions.jsonl", questions)
    assert train("rl", tmp_path / "run", *rl, "rl.steps=5") == 0
    assert "100% of the rollouts so far could not be judged, and nothing is learnt from them" in told()


def test_an_answer_that_is_an_object_reaches_its_verifier_as_json() -> None:
    from taut.core import Task
    from taut.train.recipe import Rl
    from taut.train.rewards import open_reward
    from taut.train.rl import _row

    task = Task("q", ({"role": "user", "content": "?"},), {"a": [1, None]}, "json")
    assert json.loads(_row(task, open_reward("plain"), Rl(reward="plain"), {})["answer"]) == {"a": [1, None]}


@pytest.mark.parametrize(
    ("kind", "key"), [("rl", 'reference = "x"'), ("rl", "reference_samples = 1"), ("distill", 'builder = "c3ot"')]
)
def test_what_comes_before_all_stages_cannot_be_said_in_one(
    kind: str, key: str, tmp_path: Path, rl: list[str], told: Told
) -> None:
    from taut.cli import main

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"[[stages]]\n{key}\n", encoding="utf-8")
    settings = rl if kind == "rl" else [rl[0], "distill.traces=x"]
    put = [part for text in settings for part in ("--set", text)]
    assert main(["train", kind, str(recipe), "--out", str(tmp_path / "run"), *put]) == 2
    assert f"stage 1: {key.split()[0]} holds for all stages alike; write it into [{kind}]" in told()


def test_a_start_with_weights_that_are_no_numbers_is_refused(sft: list[str], tmp_path: Path, told: Told) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    start = tmp_path / "start"
    model = AutoModelForCausalLM.from_pretrained(sft[0].removeprefix("model.path="))
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    model.save_pretrained(start)
    AutoTokenizer.from_pretrained(sft[0].removeprefix("model.path=")).save_pretrained(start)
    assert train("sft", tmp_path / "run", *sft, f"model.path={start}") == 2
    assert "has weights that are no finite numbers, in model.layers.0.mlp.up_proj.weight" in told()


def test_a_tokenizer_of_a_larger_model_is_called_that(sft: list[str], tmp_path: Path, told: Told) -> None:
    from transformers import AutoTokenizer

    from tests.train.made import tiny_llama

    start = tmp_path / "start"
    tiny_llama(20, tie_word_embeddings=True).save_pretrained(start)
    AutoTokenizer.from_pretrained(sft[0].removeprefix("model.path=")).save_pretrained(start)
    assert train("sft", tmp_path / "run", *sft, f"model.path={start}") == 2
    assert "the tokenizer makes tokens that the model has no row for" in told()


def test_a_disk_that_is_full_at_the_very_end_is_called_that(
    sft: list[str], tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taut.train import loop

    def full(*_: Any) -> None:
        raise RuntimeError("unexpected pos 64 vs 0, inline_container.cc")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_write_results", full)
        assert train("sft", tmp_path / "run", *sft, "sft.steps=1") == 2
    assert "is the disk full? the last checkpoint is kept" in told()
    assert train("sft", tmp_path / "run", *sft, "sft.steps=1") == 0
