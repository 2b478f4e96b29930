"""``taut bench``: presets against each other on the same questions, with error bars."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taut.cli import existing_file, few, folder, not_negative, positive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from taut.bench import Plan
    from taut.config import Config
    from taut.core import Engine, Task
    from taut.run import Preset

HELP = """which method saves how much on my model and my questions, at what accuracy, with error bars

Asks every question once per preset (and rollout), writes RUN/traces.jsonl as answers come, and at the end, or after
Ctrl-C, RUN/summary.json, RUN/report.md and RUN/report.html. The first --preset is the baseline unless --baseline says
otherwise. A run that was stopped goes on with --resume."""

DEFAULT_PRESETS = ("direct", "chain_of_thought", "concise", "chain_of_draft", "token_budget", "no_thinking")


ENGINES = (
    "embedded, embedded:MODEL.gguf, http://SERVER, transformers:FOLDER, fake, or a name from taut.toml; "
    "NAME=E for a further one that a method asks for (default: embedded)"
)
PRESETS = (
    f"a preset of taut.toml or METHOD[:parameter=value,…][+METHOD…]; repeat it (default: {', '.join(DEFAULT_PRESETS)})"
)
TASKS = "gsm8k, math500, …, reasoning_gym:NAME, or a .jsonl, .csv or .parquet file ('taut list tasks')"
ARGUMENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--engine", {"action": "append", "metavar": "E", "help": ENGINES}),
    ("--task", {"required": True, "metavar": "T", "help": TASKS}),
    ("--limit", {"type": positive, "default": 50, "metavar": "N", "help": "questions (default: 50)"}),
    ("--seed", {"type": int, "default": 0, "metavar": "S", "help": "fixes questions and randomness (default: 0)"}),
    ("--preset", {"action": "append", "metavar": "P", "help": PRESETS}),
    ("--baseline", {"metavar": "P", "help": "the preset to compare with (default: the first)"}),
    ("--out", {"required": True, "type": folder, "metavar": "RUN", "help": "folder of the run"}),
    ("--resume", {"action": "store_true", "help": "go on with the run in RUN"}),
    ("--rollouts", {"type": few, "default": 1, "metavar": "K", "help": "answers per question (default: 1)"}),
    ("--concurrency", {"type": positive, "default": 4, "metavar": "C", "help": "questions at once (default: 4)"}),
    ("--max-tokens", {"type": positive, "default": 1024, "metavar": "N", "help": "per answer, all in (default: 1024)"}),
    ("--temperature", {"type": not_negative, "metavar": "X", "help": "default: the engine's own"}),
    ("--top-p", {"type": not_negative, "metavar": "X", "help": "default: the engine's own"}),
    ("--deadline", {"type": not_negative, "metavar": "SECONDS", "help": "per question (default: none)"}),
    ("--data", {"type": Path, "metavar": "FOLDER", "help": "where data sets lie (default: the Hugging Face hub)"}),
    ("--split", {"metavar": "NAME", "help": "default: the task's test split"}),
    ("--difficulty", {"metavar": "LEVEL", "help": "easy, medium or hard, for reasoning_gym tasks"}),
    (
        "--column",
        {"action": "append", "default": [], "metavar": "ROLE=NAME", "help": "own files: question=…, answer=…"},
    ),
    ("--verifier", {"metavar": "V", "help": "own files: exact, number, math or choice"}),
    ("--no-format-line", {"action": "store_true", "help": "do not tell the model how to write its answer"}),
    ("--config", {"type": existing_file, "metavar": "FILE", "help": "default: taut.toml here, if there is one"}),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    for name, options in ARGUMENTS:
        parser.add_argument(name, **options)


def main(arguments: argparse.Namespace) -> int:
    """Run the sweep and write the report."""
    import asyncio

    from taut.config import load_config
    from taut.metrics import check_libraries

    check_libraries()
    config = load_config(arguments.config)
    presets = [config.preset(text) for text in arguments.preset or DEFAULT_PRESETS]
    _check_names(presets, arguments.baseline)
    return asyncio.run(_bench(arguments, config, presets))


async def _bench(arguments: argparse.Namespace, config: Config, presets: list[Preset]) -> int:
    from contextlib import AsyncExitStack

    from taut.bench import Plan
    from taut.config import open_engine
    from taut.core import Sampling
    from taut.run import check_needs

    parts = _parts(arguments.engine or ["embedded"])
    tasks = _load(arguments)
    sampling = Sampling(arguments.max_tokens, arguments.temperature, arguments.top_p)
    plan = Plan(
        presets,
        tasks,
        sampling,
        arguments.seed,
        arguments.rollouts,
        arguments.concurrency,
        arguments.deadline,
    )
    engines: dict[str, Engine] = {}
    async with AsyncExitStack() as stack:
        for part, text in parts.items():
            engines[part] = await open_engine(text, config)
            stack.push_async_callback(engines[part].close)
        for preset in presets:
            check_needs(preset, engines)
        return await _sweep_and_report(arguments, config, plan, engines)


async def _sweep_and_report(
    arguments: argparse.Namespace, config: Config, plan: Plan, engines: dict[str, Engine]
) -> int:
    from taut.commands._progress import Progress, interruptible
    from taut.manifest import begin, finish
    from taut.traces import alone_in

    with alone_in(arguments.out):
        manifest = begin(arguments, config, plan, engines)
        baseline = arguments.baseline or plan.presets[0].name
        with Progress(plan, baseline) as progress:
            stopped = await interruptible(plan, engines, arguments.out / "traces.jsonl", progress)
        # What stopped the sweep (a full disk, say) is told before what it did to the report.
        with _told_after(stopped):
            finish(arguments.out, manifest, interrupted=stopped is not None)
            if progress.done:
                # Where every question failed, one sentence says more than an empty table.
                _report(arguments.out, plan.tasks if progress.answered else ())
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


def _report(folder: Path, tasks: Sequence[Task]) -> None:
    """Write the report, and show it if there are ``tasks`` to show it of."""
    from taut.manifest import verifiers
    from taut.report import show, write_report

    write_report(folder)
    if tasks:
        sys.stdout.write(f"{len(tasks)} questions, answers judged by {verifiers(tasks)}\n")
        show(folder)


def _load(arguments: argparse.Namespace) -> list[Task]:
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


def _parts(texts: Sequence[str]) -> dict[str, str]:
    """What is given for each part that an engine plays: the one without a name is ``main``."""
    from taut.errors import UsageError

    parts: dict[str, str] = {}
    for text in texts:
        part, sign, rest = text.partition("=")
        if not (sign and part.isidentifier()):
            part, rest = "main", text
        if part in parts:
            raise UsageError(f"two engines are given for {part!r}: write --engine NAME=… for a further one")
        parts[part] = rest
    if "main" not in parts:
        raise UsageError(f"none of the engines is the main one: give it as --engine {texts[0].partition('=')[2]}")
    return parts


def _check_names(presets: Sequence[Preset], baseline: str | None) -> None:
    from taut.errors import UsageError, nearest

    names = [preset.name for preset in presets]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"preset {min(twice)!r} is given twice")
    if baseline is not None and baseline not in names:
        raise UsageError(
            f"--baseline {baseline!r} is none of the presets{nearest(baseline, names)}: {', '.join(names)}"
        )
