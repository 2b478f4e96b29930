"""``taut train rl``: GRPO with a length reward, on TRL's trainer.

How it differs from TRL's plain GRPO: advantages are made as the reward's paper makes them (leave-one-out is that of
RLOO, with GRPO's clipped loss as in Arora and Zanette's code; AdaptThink's rewards are advantages as they are).
Rollouts may be made to begin without thinking; their first tokens are learned like the others, without AdaptThink's
importance weights. Questions may ask for a length (L1). Stages may lower the ceiling round by round (ThinkPrune,
arXiv:2504.01296).
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from taut.core import Task, Turn
from taut.dialects import render_turn
from taut.errors import UsageError
from taut.rollouts import LengthReward, Reference
from taut.train.adapters._judging import Judge
from taut.train.adapters._rewarding import memories_of
from taut.train.adapters.trl import TrlReward
from taut.train.generation import Drawing
from taut.train.held_out import known_of, open_held_out
from taut.train.loop import Job, Part, met, run_job
from taut.train.models import Writer, open_writer
from taut.train.questions import instructed, mixed
from taut.train.recipe import Recipe, Rl, Stage
from taut.train.reference import check_all_there, from_traces, measured
from taut.train.rewarding import Rewarding
from taut.train.rewards import open_reward
from taut.train.run_folder import RunFolder, digest
from taut.train.trainers import Callbacks, rl_trainer

ASK_LENGTH = " Think for {wanted_tokens} tokens."
CONTROL = "thinkless"
References = Mapping[str, Reference]


def train(recipe: Recipe, out: Path) -> int:
    """Train as the recipe says, in the run folder ``out``. Returns the exit status. Raises `UsageError`."""
    return run_job(lambda: prepare(recipe, out), recipe, out)


def prepare(recipe: Recipe, out: Path) -> tuple[Job, list[Part]]:
    """The model's writer, the held-out questions and the stages, with statistics of the start model where needed."""
    stages = recipe.stages or (Stage(recipe.settings),)
    rewards = [open_reward(cast(Rl, stage.settings).reward, "rl.reward") for stage in stages]
    writer, run = open_writer(recipe.model), RunFolder(out)
    sets = [_questions(recipe, stage) for stage in stages]
    everything = list({task.id: task for tasks in sets for task in tasks}.values())
    held_out = open_held_out(recipe.held_out, known_of((task.id, task.question) for task in everything))
    for tasks, reward, stage in zip(sets, rewards, stages, strict=True):
        _check_lengths(tasks, reward, cast(Rl, stage.settings))
        _check_fits(tasks, reward, cast(Rl, stage.settings), writer)
    references: References = {}
    if any("reference" in reward.needs for reward in rewards):
        references = _references(recipe, writer, everything, run)
    parts = [
        _part(stage, reward, tasks, references, writer)
        for stage, reward, tasks in zip(stages, rewards, sets, strict=True)
    ]
    return Job(recipe, run, writer, held_out, _note(recipe, rewards[-1])), parts


def _note(recipe: Recipe, reward: LengthReward) -> str:
    """That the held-out questions are asked in another way than those of the training, where they are."""
    last = cast(Rl, recipe.stages[-1].settings if recipe.stages else recipe.settings)
    asks = _instruction(reward, last)
    if recipe.held_out is None or not asks or recipe.held_out.instruction:
        return ""
    return (
        f"taut: the questions of the training end in {asks!r}, the held-out ones do not; held_out.instruction, with a "
        "number in it, asks them alike"
    )


def _instruction(reward: LengthReward, settings: Rl) -> str:
    if settings.instruction is not None:
        return settings.instruction
    return ASK_LENGTH if "wanted_tokens" in reward.needs else ""


def _questions(recipe: Recipe, stage: Stage) -> list[Task]:
    files = stage.train or recipe.data.train
    specs, shares = ((), ()) if stage.train else (recipe.data.tasks, recipe.data.shares)
    tasks = mixed(specs, files, shares, recipe.settings.seed)
    if stage.stage is not None:
        tasks = [task for task in tasks if task.metadata.get("stage") == stage.stage]
    if not tasks:
        raise UsageError(f"no question has {stage.stage!r} in its column 'stage'")
    return tasks[: recipe.data.limit] if recipe.data.limit else tasks


def _references(recipe: Recipe, writer: Writer, tasks: Sequence[Task], run: RunFolder) -> References:
    settings = cast(Rl, recipe.settings)
    if settings.reference is not None:
        found = from_traces(Path(settings.reference).expanduser(), tasks)
        check_all_there(found, tasks, settings.reference, settings.reward)
        return found
    drawing = Drawing(
        settings.max_completion_tokens,
        settings.temperature,
        settings.top_p,
        settings.batch_size * settings.num_generations,
        settings.seed,
    )
    found = measured(recipe, writer, tasks, settings.reference_samples, drawing, run.path / "reference.jsonl")
    check_all_there(found, tasks, "the start model (its answers could not be judged)", settings.reward)
    return found


