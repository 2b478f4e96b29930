"""``taut train distill``: supervised fine-tuning on the traces of a stronger model, which may be drawn first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from taut.bench import Plan, sweep
from taut.config import load_config, open_engine
from taut.core import Sampling, Trace
from taut.dialects import Dialect
from taut.errors import EngineError, UsageError
from taut.methods.model_based.short_data._chains import as_it_is
from taut.methods.model_based.short_data._nouns import Example, Question, Tools
from taut.train import sft
from taut.train.examples import build, open_builder, read_questions, write
from taut.train.loop import Job, Part, run_job
from taut.train.models import open_writer, processes
from taut.train.progress import Progress
from taut.train.questions import load
from taut.train.recipe import Distill, Recipe
from taut.train.run_folder import RunFolder

EVERY_ONE = 1_000_000
"""Right answers kept per question where no builder chooses."""
TOLD_EVERY = 50
"""Answers of the teacher between two lines."""


def train(recipe: Recipe, out: Path) -> int:
    """Train as the recipe says, in the run folder ``out``. Returns the exit status. Raises `UsageError`."""
    settings = cast(Distill, recipe.settings)
    if bool(settings.teacher) != bool(recipe.data.tasks) or not (settings.traces or settings.teacher):
        raise UsageError(
            'distill learns from distill.traces = "runs/x/traces.jsonl", or from distill.teacher, which answers '
            "data.tasks: give the former, or both of the latter"
        )
    return run_job(lambda: prepare(recipe, out), recipe, out)


def prepare(recipe: Recipe, out: Path) -> tuple[Job, list[Part]]:
    """Rows from the traces, written to the run folder, and then all as in `taut.train.sft`."""
    settings = cast(Distill, recipe.settings)
    file = RunFolder(out).path / "train.jsonl"
    state = processes()
    # Files may have changed since; what a teacher was paid for is not asked for again.
    if state.is_main_process and not (file.exists() and settings.teacher):
        traces = [*settings.traces, *([str(_drawn(recipe, out))] if settings.teacher else [])]
        writer = open_writer(recipe.model)
        questions = read_questions([Path(path).expanduser() for path in traces])
        examples = _examples(questions, settings)
        Progress().say(f"{len(examples):,} examples from {len(questions):,} questions of the teacher")
        write(examples, _tags(writer.dialect), file)
    state.wait_for_everyone()
    return sft.prepare(replace(recipe, data=replace(recipe.data, train=(str(file),), limit=None)), out)


def _tags(dialect: Dialect) -> Dialect | None:
    return dialect if dialect.thinks else None


def _examples(questions: Sequence[Question], settings: Distill) -> Sequence[Example]:
    if settings.only_correct:
        chosen = {} if settings.builder else {"keep": EVERY_ONE}
        return build(open_builder(settings.builder or "shortest_correct", chosen), questions, Tools()).examples
    if settings.builder:
        raise UsageError("distill.builder takes right answers only: leave it out with only_correct = false")
    found = [Example(each, as_it_is(sample)) for each in questions for sample in each.samples if sample.is_whole]
    if not found:
        raise UsageError("none of the teacher's answers is whole: all were cut or failed")
    return found


def _drawn(recipe: Recipe, out: Path) -> Path:
    """The teacher's traces, drawn into the run folder; what is there already is not drawn again."""
    settings = cast(Distill, recipe.settings)
    folder = out / "teacher"
    folder.mkdir(exist_ok=True)
    config = load_config(None)
    plan = Plan(
        [config.preset("direct")],
        load(recipe.data.tasks)[: recipe.data.limit],
        Sampling(settings.max_tokens, settings.temperature),
        settings.seed,
        settings.rollouts,
        settings.concurrency,
    )
    progress, told = Progress(), [0, 0]

    def tell(trace: Trace) -> None:
        told[0] += 1
        told[1] += trace.error is not None
        if told[0] % TOLD_EVERY == 0 or told[0] == plan.size:
            progress.say(f"the teacher: {told[0]}/{plan.size} answers, {told[1]} failed")

    async def ask() -> None:
        engine = await open_engine(settings.teacher or "", config)
        try:
            engines = {"main": engine}
            await sweep(plan, engines, folder / "traces.jsonl", tell, tell, resumed_by="the same command")
        finally:
            await engine.close()

    asyncio.run(ask())
    if told[1] == plan.size:
        raise EngineError(f"the teacher {settings.teacher} failed at all {plan.size} questions")
    return folder / "traces.jsonl"
