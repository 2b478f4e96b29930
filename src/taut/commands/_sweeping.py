"""What `taut bench` and `taut record` share: their arguments, opening what these name, and a sweep one can stop."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taut.cli import existing_file, few, folder, not_negative, positive, seed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from taut.bench import Plan
    from taut.config import Config
    from taut.core import Engine, Task
    from taut.run import Preset

Arguments = tuple[tuple[str, dict[str, Any]], ...]

ENGINES = (
    "embedded, embedded:MODEL.gguf, http://SERVER, transformers:FOLDER, fake, or a name from taut.toml; "
    "NAME=E for a further one that a method asks for (default: embedded)"
)
TASKS = "gsm8k, math500, …, reasoning_gym:NAME, or a .jsonl, .csv or .parquet file ('taut list tasks')"
WHAT: Arguments = (
    ("--engine", {"action": "append", "metavar": "E", "help": ENGINES}),
    ("--task", {"required": True, "metavar": "T", "help": TASKS}),
    ("--limit", {"type": positive, "default": 50, "metavar": "N", "help": "questions (default: 50)"}),
    ("--seed", {"type": seed, "default": 0, "metavar": "S", "help": "fixes questions and randomness (default: 0)"}),
)
WHERE: Arguments = (
    ("--out", {"required": True, "type": folder, "metavar": "RUN", "help": "folder of the run"}),
    ("--resume", {"action": "store_true", "help": "go on with the run in RUN"}),
)


def how(max_tokens: int) -> Arguments:
    """Arguments for how questions are asked; ``max_tokens`` is the default ceiling of an answer."""
    room = f"per answer, all in (default: {max_tokens})"
    return (
        ("--rollouts", {"type": few, "default": 1, "metavar": "K", "help": "answers per question (default: 1)"}),
        ("--concurrency", {"type": positive, "default": 4, "metavar": "C", "help": "questions at once (default: 4)"}),
        ("--max-tokens", {"type": positive, "default": max_tokens, "metavar": "N", "help": room}),
        ("--temperature", {"type": not_negative, "metavar": "X", "help": "default: the engine's own"}),
        ("--top-p", {"type": not_negative, "metavar": "X", "help": "default: the engine's own"}),
        ("--deadline", {"type": not_negative, "metavar": "SECONDS", "help": "per question (default: none)"}),
    )


DATA: Arguments = (
    ("--data", {"type": Path, "metavar": "FOLDER", "help": "where data sets lie (default: the Hugging Face hub)"}),
    ("--split", {"metavar": "NAME", "help": "default: the task's test split"}),
    ("--difficulty", {"metavar": "LEVEL", "help": "easy, medium or hard, for reasoning_gym tasks"}),
    (
        "--column",
        {"action": "append", "default": [], "metavar": "ROLE=NAME", "help": "own files: question=…, answer=…"},
    ),
    ("--verifier", {"metavar": "V", "help": "own files: exact, number, math, choice, … ('taut list verifiers')"}),
    ("--no-format-line", {"action": "store_true", "help": "do not tell the model how to write its answer"}),
    ("--config", {"type": existing_file, "metavar": "FILE", "help": "default: taut.toml here, if there is one"}),
)


def tasks_of(arguments: argparse.Namespace) -> list[Task]:
    """The questions that the arguments name. Raises `UsageError`."""
    from taut import verify
    from taut.errors import UsageError
    from taut.tasks import LoadOptions, load_tasks

    columns = dict(item.split("=", 1) if "=" in item else (item, "") for item in arguments.column)
    if not all(columns.values()):
        raise UsageError("--column takes ROLE=NAME, such as --column question=prompt")
    options = LoadOptions(
        limit=arguments.limit,
        seed=arguments.seed,
        data=arguments.data,
        split=arguments.split,
        difficulty=arguments.difficulty,
        columns=columns,
        verifier=arguments.verifier,
        format_line=not arguments.no_format_line,
    )
    tasks = load_tasks(arguments.task, options)
    verify.check_libraries(tasks)
    return tasks


def plan_of(arguments: argparse.Namespace, presets: Sequence[Preset]) -> Plan:
    """What the arguments ask for, of these presets. Raises `UsageError`."""
    from taut.bench import Plan
    from taut.core import Sampling

    return Plan(
        presets,
        tasks_of(arguments),
        Sampling(arguments.max_tokens, arguments.temperature, arguments.top_p),
        arguments.seed,
        arguments.rollouts,
        arguments.concurrency,
        arguments.deadline,
    )


@contextlib.asynccontextmanager
async def opened(texts: Sequence[str] | None, config: Config) -> AsyncIterator[dict[str, Engine]]:
    """The engines that ``--engine`` names, by the part they play. Raises `UsageError` or `EngineError`."""
    from taut.config import open_engine

    parts = _parts(texts or ["embedded"])
    engines: dict[str, Engine] = {}
    async with contextlib.AsyncExitStack() as stack:
        for part, text in parts.items():
            engines[part] = await open_engine(text, config)
            stack.push_async_callback(engines[part].close)
        yield engines


def _parts(texts: Sequence[str]) -> dict[str, str]:
    """What is given for each part that an engine plays: the one without a name is ``main``."""
    from taut.config import split_engine
    from taut.errors import UsageError

    parts: dict[str, str] = {}
    for text in texts:
        part, rest = split_engine(text)
        # Methods ask for parts by words.
        if part is None or not part.isidentifier():
            part, rest = "main", text
        if part in parts:
            raise UsageError(f"two engines are given for {part!r}: write --engine NAME=… for a further one")
        parts[part] = rest
    if "main" not in parts:
        raise UsageError(f"none of the engines is the main one: give it as --engine {texts[0].partition('=')[2]}")
    return parts


async def sweep_into(
    arguments: argparse.Namespace,
    config: Config,
    plan: Plan,
    engines: dict[str, Engine],
    afterwards: Callable[[Sequence[Task]], None],
) -> int:
    """Run the plan in the folder ``arguments.out``, until done or stopped, and then what is to come ``afterwards``.

    That is told the questions, or none where no answer came. Returns the exit status of the command.
    """
    from taut.commands._progress import Progress, interruptible
    from taut.manifest import begin, finish
    from taut.run import check_needs
    from taut.traces import alone_in

    for preset in plan.presets:
        check_needs(preset, engines)
    with alone_in(arguments.out):
        manifest = begin(arguments, config, plan, engines)
        baseline = arguments.baseline or plan.presets[0].name
        progress = Progress(plan, baseline)
        with progress.meter:
            stopped = await interruptible(plan, engines, arguments.out / "traces.jsonl", progress)
        # What stopped the sweep (a full disk, say) is told before what it did to the report.
        with _told_after(stopped):
            finish(arguments.out, manifest, interrupted=stopped is not None)
            if progress.done:
                # Where every question failed, one sentence says more than an empty table.
                afterwards(plan.tasks if progress.answered else ())
                if stopped is None:
                    _tell_failures(arguments.out, progress.answered)
    return 130 if stopped is not None else 0


@contextlib.contextmanager
def _told_after(stopped: BaseException | None) -> Iterator[None]:
    """Raise what stopped the sweep, if it was a failure, whatever happens in the block."""
    from taut.errors import TautError, UsageError

    try:
        yield
    except (OSError, TautError) as error:
        if isinstance(stopped, Exception):
            raise stopped from None
        if isinstance(error, OSError):
            raise UsageError(f"cannot write the report: {error.strerror or error}") from None
        raise
    if isinstance(stopped, Exception):
        raise stopped


def _tell_failures(run: Path, answered: int) -> None:
    from taut.errors import EngineError
    from taut.traces import read

    failed = [trace for trace in read(run / "traces.jsonl") if trace.error is not None]
    if not failed:
        return
    again = "--resume asks them again"
    if not answered:
        raise EngineError(f"all {len(failed)} questions failed, the first with: {failed[0].error}; {again}")
    sys.stderr.write(f"taut: {len(failed)} answers failed, the first with: {failed[0].error}; {again}\n")
