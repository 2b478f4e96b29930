"""The loop that all kinds of training share: stage after stage, each with an optimiser of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from taut.errors import TautError, UsageError, one_line
from taut.traces import alone_in
from taut.train.curves import draw_curves
from taut.train.held_out import HeldOut
from taut.train.models import NO_MEMORY, Writer, busy, check_numbers, open_model, processes, quiet_loading
from taut.train.page import write_page
from taut.train.progress import Progress
from taut.train.recipe import Recipe, Settings
from taut.train.run_folder import Checkpoint, RunFolder, digest, read_log
from taut.train.trainers import MOST_AT_ONCE, Callbacks, silence
from taut.train.watching import MOSTLY, Stop, Watch

NOT_WRITTEN = ("inline_container", "unexpected pos", "file too large", "no space left")
"""How torch and safetensors say that a checkpoint could not be written."""
NO_SUCH_ROW = ("index out of range in self",)
"""How torch says that an embedding is too small."""
DIVERGED = ("probability tensor contains",)
"""How torch says that the model's probabilities are none any more."""
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Job:
    """A training as it is to be run."""

    recipe: Recipe
    run: RunFolder
    writer: Writer
    held_out: HeldOut | None = None
    note: str = ""
    """Something that whoever wrote the recipe may not have meant."""
    watched: Mapping[str, str] = field(default_factory=dict)
    """Digests of what a curve is measured on, by name: a run that goes on must find the same."""


@dataclass(frozen=True, slots=True)
class Part:
    """One stage: its settings, and how to make TRL's trainer for it."""

    settings: Settings
    make: Callable[[Any, Path, Callbacks], Any]
    """From the model, the folder for checkpoints and callbacks."""
    says: str
    """What is trained on, in a few words."""
    name: str = ""
    reward_state: Callable[[], Any] | None = None
    """What the reward remembers, as JSON data, to be saved with each checkpoint."""
    restore: Callable[[Any], None] | None = None
    """Puts that back."""
    rows: str = ""
    """A digest of what is trained on: a run that goes on must find the same."""


def met(settings: Settings, rows: int, what: str) -> str:
    """How many of the rows the steps reach, as the end of a sentence; empty where that is all of them."""
    reached = (settings.steps or rows) * settings.batch_size // getattr(settings, "iterations", 1)
    if reached >= rows:
        return ""
    steps = "1 step" if settings.steps == 1 else f"{settings.steps} steps"
    return f"; only {reached:,} of the {what} are reached, in {steps} of {settings.batch_size}"


def run_job(prepare: Callable[[], tuple[Job, Sequence[Part]]], recipe: Recipe, out: Path) -> int:
    """Train to the end, or until Ctrl-C. Returns the exit status of the command. Raises `UsageError`."""
    state = processes()
    run, is_new = RunFolder(out), not out.exists()
    with alone_in(out) if state.is_main_process else nullcontext(), silence():
        if state.is_main_process:
            run.prepare(recipe)
        state.wait_for_everyone()
        progress = Progress(shown=state.is_main_process)
        with progress.meter:
            if run.is_finished:
                progress.say(f"{out} is finished already; its model is in {run.model}")
                return 0
            with _refusing(run, is_new), _explaining(recipe.settings, lambda: "nothing was trained yet"):
                job, parts = prepare()
            for hint in (job.note, busy(state.device.type)):
                if hint:
                    progress.say(hint)
            return _stages(job, parts, progress)


@contextmanager
def _refusing(run: RunFolder, is_new: bool) -> Iterator[None]:
    """Leave no folder behind where the block refuses what the folder was made for."""
    try:
        yield
    except TautError:
        if is_new and processes().is_main_process:
            run.drop_if_empty()
        raise


def _stages(job: Job, parts: Sequence[Part], progress: Progress) -> int:
    last = job.run.last()
    if processes().is_main_process:
        job.run.hold([part.rows for part in parts], _watched(job), goes_on=last is not None)
        job.run.forget_after(last)
    processes().wait_for_everyone()
    if last is not None:
        progress.say(f"going on from step {last.total_step} ({last.path})")
    stop = Stop()
    first = 0 if last is None else last.stage + last.is_last
    trainer = None
    with stop.listening():
        for index in range(first, len(parts)):
            watch, trainer = _stage(job, parts, index, last, progress, stop)
            last = watch.checkpoint
            if stop.wanted and not (last and last.is_last and index == len(parts) - 1):
                return _stopped(job, watch, progress)
            if index < len(parts) - 1:
                # Two models at once may be one too many.
                watch.trainer = trainer = None
            if index:
                _on_main(partial(job.run.drop_stage, index - 1))
    with _explaining(parts[-1].settings, lambda: "the last checkpoint is kept"):
        _finish(job, parts, trainer, last, progress)
    return 0


def _watched(job: Job) -> dict[str, str]:
    asked = () if job.held_out is None else job.held_out.tasks
    told = [{"id": task.id, "messages": list(task.messages), "answer": task.reference} for task in asked]
    return {**job.watched, "held-out questions": digest(told)}


