"""A recipe in TOML and what the command line puts over it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from taut.errors import UsageError
from taut.train.reading import as_table, read_recipe, to_toml
from taut.train.recipe import Dpo, LoraPart, Rl, Sft

PLAIN = '[model]\npath = "tiny"\n[data]\ntrain = "rows.jsonl"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_a_recipe_does_not_say_has_its_default(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, PLAIN), "sft")
    assert recipe.settings == Sft(epochs=1.0)
    assert (recipe.data.train, recipe.lora, recipe.held_out, recipe.stages) == (("rows.jsonl",), None, None, ())


def test_the_command_line_is_put_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN + "[sft]\nlearning_rate = 1e-3\nseed = 7\n")
    recipe = read_recipe(
        path, "sft", ["sft.learning_rate=2e-4", "lora.rank=4", "model.path=other", "sft.schedule=linear"]
    )
    assert (recipe.settings.learning_rate, recipe.settings.seed, recipe.settings.schedule) == (2e-4, 7, "linear")
    assert (recipe.lora, recipe.model.path) == (LoraPart(rank=4), "other")


def test_a_recipe_may_come_from_the_command_line_alone() -> None:
    recipe = read_recipe(None, "dpo", ["model.path=tiny", "data.train=pairs.jsonl", "dpo.loss=simpo"])
    assert recipe.settings == Dpo(loss="simpo", epochs=1.0)


def test_a_stage_says_what_differs_from_the_recipe(tmp_path: Path) -> None:
    text = (
        PLAIN
        + '[sft]\nepochs = 2\nseed = 3\n[[stages]]\nname = "long"\nsteps = 5\n'
        + '[[stages]]\nstage = 1\ntrain = "b.jsonl"\n'
    )
    first, second = read_recipe(written(tmp_path, text), "sft").stages
    assert (first.name, first.settings) == ("long", Sft(steps=5, seed=3))
    assert (second.stage, second.train, second.settings) == (1, ("b.jsonl",), Sft(epochs=2, seed=3))


def test_the_recipe_as_resolved_reads_back_the_same(tmp_path: Path) -> None:
    text = (
        '[model]\npath = "a \\"b\\""\n[data]\ntasks = ["reasoning_gym:chain_sum?limit=3"]\nshares = [1.0]\n'
        '[rl]\nreward = "l1_max(alpha=0.001)"\nwanted_tokens = [10, 20]\n[held_out]\ntasks = "q.jsonl"\n'
        '[lora]\ntarget_modules = "q_proj"\n[[stages]]\nmax_completion_tokens = 64\n[[stages]]\n'
    )
    recipe = read_recipe(written(tmp_path, text), "rl")
    again = read_recipe(written(tmp_path, to_toml(recipe.table)), "rl")
    assert again == recipe
    assert tomllib.loads(to_toml(recipe.table)) == as_table(recipe)
    assert recipe.stages[0].settings == Rl(
        reward="l1_max(alpha=0.001)", wanted_tokens=(10, 20), max_completion_tokens=64, epochs=1.0
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[sft]\nlearning_rat = 1\n", "unknown key sft.learning_rat (did you mean 'learning_rate'?)"),
        ("[lor]\nrank = 1\n", "unknown section [lor] (did you mean 'lora'?)"),
        ("[rl]\nreward = 'kimi'\n", "[rl] is for 'taut train rl'"),
        ("[sft]\nbatch_size = 0\n", "sft.batch_size is 0; it must be at least 1"),
        ("[sft]\nwarmup_share = 2\n", "sft.warmup_share is 2; it must be at least 0 and at most 1"),
        ("[sft]\nschedule = 'cosin'\n", "sft.schedule = 'cosin' (did you mean 'cosine'?)"),
        ("[sft]\nseed = 'x'\n", "sft.seed = 'x' is not right"),
        ("[[stages]]\nlearning_rte = 1\n", "stage 1: unknown key 'learning_rte' (did you mean 'learning_rate'?)"),
        ("[held_out]\nevery_steps = 3\n", "held_out.tasks is missing"),
        ("[data]\ntasks = ['gsm8k']\n", "'taut train sft' does not read data.tasks"),
        ("sft = 3\n", "is not valid TOML"),
        ("[sft\n", "is not valid TOML"),
    ],
)
def test_what_cannot_be_right_is_told_in_a_sentence(tmp_path: Path, text: str, told: str) -> None:
    plain = PLAIN.partition("[data]")[0] if "[data]" in text else PLAIN
    broken = plain + text if text.startswith("[") else "[model]\npath = 'x'\nsft = 3\n[model]\n"
    with pytest.raises(UsageError) as caught:
        read_recipe(written(tmp_path, broken), "sft")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value).split("TOML")[0]


def test_a_recipe_needs_a_model() -> None:
    with pytest.raises(UsageError, match=r"the model is missing: \[model\] path"):
        read_recipe(None, "sft", ["data.train=x.jsonl"])


def test_an_rl_recipe_needs_a_reward() -> None:
    with pytest.raises(UsageError, match=r"rl\.reward is missing"):
        read_recipe(None, "rl", ["model.path=x", "rl.steps=3"])


@pytest.mark.parametrize("text", ["sft", "sft.seed", ".seed=3", "=3"])
def test_a_set_without_section_key_and_value_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"should read section\.key=value"):
        read_recipe(None, "sft", ["model.path=x", text])


def test_what_a_kind_does_not_read_is_unknown_to_it() -> None:
    with pytest.raises(UsageError, match=r"unknown key rl\.max_length_tokens"):
        read_recipe(None, "rl", ["model.path=x", "rl.reward=kimi", "rl.max_length_tokens=3"])


def test_a_missing_package_is_told_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from taut.cli import main
    from taut.commands import train

    monkeypatch.setattr(train, "PACKAGES", ("msgspec", "not_installed_anywhere"))
    assert main(["train", "sft", "--out", str(tmp_path / "run"), "--set", "model.path=x"]) == 2
    assert "training needs not_installed_anywhere: pip install 'taut[train]'" in capsys.readouterr().err