def _part(stage: Stage, reward: LengthReward, tasks: Sequence[Task], references: References, writer: Writer) -> Part:
    settings = cast(Rl, stage.settings)
    rows = [_row(task, reward, settings, references) for task in tasks]
    forced = _forced_share(reward, settings)
    beginning = writer.ids(render_turn(writer.dialect, Turn(closed=True), writer.prompt("?"))) if forced else []
    rewarding = _rewarding(reward, settings, writer, beginning)

    def make(model: Any, folder: Path, callbacks: Callbacks) -> Any:
        trainer = rl_trainer(model, writer, settings, folder, rows, rewarding, callbacks)
        trainer.advantages_of = rewarding.advantages
        trainer.forced_ids = tuple(beginning)
        trainer.forced = round(forced * settings.num_generations)
        return trainer

    says = (
        f"{len(rows):,} questions, {settings.batch_size} a step with {settings.num_generations} rollouts each, "
        f"{settings.reward}{met(settings, len(rows), 'questions')}"
    )
    return Part(settings, make, says, stage.name, rewarding.state, rewarding.restore, digest(rows))


def _rewarding(reward: LengthReward, settings: Rl, writer: Writer, beginning: Sequence[int]) -> Rewarding:
    inner = TrlReward(
        reward,
        Judge(writer.dialect, writer.tokenizer),
        limit_tokens=settings.max_completion_tokens,
        end_ids=frozenset(writer.end_ids),
        group_size=settings.num_generations,
        memories=memories_of(reward, settings.max_completion_tokens),
        name=settings.reward.partition("(")[0].partition(":")[0],
    )
    named = reward.advantage if settings.advantage == "paper" else settings.advantage
    weighs_control = inner.name == CONTROL and settings.loss == "grpo"
    control = _control_tokens(writer, beginning) if weighs_control else 0
    return Rewarding(inner, settings.num_generations, named, settings.penalty_after_steps, control)


def _control_tokens(writer: Writer, beginning: Sequence[int]) -> int:
    """How many tokens of a reply decide whether it thinks: up to where both ways of beginning differ."""
    usual = writer.ids(writer.dialect.open)
    same = next((at for at, (a, b) in enumerate(zip(usual, beginning, strict=False)) if a != b), 0)
    return same + 1


def _forced_share(reward: LengthReward, settings: Rl) -> float:
    if settings.no_thinking_share is not None:
        return settings.no_thinking_share
    return 0.5 if "no_thinking" in reward.needs else 0.0


def _row(task: Task, reward: LengthReward, settings: Rl, references: References) -> dict[str, Any]:
    """A question as TRL's data set and the reward's adapter have it."""
    wanted = _wanted(task, settings)
    text = (
        _instruction(reward, settings)
        .replace("{wanted_tokens}", str(wanted))
        .replace("{limit_tokens}", str(settings.max_completion_tokens))
    )
    reference = references.get(task.id)
    return {
        "prompt": list(instructed(task, text).messages),
        "id": task.id,
        "answer": _cell(task.reference),
        "verifier": task.verifier,
        "metadata": json.dumps(dict(task.metadata), default=str),
        "wanted_tokens": wanted,
        "reference_tokens": reference and reference.mean_tokens,
        "reference_accuracy": reference and reference.accuracy,
    }


def _cell(answer: Any) -> Any:
    """An answer as a table's column takes it, which has one type for all rows, also where sets are mixed."""
    if isinstance(answer, dict):
        return json.dumps(answer)
    return answer if isinstance(answer, list) else str(answer)


def _wanted(task: Task, settings: Rl) -> int | None:
    """The length that this question asks for: its own, or one drawn by its id."""
    own = task.metadata.get("wanted_tokens")
    if own is not None or settings.wanted_tokens is None:
        return own
    return random.Random(f"{settings.seed}:{task.id}").randint(*settings.wanted_tokens)


def _check_fits(tasks: Sequence[Task], reward: LengthReward, settings: Rl, writer: Writer) -> None:
    """Raise `UsageError` where no step can be made of the questions, or the reward has nothing to compare."""
    if len(tasks) < settings.batch_size:
        raise UsageError(f"rl.batch_size is {settings.batch_size} questions and there are {len(tasks)}: lower it")
    if len({isinstance(task.reference, list) for task in tasks}) > 1:
        raise UsageError("some answers are lists and others are not: write all of them in the same way")
    share = _forced_share(reward, settings)
    if "no_thinking" in reward.needs and not writer.dialect.thinks:
        raise UsageError(
            f"{settings.reward} compares thinking with not thinking, and no tags of thinking are known for this model "
            f"(dialect {writer.dialect.name}): set model.dialect"
        )
    if share and not 0 < round(share * settings.num_generations) < settings.num_generations:
        raise UsageError(
            f"rl.no_thinking_share is {share:g}: of {settings.num_generations} rollouts that leaves none of one kind, "
            "and nothing to compare"
        )


def _check_lengths(tasks: Sequence[Task], reward: LengthReward, settings: Rl) -> None:
    """Raise `UsageError` where the reward needs a wanted length, and a question has none."""
    if settings.wanted_tokens is not None and not 0 < settings.wanted_tokens[0] <= settings.wanted_tokens[1]:
        raise UsageError(f"rl.wanted_tokens is {list(settings.wanted_tokens)}: it must be [least, most], above 0")
    if "wanted_tokens" not in reward.needs:
        return
    missing = [task.id for task in tasks if _wanted(task, settings) is None]
    if missing:
        raise UsageError(
            f"{settings.reward} needs the length that each question asks for, and {missing[0]} has none: set "
            "rl.wanted_tokens = [100, 400], or give the questions a column wanted_tokens"
        )