def _stage(
    job: Job, parts: Sequence[Part], index: int, last: Checkpoint | None, progress: Progress, stop: Stop
) -> tuple[Watch, Any]:
    """Train one stage, from its beginning or from a checkpoint in it."""
    part = parts[index]
    inside = last if last is not None and last.stage == index else None
    steps_before = 0 if last is None else (last.steps_before if inside else last.total_step)
    watch = Watch(
        job.run,
        job.writer,
        progress,
        stop,
        index,
        steps_before,
        0 if last is None else last.tokens,
        is_first=index == 0 and inside is None,
        held_out=job.held_out,
        reward_state=part.reward_state,
        began_s=time.monotonic() - _seconds_so_far(job.run),
        checkpoint=last,
    )
    if len(parts) > 1 or part.says:
        head = f"stage {index + 1} of {len(parts)}{part.name and f', {part.name}'}: " if len(parts) > 1 else ""
        progress.say(f"{head}{part.says}")
    if part.restore is not None and last is not None and last.reward_state is not None:
        part.restore(last.reward_state)
    with quiet_loading(), _explaining(part.settings, watch.kept):
        model = open_model(job.recipe, job.writer, None if last is None else last.path)
        if last is None:
            check_numbers(model, job.recipe.model.path)
        watch.trainer = trainer = part.make(model, job.run.stage(index), [watch])
        trainer.train(resume_from_checkpoint=None if inside is None else str(inside.path))
    if trainer.state.global_step == 0 and not stop.wanted:
        raise UsageError(f"no step was made{part.name and f' in {part.name}'}: there is less data than one step takes")
    return watch, trainer


def _seconds_so_far(run: RunFolder) -> float:
    """That the log has: the clock of a run stands still while it is stopped."""
    return max((float(line.get("seconds", 0.0)) for line in read_log(run.log)), default=0.0)


@contextmanager
def _explaining(settings: Settings, kept: Callable[[], str]) -> Iterator[None]:
    """Raise `UsageError` saying what to do, if memory or the disk ends in the block, or the model diverges."""
    try:
        yield
    except (MemoryError, RuntimeError, SafetensorError, IndexError) as error:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
            raise _no_memory(error, settings, kept()) from None
        if any(words in text for words in NOT_WRITTEN):
            raise UsageError(
                f"a checkpoint could not be written ({one_line(error, 120)}): is the disk full? {kept()}; "
                "the same command goes on from there"
            ) from None
        if any(words in text for words in NO_SUCH_ROW):
            raise UsageError(
                "the tokenizer makes tokens that the model has no row for: is it the tokenizer of another model?"
            ) from None
        if any(words in text for words in DIVERGED):
            raise UsageError(
                f"the model diverged: its probabilities are no numbers; lower learning_rate; {kept()}"
            ) from None
        raise


def _no_memory(error: Exception, settings: Settings, kept: str) -> UsageError:
    keys = ("device_batch_size", "batch_size", "max_completion_tokens", "num_generations", "max_length_tokens")
    now = {key: getattr(settings, key, None) for key in keys}
    now["device_batch_size"] = now["device_batch_size"] or f"{MOST_AT_ONCE} at most"
    lower = [f"{key} (now {now[key]})" for key in keys if now[key] is not None]
    return UsageError(
        f"out of memory ({one_line(error, 120)}): lower {', '.join(lower)}, "
        f"or set gradient_checkpointing = true; {kept}"
    )


def _stopped(job: Job, watch: Watch, progress: Progress) -> int:
    _on_main(lambda: draw_curves(read_log(job.run.log), job.run.path / "curves.png"))
    step = 0 if watch.checkpoint is None else watch.checkpoint.total_step
    progress.say(f"taut: stopped at step {step}; {watch.kept()}; the same command goes on from there")
    return INTERRUPTED


def _finish(job: Job, parts: Sequence[Part], trainer: Any, last: Checkpoint | None, progress: Progress) -> None:
    """Write the model, the curves and the page."""
    run = job.run
    if trainer is None:
        # Killed between the last checkpoint and the model: the checkpoint is the model.
        model = open_model(job.recipe, job.writer, None if last is None else last.path)
        _on_main(lambda: (model.save_pretrained(run.model), job.writer.tokenizer.save_pretrained(run.model)))
    else:
        trainer.save_model(str(run.model))
    shares = [line["truncated_share"] for line in read_log(run.log) if "truncated_share" in line]
    truncated = sum(shares) / max(len(shares), 1)
    if truncated >= MOSTLY:
        progress.say(
            f"taut: {truncated:.0%} of the rollouts were cut at max_completion_tokens: the model learned from cut "
            "answers; raise it"
        )
    steps = 0 if last is None else last.total_step
    says = [f"{part.says} ({part.name})" if part.name else part.says for part in parts]
    _on_main(lambda: _write_results(job, says, truncated, steps))
    progress.say(f"done: {run.model}, curves in {run.path / 'curves.png'}, how to use it in {run.path / 'README.md'}")


def _write_results(job: Job, says: Sequence[str], truncated: float, steps: int) -> None:
    run = job.run
    lines = read_log(run.log)
    (run.model / "training_args.bin").unlink(missing_ok=True)
    draw_curves(lines, run.path / "curves.png")
    write_page(job.recipe, run, lines, says, truncated)
    run.finish(steps=steps, truncated_share=truncated)


def _on_main(work: Callable[[], Any]) -> None:
    """Do it in one process only; the others wait."""
    state = processes()
    if state.is_main_process:
        work()
    state.wait_for_everyone()
