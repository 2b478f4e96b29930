"""``taut train dpo``: pairs of a chosen and a rejected completion (Kimi k1.5's long-to-short, DAST's ranking)."""

from __future__ import annotations

from pathlib import Path

from taut.train.loop import Job, Part, run_job
from taut.train.recipe import Recipe
from taut.train.rows import pairs
from taut.train.sft import prepare_examples
from taut.train.trainers import dpo_trainer


def train(recipe: Recipe, out: Path) -> int:
    """Train as the recipe says, in the run folder ``out``. Returns the exit status. Raises `UsageError`."""
    return run_job(lambda: prepare(recipe, out), recipe, out)


def prepare(recipe: Recipe, out: Path) -> tuple[Job, list[Part]]:
    """The model's writer, the held-out questions and the stages, with all data read."""
    return prepare_examples(recipe, out, pairs, dpo_trainer)
