"""Ways to train shorter thinking: the same start, questions, number of answers drawn and number of steps for all.

    python recipes/comparison/run.py --out build/comparison [--only plain,kimi] [--seeds 0,1] [--minutes 60]
    python recipes/comparison/table.py build/comparison

The start is Tally, the model in the box, unless ``--model`` names another folder. For every seed the start answers 256
training questions eight times (``OUT/pool``); arms with examples learn from these 2,048 answers in 32 steps, arms with
a reward draw 64 answers of their own in each of 64 steps, to the same questions. Each arm is trained (``taut train``),
written as GGUF (``taut export``) and benched (``taut bench``) on test questions, all arms on the same.

What is done is not done again; a run that was stopped, by Ctrl-C or ``--minutes``, goes on where it was.

With ``--only correct,plain --rate 1e-4 --rate 3e-4`` learning rates are tried on validation questions, apart from the
rest; the table of that is had by ``table.py OUT --rates``. With ``--only plain,alp --after 48`` trained arms are
benched as they were after 48 steps, as far as that checkpoint is kept (the last two are); the table has them as
``plain@48``.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arms import BY_NAME, NEED_REFERENCE, START, Arm
from scale import Scale, scale_from

from taut import box
from taut.errors import TautError, UsageError, nearest
from taut.train.reading import to_toml

HERE = Path(__file__).parent
MARK = "<|eot_id|>"
"""What TokenSkip puts around the ratio that it writes behind a question."""
ROOM_TO_STOP_S = 180
"""For a checkpoint, or the answers under way."""
ROLLOUTS = 8
"""Answers to a question in the pool, as in rl.toml."""


class OutOfTimeError(TautError):
    """``--minutes`` are over."""


class TerminatedError(TautError):
    """Somebody sent SIGTERM: unlike Ctrl-C, that reaches this process alone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line says."""

    out: Path
    model: Path
    pool: int
    """Training questions."""
    questions: int
    """Test questions, of all grades alike."""
    steps: int | None
    """Optimiser steps, to try things out; the recipes' own by default."""
    deadline_s: float | None
    tries_rates: bool = False
    """Validation questions, and a folder of its own."""

    def place(self, arm: Arm, seed: int) -> Path:
        """The folder of an arm; what is not trained has one for all seeds."""
        folder = "rates" if self.tries_rates else "arms"
        return self.out / folder / arm.name / ("any" if arm.kind == "as_it_is" else f"seed-{seed}")

    def trained(self, arm: Arm, seed: int) -> Path:
        """What came of its training."""
        return self.place(arm, seed) / "train" / "model"

    def pool_of(self, seed: int) -> Path:
        """The start's answers to the training questions."""
        return self.out / "pool" / f"seed-{seed}"

    def training_questions(self, seed: int, times: int) -> str:
        """As a recipe names them; the pool asks the same, each ``times`` less."""
        return f"tally?split=train&limit={self.pool // times}&seed={seed}"


def main() -> int:
    """The command line."""
    parser = _parser()
    given = parser.parse_args()
    if given.out.exists() and not given.out.is_dir():
        parser.error(f"--out {given.out} is a file: it takes a folder")
    signal.signal(signal.SIGTERM, _terminated)
    ends = None if given.minutes is None else time.monotonic() + 60 * given.minutes
    plan = Plan(
        given.out,
        given.model.expanduser(),
        given.pool,
        given.questions,
        given.steps,
        ends,
        tries_rates=bool(given.rate),
    )
    try:
        chosen = list(_chosen(given.only, given.rate))
        for seed in given.seeds:
            for arm in chosen:
                if given.after is None:
                    _do(arm, seed, plan)
                else:
                    _do_early(arm, seed, plan, given.after)
    except OutOfTimeError as error:
        print(f"{error}; the same command goes on from here")
        return 0
    except TautError as error:
        print(f"comparison: {error}", file=sys.stderr)
        return 2
    return 0


def _terminated(*_: object) -> None:
    raise TerminatedError("terminated")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of everything this writes")
    parser.add_argument("--only", default="", help="arms, with commas between (default: all)")
    parser.add_argument("--seeds", type=_whole, default=[0], help="of the training, with commas between (default: 0)")
    parser.add_argument("--minutes", type=float, help="stop after so many")
    parser.add_argument("--model", type=Path, default=box.FOLDER, help="the start: a Hugging Face folder")
    parser.add_argument("--rate", type=_rate, action="append", default=[], help="a learning rate to try; repeat it")
    parser.add_argument("--pool", type=int, default=256, help="training questions (default: 256)")
    parser.add_argument("--questions", type=int, default=900, help="test questions (default: 900)")
    parser.add_argument("--after", type=int, help="bench the checkpoint of this step, of arms that were trained")
    parser.add_argument("--steps", type=int, help="optimiser steps, to try things out")
    return parser


