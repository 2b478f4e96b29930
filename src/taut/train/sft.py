"""``taut train sft``: supervised fine-tuning on prompt and completion, the loss on the completion only.

Stages train one after the other, each on rows of its own and with a fresh optimiser, as progressive shortening
(CoT-Valve, arXiv:2502.09601) and stepwise internalisation (arXiv:2405.14838) ask. Rows with a column ``stage`` and no
stages in the recipe are trained in the order of that column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from taut.errors import UsageError
from taut.train.held_out import Known, known_of, open_held_out
from taut.train.loop import Job, Part, met, run_job
from taut.train.models import Writer, open_writer
from taut.train.recipe import OfExamples, Recipe, Settings, Stage
from taut.train.rows import Examples, Line, completions, read_lines
from taut.train.run_folder import RunFolder, digest
from taut.train.trainers import Callbacks, Rows, sft_trainer

Read = Callable[[Sequence[Line], Writer, int], Examples]
"""Tokens of rows, of which those that are longer than so many are left out."""
Trainer = Callable[[Any, Writer, Any, Path, Rows, Rows, Callbacks], Any]
"""TRL's trainer of a model, for a stage's settings, in a folder, on rows and others to watch the loss on."""


def train(recipe: Recipe, out: Path) -> int:
    """Train as the recipe says, in the run folder ``out``. Returns the exit status. Raises `UsageError`."""
    return run_job(lambda: prepare(recipe, out), recipe, out)


def prepare(recipe: Recipe, out: Path) -> tuple[Job, list[Part]]:
    """The model's writer, the held-out questions and the stages, with all data read."""
    return prepare_examples(recipe, out, completions, sft_trainer)


def prepare_examples(recipe: Recipe, out: Path, read: Read, trainer: Trainer) -> tuple[Job, list[Part]]:
    """The same for rows of any form, with what makes tokens of them and what trains on these."""
    writer = open_writer(recipe.model)
    validation = read_lines(recipe.data.validation)
    parts = []
    for stage, lines in staged(recipe):
        longest = cast(OfExamples, stage.settings).max_length_tokens
        rows = read(lines, writer, longest)
        others = read(validation, writer, longest).rows if validation else ()
        parts.append(_part(stage, rows, others, writer, trainer))
    held_out = open_held_out(recipe.held_out, questions_of(recipe))
    watched = {"validation rows": digest([dict(line.cells) for line in validation])}
    return Job(recipe, RunFolder(out), writer, held_out, watched=watched), parts


def _part(stage: Stage, rows: Examples, validation: Rows, writer: Writer, trainer: Trainer) -> Part:
    def make(model: Any, folder: Path, callbacks: Callbacks) -> Any:
        return trainer(model, writer, stage.settings, folder, rows.rows, validation, callbacks)

    says = f"{rows}{met(stage.settings, len(rows.rows), 'examples')}"
    return Part(stage.settings, make, says, stage.name, rows=digest(rows.rows))


def staged(recipe: Recipe) -> list[tuple[Stage, list[Line]]]:
    """The stages with their rows. Raises `UsageError` where one of them has none."""
    common = _limited(read_lines(recipe.data.train), recipe)
    if not recipe.stages:
        return _by_column(common, recipe.settings)
    found = []
    for number, stage in enumerate(recipe.stages, start=1):
        lines = read_lines(stage.train) if stage.train else common
        if stage.stage is not None:
            lines = [line for line in lines if line.cells.get("stage") == stage.stage]
        if not lines:
            raise UsageError(f"stage {number} has no rows: {_wanted(stage)}")
        found.append((stage, lines))
    return found


def _limited(lines: list[Line], recipe: Recipe) -> list[Line]:
    return lines[: recipe.data.limit] if recipe.data.limit else lines


def _wanted(stage: Stage) -> str:
    if stage.stage is None:
        return "name its file by train = …, or give data.train"
    return f"no row has {stage.stage!r} in its column 'stage'"


def _by_column(lines: Sequence[Line], settings: Settings) -> list[tuple[Stage, list[Line]]]:
    """One stage for all rows, or one for every value of the column ``stage``."""
    if not lines:
        raise UsageError('there is nothing to train on: [data] train = "rows.jsonl"')
    values = {value for line in lines if (value := _number(line)) is not None}
    others = [line for line in lines if _number(line) is None]
    if others and (len(values) > 1 or any(line.cells.get("stage") is not None for line in others)):
        raise UsageError(
            f"{others[0].place}, has no whole number in its column 'stage', by which the other rows are trained one "
            "after the other: number all rows, or name the files of each of [[stages]]"
        )
    if len(values) < 2:
        return [(Stage(settings), list(lines))]
    return [
        (Stage(settings, f"rows of stage {value}", stage=value), [line for line in lines if _number(line) == value])
        for value in sorted(values)
    ]


def _number(line: Line) -> int | None:
    value = line.cells.get("stage")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def questions_of(recipe: Recipe) -> Known:
    """The questions that are trained on, to be kept apart from the held-out ones."""
    files = [*recipe.data.train, *(file for stage in recipe.stages for file in stage.train)]
    return known_of((str(line.cells.get("id", "")), _question(line)) for line in read_lines(files))


def _question(line: Line) -> str:
    prompt = line.cells.get("prompt", line.cells.get("messages", ""))
    if not isinstance(prompt, list):
        return str(prompt).strip()
    said = [message.get("content") for message in prompt if isinstance(message, dict) and message.get("role") == "user"]
    return str(said[-1]).strip() if said else ""
