"""The comparison of ways to train: every arm can be read, constants follow the one rule, and the table adds up."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taut.config import load_config
from taut.core import Trace
from taut.rollouts import Group, Reference, Rollout
from taut.traces import encode
from taut.train.examples import open_builder
from taut.train.reading import read_recipe, to_toml
from taut.train.rewards import open_reward
from tests.made_run import made_call, made_trace

FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "comparison"
MODULES = ("arms", "scale", "run", "table")


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict[str, Any]]:
    """The modules of the recipe, which import each other as scripts do."""
    sys.path.insert(0, str(FOLDER))
    yield {name: importlib.import_module(name) for name in MODULES}
    sys.path.remove(str(FOLDER))
    for name in MODULES:
        del sys.modules[name]


def plan(recipe: dict[str, Any], out: Path, steps: int | None = None) -> Any:
    return recipe["run"].Plan(out, Path("model"), 256, 900, steps, None)


def scale(recipe: dict[str, Any]) -> Any:
    return recipe["scale"].Scale(mean_tokens=260.0, spread_tokens=80.0, shortest_tokens=160.0)


def test_the_recipe_of_every_trained_arm_is_valid(recipe: dict[str, Any], tmp_path: Path) -> None:
    for arm in recipe["arms"].ARMS:
        if arm.kind == "as_it_is":
            continue
        path = tmp_path / f"{arm.name}.toml"
        path.write_text(
            to_toml(recipe["run"].recipe_of(arm, 3, plan(recipe, tmp_path), scale(recipe))), encoding="utf-8"
        )
        read = read_recipe(path, arm.kind)
        assert read.settings.seed == 3
        steps = [stage.settings.steps for stage in read.stages] or [read.settings.steps]
        assert sum(step or 0 for step in steps) == (64 if arm.kind == "rl" else 32), arm.name


def test_every_reward_builder_and_preset_exists(recipe: dict[str, Any]) -> None:
    config = load_config(None)
    for arm in recipe["arms"].ARMS:
        what = scale(recipe).fill(arm.what)
        if arm.kind == "rl":
            needs = open_reward(what).needs
            assert ("reference" in needs) == (arm.name in recipe["arms"].NEED_REFERENCE)
        elif arm.kind == "as_it_is":
            config.preset(what)
        else:
            assert open_builder(what, {}).makes == ("preference" if arm.kind == "dpo" else "sft")


def test_names_are_used_once(recipe: dict[str, Any]) -> None:
    names = [arm.name for arm in recipe["arms"].ARMS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "name",
    ["plain", "kimi", "l1_max", "arora_zanette", "alp", "grpo_lead", "shorter_better", "hapo", "o1_pruner"],
)
def test_one_deviation_of_length_moves_a_reward_by_a_fifth_of_what_right_is_worth(
    recipe: dict[str, Any], name: str
) -> None:
    arm = next(arm for arm in recipe["arms"].ARMS if arm.name == name)
    lengths = scale(recipe)
    reward = open_reward(lengths.fill(arm.what))
    # Eight lengths where a normal distribution has its eighths' middles, but for the two ends.
    places = (-1.425, -0.85, -0.47, -0.15, 0.15, 0.47, 0.85, 1.425)
    # Around the point at which the rule looks at each of them.
    centre = {"hapo": 160.0, "l1_max": 130.0, "shorter_better": 260.0}.get(name, 260.0)
    tokens = [round(centre + 80 * place) for place in places]

    def rewards(right: list[bool]) -> tuple[float, ...]:
        rollouts = tuple(Rollout(n, n, ok) for n, ok in zip(tokens, right, strict=True))
        known = {"shortest_so_far": 160, "reference": Reference(260.0, 1.0), "wanted_tokens": lengths.target}
        return tuple(reward(Group(rollouts, "q", limit_tokens=768, **known)))

    all_right = rewards([True] * 8)
    slope = (all_right[2] - all_right[5]) / 0.94
    # What right is worth at one and the same length.
    worth = {"l1_max": 1.0, "alp": 1.0, "kimi": 1.5, "grpo_lead": 2.0, "shorter_better": 2.0, "hapo": 1.0}
    expected = 0.2 * worth.get(name, 1.0)
    if name == "o1_pruner":
        expected = 0.2 * lengths.reference_weight
    assert slope == pytest.approx(expected, rel=0.15)


def test_the_scale_is_that_of_right_answers_within_a_question(recipe: dict[str, Any]) -> None:
    def answers(question: int, tokens: list[int], right: bool = True) -> list[Trace]:
        return [made_trace("start", question, right, n, seed=seed + 10 * right) for seed, n in enumerate(tokens)]

    traces = [*answers(0, [100, 140]), *answers(1, [200, 240]), *answers(1, [9000], right=False), *answers(2, [7])]
    found = recipe["scale"].scale_of(traces)
    # Means 120 and 220; squares 4 × 400 with two degrees of freedom; the question with one right answer is left out.
    assert (found.mean_tokens, found.shortest_tokens) == (170.0, 150.0)
    assert found.spread_tokens == pytest.approx(800**0.5)
    assert found.target == 85


def test_a_reward_that_remembers_meets_each_question_several_times(recipe: dict[str, Any], tmp_path: Path) -> None:
    arms = {arm.name: arm for arm in recipe["arms"].ARMS}
    tables = {
        name: recipe["run"].recipe_of(arms[name], 1, plan(recipe, tmp_path), scale(recipe))
        for name in ("plain", "hapo")
    }
    assert tables["plain"]["data"]["tasks"] == ["tally?split=train&limit=256&seed=1"]
    assert tables["hapo"]["data"]["tasks"] == ["tally?split=train&limit=64&seed=1"]


def test_fewer_steps_are_shared_among_stages(recipe: dict[str, Any], tmp_path: Path) -> None:
    arm = next(arm for arm in recipe["arms"].ARMS if arm.name == "chain_valve")
    table = recipe["run"].recipe_of(arm, 0, plan(recipe, tmp_path, steps=6), scale(recipe))
    assert [stage["steps"] for stage in table["stages"]] == [2, 2, 2]


def test_the_ratio_is_taken_off_a_prompt(recipe: dict[str, Any]) -> None:
    row = {"prompt": [{"role": "user", "content": "What is 2 + 2?<|eot_id|>0.5<|eot_id|>"}], "ratio": 0.5}
    assert recipe["run"].bare(row)["prompt"] == [{"role": "user", "content": "What is 2 + 2?"}]


def test_rates_to_try_are_arms_of_their_own(recipe: dict[str, Any]) -> None:
    arms = list(recipe["run"]._chosen("start,plain", ["1e-5", "3e-5"]))
    assert [arm.name for arm in arms] == ["start", "plain@1e-5", "plain@3e-5"]
    assert arms[1].settings["learning_rate"] == 1e-5


RIGHT = {"start": 24, "correct": 27, "plain": 21}
"""Of thirty."""


def graded(preset: str, question: int, right: bool, thinking: int) -> Trace:
    """An answer of 10 tokens behind the thinking; questions 0 to 9 are easy, then medium, then hard."""
    trace = made_trace(preset, question, right, calls=[made_call(thinking, 10)])
    grade = ("easy", "medium", "hard")[question // 10]
    return replace(trace, task=replace(trace.task, metadata={"difficulty": grade}))


def test_the_table_sets_each_arm_beside_the_start(recipe: dict[str, Any]) -> None:
    start = [graded("start", n, n < 24, 190) for n in range(30)]
    plain = [graded("plain", n, n < 21, 90) for n in range(30)]
    found = recipe["table"].rows({"start": {0: start}, "plain": {0: plain}})
    assert [row.name for row in found] == ["start", "plain"]
    one = found[1]
    values = {part: round(estimate.value, 3) for part, estimate in one.accuracy.items()}
    assert values == {"all": 0.7, "easy": 1.0, "medium": 1.0, "hard": 0.1}
    # Three questions of thirty lost, all of them hard; 90 of 190 tokens of thinking, 100 of 200 in all.
    assert one.difference["all"].value == pytest.approx(-0.1)
    assert one.difference["hard"].value == pytest.approx(-0.3)
    assert one.thinking_ratio.value == pytest.approx(90 / 190)
    assert one.tokens_ratio.value == pytest.approx(0.5)
    text = recipe["table"].table(found)
    assert "| plain | 100.0 (72.2 to 100.0) |" in text
    assert text.endswith("no more than 1 point lost: none.\n")


def test_another_arm_may_stand_in_the_place_of_the_start(recipe: dict[str, Any]) -> None:
    arms = {name: {0: [graded(name, n, n < right, 90) for n in range(30)]} for name, right in RIGHT.items()}
    found = {row.name: row for row in recipe["table"].rows(arms, "correct")}
    assert found["correct"].difference == {}
    assert found["start"].difference["all"].value == pytest.approx(-0.1)
    assert found["plain"].difference["all"].value == pytest.approx(-0.2)
    with pytest.raises(Exception, match="nobody must be an arm that was benched under one seed"):
        recipe["table"].rows(arms, "nobody")


def test_several_seeds_have_a_row_together_and_one_each(recipe: dict[str, Any]) -> None:
    start = [graded("start", n, n < 24, 190) for n in range(30)]
    seeds = {seed: [graded("plain", n, n < 24 - seed, 90) for n in range(30)] for seed in (0, 1)}
    found = recipe["table"].rows({"start": {0: start}, "plain": seeds})
    assert [row.name for row in found] == ["start", "plain", "plain, seed 0", "plain, seed 1"]
    assert [row.answers for row in found] == [30, 60, 30, 30]
    assert found[1].difference["all"].value == pytest.approx(-0.5 / 30)
    assert recipe["table"].reaches(found[2])
    assert not recipe["table"].reaches(found[1])


def test_the_picture_has_a_mark_for_each_arm_and_none_for_single_seeds(recipe: dict[str, Any]) -> None:
    start = [graded("start", n, n < 24, 190) for n in range(30)]
    seeds = {seed: [graded("plain", n, n < 24 - seed, 90) for n in range(30)] for seed in (0, 1)}
    drawn = recipe["table"].drawn(recipe["table"].rows({"start": {0: start}, "plain": seeds}))
    assert drawn.startswith("<svg ")
    assert 'xmlns="http://www.w3.org/2000/svg"' in drawn
    assert drawn.count("<circle") == 2


def write_bench(folder: Path, traces: list[Trace], *, finished: bool = True) -> None:
    folder.mkdir(parents=True)
    facts = {"baseline": "direct", "presets": ["direct"], "finished_at": "today" if finished else None}
    (folder / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")
    (folder / "traces.jsonl").write_bytes(b"".join(map(encode, traces)))


def test_only_arms_that_were_benched_to_the_end_are_read(recipe: dict[str, Any], tmp_path: Path) -> None:
    answers = [graded("direct", n, n < 24, 190) for n in range(30)]
    write_bench(tmp_path / "start" / "any" / "bench", answers)
    write_bench(tmp_path / "plain" / "seed-1" / "bench", answers)
    write_bench(tmp_path / "kimi" / "seed-0" / "bench", answers[:5], finished=False)
    found = recipe["table"].read(tmp_path)
    assert {name: list(seeds) for name, seeds in found.items()} == {"start": [0], "plain": [1]}
    assert len(recipe["table"].rows(found)) == 2


def test_without_the_start_there_is_nothing_to_compare_with(recipe: dict[str, Any], tmp_path: Path) -> None:
    from taut.errors import UsageError

    with pytest.raises(UsageError, match="no finished bench of the start"):
        recipe["table"].read(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "a"], "invalid _whole value: 'a'"),
        (["--rate", "fast"], "invalid _rate value: 'fast'"),
        (["--only", "plian"], "did you mean 'plain'?"),
    ],
)
def test_what_the_command_line_cannot_mean_is_one_sentence(
    recipe: dict[str, Any],
    tmp_path: Path,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "--out", str(tmp_path), *arguments])
    monkeypatch.setattr(recipe["run"].signal, "signal", lambda *_: None)
    try:
        code = recipe["run"].main()
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    assert words in capsys.readouterr().err


def test_an_arm_that_goes_on_from_another_starts_from_its_model(recipe: dict[str, Any], tmp_path: Path) -> None:
    then = recipe["arms"].BY_NAME["shortest_then_plain"]
    made = recipe["run"].recipe_of(then, 1, plan(recipe, tmp_path), scale(recipe))
    assert made["model"]["path"] == str(tmp_path / "arms" / "shortest_correct" / "seed-1" / "train" / "model")
    alone = recipe["run"].recipe_of(recipe["arms"].BY_NAME["plain"], 1, plan(recipe, tmp_path), scale(recipe))
    assert alone["model"]["path"] == "model"
    assert {**made, "model": None} == {**alone, "model": None}


def test_the_arm_before_is_trained_first(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    run = recipe["run"]
    monkeypatch.setattr(run, "_taut", lambda plan, *arguments: asked.append(" ".join(map(str, arguments[:2]))))
    monkeypatch.setattr(run, "_make_rows", lambda *_: None)
    monkeypatch.setattr(run, "_scale", lambda _: scale(recipe))
    run._train(recipe["arms"].BY_NAME["shortest_then_plain"], 0, plan(recipe, tmp_path), tmp_path / "arm")
    assert asked == ["train sft", "train rl"]


@pytest.mark.parametrize("ignored", ["", "SIGINT", "SIGINT, SIGTERM"])
def test_a_command_that_is_deaf_to_ctrl_c_is_stopped_all_the_same(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch, ignored: str
) -> None:
    monkeypatch.setattr(recipe["run"], "ROOM_TO_STOP_S", 0.3)
    deaf = "".join(f"signal.signal(signal.{name}, signal.SIG_IGN);" for name in ignored.split(", ") if name)
    code = f"import signal, time; {deaf} print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        recipe["run"]._stop(process)
    assert process.returncode != 0


def test_an_arm_may_be_benched_as_it_was_after_fewer_steps(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = recipe["run"], []
    monkeypatch.setattr(run, "_taut", lambda plan, *arguments: asked.append([str(each) for each in arguments]))
    made, arm = plan(recipe, tmp_path), recipe["arms"].BY_NAME["plain"]
    with pytest.raises(Exception, match=r"there is no .*checkpoint-48: train the arm first"):
        run._do_early(arm, 0, made, 48)
    (tmp_path / "arms/plain/seed-0/train/checkpoints/stage-0/checkpoint-48").mkdir(parents=True)
    run._do_early(arm, 0, made, 48)
    assert [words[0] for words in asked] == ["export", "bench"]
    assert str(tmp_path / "arms/plain@48/seed-0/bench") in asked[1]
    assert asked[1][asked[1].index("--split") + 1] == "test"
