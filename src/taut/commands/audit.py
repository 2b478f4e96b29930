"""``taut audit``: where a model's thinking tokens go, of anyone's traces and without a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taut.cli import existing_file, folder, positive

if TYPE_CHECKING:
    from taut.audit import Loaded, Report

HELP = """where the thinking tokens go in anyone's traces: the answer, and all that comes after it

Reads a run folder, traces.jsonl, logs of the usual protocols, or texts with think tags in any dialect, and writes
OUT/audit.json and OUT/audit.html. Works without a model; with --engine a model tells the solution rounds."""

FILE = "a run folder, or a .jsonl, .json, .csv, .parquet or .txt file"
ARGUMENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--out", {"type": folder, "metavar": "DIR", "help": "default: audit-NAME, after the file"}),
    ("--limit", {"type": positive, "metavar": "N", "help": "only the first N traces"}),
    (
        "--preset",
        {"action": "append", "default": [], "metavar": "NAME", "help": "only this preset or model; may be repeated"},
    ),
    ("--worst", {"type": positive, "default": 20, "metavar": "N", "help": "traces shown on the page (default: 20)"}),
    ("--dialect", {"metavar": "NAME", "help": "default: told by the tags; plain takes whole texts as thinking"}),
    (
        "--column",
        {"action": "append", "default": [], "metavar": "ROLE=NAME", "help": "text=…, thinking=…, reference=…, …"},
    ),
    ("--engine", {"metavar": "E", "help": "a judge of solution rounds, as in 'taut bench' (default: none)"}),
    ("--concurrency", {"type": positive, "default": 4, "metavar": "C", "help": "traces judged at once (default: 4)"}),
    ("--config", {"type": existing_file, "metavar": "FILE", "help": "default: taut.toml here, if there is one"}),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("file", metavar="FILE", type=Path, help=FILE)
    for name, options in ARGUMENTS:
        parser.add_argument(name, **options)


def main(arguments: argparse.Namespace) -> int:
    """Read, audit, write and show."""
    from taut.audit import ReadOptions, load, report, show, write

    path = arguments.file.expanduser()
    out = arguments.out or Path(f"audit-{path.resolve().stem}")
    columns, presets = _columns(arguments.column), tuple(arguments.preset)
    loaded = load(path, ReadOptions(columns, arguments.dialect, arguments.limit, presets))
    found = _judged(arguments, loaded, path.name, out) if arguments.engine else report(loaded, path.name)
    write(found, loaded.thoughts, out, arguments.worst)
    show(found, out)
    return 0


def _judged(arguments: argparse.Namespace, loaded: Loaded, source: str, out: Path) -> Report:
    import asyncio

    from rich.console import Console

    from taut.audit import report
    from taut.audit.judge import judge_rounds
    from taut.config import load_config, open_engine

    async def judged() -> Report:
        config = load_config(arguments.config)
        engine = await open_engine(arguments.engine, config)
        try:
            with Console(stderr=True).status("judging") as status:
                rounds, judging = await judge_rounds(
                    loaded.thoughts,
                    engine,
                    out,
                    arguments.concurrency,
                    lambda done: status.update(f"judged {done:,} of {len(loaded.thoughts):,}"),
                )
        finally:
            await engine.close()
        return report(loaded, source, rounds, judging)

    return asyncio.run(judged())


def _columns(texts: list[str]) -> dict[str, str]:
    from taut.errors import UsageError

    columns = {}
    for text in texts:
        role, _, name = text.partition("=")
        if not role or not name:
            raise UsageError("--column takes ROLE=NAME, such as --column text=response")
        columns[role] = name
    return columns