def _rate(text: str) -> str:
    """As it was written, for names of folders."""
    float(text)
    return text


def _whole(text: str) -> list[int]:
    """Whole numbers with commas between."""
    return [int(part) for part in text.split(",")]


def _chosen(only: str, rates: Sequence[str]) -> Iterator[Arm]:
    """The arms asked for, or what is to be tried with each rate."""
    names = [name.strip() for name in only.split(",") if name.strip()] or list(BY_NAME)
    for name in names:
        if name not in BY_NAME:
            raise UsageError(f"there is no arm {name!r}{nearest(name, BY_NAME)}; known: {', '.join(BY_NAME)}")
    if not rates:
        yield from (BY_NAME[name] for name in names)
        return
    yield START
    for arm in (BY_NAME[name] for name in names if BY_NAME[name].kind != "as_it_is"):
        for rate in rates:
            settings = {**arm.settings, "learning_rate": float(rate)}
            yield replace(arm, name=f"{arm.name}@{rate}", settings=settings)


def _do(arm: Arm, seed: int, plan: Plan) -> None:
    """Train, export and bench one arm, as far as that is not done."""
    place = plan.place(arm, seed)
    if is_finished(place / "bench"):
        return
    began = time.monotonic()
    gguf, preset = place / "model.gguf", START.what
    if arm.kind == "as_it_is":
        gguf, preset = _start_gguf(plan), arm.what
        if "{" in preset:
            preset = _scale(plan).fill(preset)
    else:
        _train(arm, seed, plan, place)
        if not gguf.exists():
            _taut(plan, "export", plan.trained(arm, seed), "--out", gguf, "--type", "f16")
    _bench(plan, gguf, place / "bench", *_asked(plan), "--preset", preset)
    print(f"== {arm.name}, seed {seed}: {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


def _do_early(arm: Arm, seed: int, plan: Plan, step: int) -> None:
    """Export and bench a checkpoint of one arm. Raises `UsageError` where it is not there."""
    checkpoint = plan.place(arm, seed) / "train" / "checkpoints" / "stage-0" / f"checkpoint-{step}"
    if not checkpoint.is_dir():
        raise UsageError(f"there is no {checkpoint}: train the arm first, and choose a step that is kept")
    place = plan.place(replace(arm, name=f"{arm.name}@{step}"), seed)
    if is_finished(place / "bench"):
        return
    place.mkdir(parents=True, exist_ok=True)
    gguf = place / "model.gguf"
    if not gguf.exists():
        _taut(plan, "export", checkpoint, "--out", gguf, "--type", "f16")
    _bench(plan, gguf, place / "bench", *_asked(plan), "--preset", START.what)


def _asked(plan: Plan) -> list[Any]:
    """The questions, the same for all arms."""
    split = "validation" if plan.tries_rates else "test"
    return ["--task", "tally", "--split", split, "--limit", plan.questions, "--seed", 0, "--temperature", 0.6]


def _start_gguf(plan: Plan) -> Path:
    path = plan.out / "start.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _taut(plan, "export", plan.model, "--out", path, "--type", "f16")
    return path


def _pool(plan: Plan, seed: int) -> Path:
    """The run folder of the start's own answers to the training questions, drawn as rollouts are."""
    pool = plan.pool_of(seed)
    if not is_finished(pool):
        asked = ["--task", "tally", "--split", "train", "--limit", plan.pool, "--seed", seed]
        drawn = ["--rollouts", ROLLOUTS, "--temperature", 1, "--preset", START.what]
        _bench(plan, _start_gguf(plan), pool, *asked, *drawn)
    return pool


def _scale(plan: Plan) -> Scale:
    """Lengths of the start, from the pool of seed 0 for all seeds."""
    return scale_from(_pool(plan, 0), plan.out / "scale.json")


def _train(arm: Arm, seed: int, plan: Plan, place: Path) -> None:
    run = place / "train"
    if is_finished(run):
        return
    place.mkdir(parents=True, exist_ok=True)
    if arm.after:
        _train(BY_NAME[arm.after], seed, plan, plan.place(BY_NAME[arm.after], seed))
    if arm.kind == "rl":
        if arm.name.partition("@")[0] in NEED_REFERENCE:
            _pool(plan, seed)
    else:
        _make_rows(arm, seed, plan, place / "rows.jsonl")
    recipe = place / "recipe.toml"
    recipe.write_text(to_toml(recipe_of(arm, seed, plan, _scale(plan))), encoding="utf-8")
    _taut(plan, "train", arm.kind, recipe, "--out", run)


def recipe_of(arm: Arm, seed: int, plan: Plan, scale: Scale) -> dict[str, Any]:
    """The recipe of a trained arm, as TOML data."""
    kind = arm.kind
    table: dict[str, Any] = tomllib.loads((HERE / f"{kind}.toml").read_text(encoding="utf-8"))
    table["model"]["path"] = str(plan.trained(BY_NAME[arm.after], seed) if arm.after else plan.model)
    own = table[kind]
    own.update(_filled(dict(arm.settings), scale), seed=seed)
    if kind == "rl":
        table["data"]["tasks"] = [plan.training_questions(seed, arm.times)]
        own["reward"] = scale.fill(arm.what)
        if arm.name.partition("@")[0] in NEED_REFERENCE:
            own["reference"] = str(plan.pool_of(seed) / "traces.jsonl")
    else:
        table["data"]["train"] = [str(plan.place(arm, seed) / "rows.jsonl")]
    if plan.steps is not None:
        own["steps"] = plan.steps
    stages = [_filled(dict(stage), scale) for stage in arm.stages]
    if stages:
        table["stages"] = [{**stage, "steps": _share(stage["steps"], plan, stages)} for stage in stages]
    return table


def _share(steps: int, plan: Plan, stages: Sequence[dict[str, Any]]) -> int:
    """A stage's part of fewer steps than the recipe's."""
    if plan.steps is None:
        return steps
    return max(1, round(plan.steps * steps / sum(stage["steps"] for stage in stages)))


def _filled(value: Any, scale: Scale) -> Any:
    """``value`` with the start's lengths filled in; whole numbers in braces become numbers."""
    if isinstance(value, dict):
        return {key: _filled(one, scale) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(one, scale) for one in value]
    return int(scale.fill(value)) if isinstance(value, str) and "{" in value else value


def _make_rows(arm: Arm, seed: int, plan: Plan, rows: Path) -> None:
    if rows.exists():
        return
    pool = _pool(plan, seed)
    draft = rows.with_name("draft.jsonl")
    weighing = ["--importance-model", plan.model] if "surprisal" in arm.what else []
    _taut(plan, "data", arm.what, pool, "--out", draft, "--tokenizer", plan.model, *weighing)
    lines = [json.loads(line) for line in draft.read_text(encoding="utf-8").splitlines()]
    rows.write_text("".join(json.dumps(bare(line)) + "\n" for line in lines), encoding="utf-8")


def bare(row: dict[str, Any]) -> dict[str, Any]:
    """The row without TokenSkip's ratio behind the question: where there is one ratio only, nobody need name it."""
    prompt = [{**said, "content": said["content"].partition(MARK)[0]} for said in row["prompt"]]
    return {**row, "prompt": prompt}


def _bench(plan: Plan, gguf: Path, run: Path, *asked: Any) -> None:
    resume = ["--resume"] if (run / "manifest.json").exists() else []
    how = ["--max-tokens", 768, "--concurrency", 8, "--out", run, *resume]
    _taut(plan, "bench", "--engine", f"embedded:{gguf}", *asked, *how)


def is_finished(run: Path) -> bool:
    """Of a bench and of a training."""
    path = run / "manifest.json"
    facts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return facts.get("finished_at") is not None and not facts.get("interrupted", False)


def _taut(plan: Plan, *arguments: Any) -> None:
    """Run a command of Taut in a process of its own; at the deadline it is stopped as by Ctrl-C.

    Raises `UsageError` where it fails, and `OutOfTimeError`.
    """
    command = [sys.executable, "-m", "taut", *map(str, arguments)]
    left_s = None if plan.deadline_s is None else plan.deadline_s - time.monotonic()
    if left_s is not None and left_s <= 0:
        raise OutOfTimeError("the minutes are over")
    print("$ taut", *command[3:], flush=True)
    with subprocess.Popen(command) as process:
        try:
            code = process.wait(left_s)
        except (subprocess.TimeoutExpired, TerminatedError) as error:
            _stop(process)
            why = "terminated" if isinstance(error, TerminatedError) else "the minutes are over"
            raise OutOfTimeError(f"{why} within taut {arguments[0]}") from None
        except KeyboardInterrupt:
            process.wait(ROOM_TO_STOP_S)
            raise OutOfTimeError(f"stopped within taut {arguments[0]}") from None
    if code:
        raise UsageError(f"taut {arguments[0]} ended with exit code {code}; what is above says why")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """As by Ctrl-C. A job in the background of a script is deaf to that until it listens itself: then by force."""
    for send in (lambda: process.send_signal(signal.SIGINT), process.terminate, process.kill):
        send()
        try:
            process.wait(ROOM_TO_STOP_S)
        except subprocess.TimeoutExpired:
            continue
        return


if __name__ == "__main__":
    sys.exit(main())
