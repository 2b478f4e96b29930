"""``taut train dpo``: pairs of a chosen and a rejected completion (Kimi k1.5's long-to-short, DAST's ranking)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, cast

from taut.train.held_out import open_held_out
from taut.train.loop import Job, Part, run_job
from taut.train.models import Writer, open_writer
from taut.train.recipe import Dpo, Recipe, Stage
from taut.train.rows import Examples, pairs, read_lines
from taut.train.run_folder import RunFolder
from taut.train.sft import questions_of, staged
from taut.train.trainers import Callbacks, dpo_trainer


def train(recipe: Recipe, out: Path) -> int:
    """Train as the recipe says, in the run folder ``out``. Returns the exit status. Raises `UsageError`."""
    return run_job(lambda: prepare(recipe, out), recipe, out)


def prepare(recipe: Recipe, out: Path) -> tuple[Job, list[Part]]:
    """The model's writer, the held-out questions and the stages, with all data read."""
    writer = open_writer(recipe.model)
    validation = read_lines(recipe.data.validation)
    parts = []
    for stage, lines in staged(recipe):
        read = partial(pairs, writer=writer, max_length_tokens=cast(Dpo, stage.settings).max_length_tokens)
        parts.append(_part(stage, read(lines), read(validation) if validation else None, writer))
    held_out = open_held_out(recipe.held_out, questions_of(recipe))
    return Job(recipe, RunFolder(out), writer, held_out), parts


def _part(stage: Stage, rows: Examples, validation: Examples | None, writer: Writer) -> Part:
    settings = cast(Dpo, stage.settings)

    def make(model: Any, folder: Path, callbacks: Callbacks) -> Any:
        others = validation.rows if validation is not None else ()
        return dpo_trainer(model, writer, settings, folder, rows.rows, others, callbacks)

    return Part(settings, make, str(rows).replace("examples", "pairs"), stage.name)
