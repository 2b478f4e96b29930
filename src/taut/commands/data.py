"""``taut data``: from recorded rollouts to files that ``taut train`` learns shorter thinking from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taut.cli import existing_file, folder, model_folder, new_file, positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taut.dialects import Dialect
    from taut.methods.model_based.short_data._nouns import Builder, Question, Tools

HELP = """training examples of shorter thinking, from rollouts that were recorded

Reads runs of 'taut bench' with several rollouts per question (--rollouts, or several --preset) and writes what a
BUILDER makes of them: rows to imitate (prompt, completion) or pairs to prefer (prompt, chosen, rejected). Says what
was kept, dropped and why, also in a file beside it (train.report.json). 'taut list short data' shows the builders."""

BUILDER = "a builder, with parameters as NAME(parameter=value,…): shortest_correct, long_to_short, token_skip, …"
ARGUMENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--out", {"required": True, "type": new_file, "metavar": "FILE", "help": "the rows, as .jsonl"}),
    ("--set", {"action": "append", "default": [], "metavar": "KEY=VALUE", "help": "a parameter of the builder"}),
    ("--preset", {"action": "append", "default": [], "metavar": "P", "help": "only answers of this preset; repeat it"}),
    ("--dialect", {"metavar": "NAME", "help": "whose tags thoughts are written in (default: think_tags)"}),
    (
        "--tokenizer",
        {"type": model_folder, "metavar": "FOLDER", "help": "counts what is shortened (default: estimates)"},
    ),
    (
        "--importance-model",
        {
            "type": model_folder,
            "metavar": "FOLDER",
            "help": "token_skip: LLMLingua-2's model, or for surprisal the model's own",
        },
    ),
    ("--engine", {"metavar": "E", "help": "c3ot: the compressor, as in 'taut bench'"}),
    ("--compressions", {"type": existing_file, "metavar": "FILE", "help": "c3ot: traces of a compressor, made before"}),
    ("--concurrency", {"type": positive, "default": 4, "metavar": "C", "help": "compressions at once (default: 4)"}),
    ("--config", {"type": existing_file, "metavar": "FILE", "help": "default: taut.toml here, if there is one"}),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("builder", metavar="BUILDER", help=BUILDER)
    parser.add_argument("traces", metavar="TRACES", nargs="+", type=folder, help="run folders, or files of traces")
    for name, options in ARGUMENTS:
        parser.add_argument(name, **options)


def main(arguments: argparse.Namespace) -> int:
    """Read, build, write and show."""
    from taut.replay.files import check_writable
    from taut.train.examples import build, open_builder, read_questions, report_of, show, write
    from taut.train.examples.report import write_report

    out: Path = arguments.out
    builder = open_builder(arguments.builder, _parameters(arguments.set))
    _check_out(out, arguments.traces)
    check_writable(out, "--out")
    questions = read_questions(arguments.traces, arguments.preset)
    dialect = _dialect(arguments.dialect, questions)
    built = build(builder, questions, _tools(arguments, builder, questions))
    notes = [f"an earlier {out.name} was replaced"] if out.exists() else []
    report = report_of(built, builder, [str(path) for path in arguments.traces], notes)
    write(built.examples, dialect, out)
    write_report(report, out)
    show(report, out)
    return 0


def _parameters(texts: Sequence[str]) -> dict[str, str]:
    from taut.errors import UsageError

    parameters: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not (sign and key.strip()) or key.strip() in parameters:
            raise UsageError(f"--set {text!r} should read KEY=VALUE, such as --set of=thinking, each key once")
        parameters[key.strip()] = value.strip()
    return parameters


def _check_out(out: Path, traces: Sequence[Path]) -> None:
    from taut.errors import UsageError

    read = {path.resolve() for path in traces} | {(path / "traces.jsonl").resolve() for path in traces}
    if out.resolve() in read:
        raise UsageError(f"--out {out} is one of the files that are read: rows take another name, such as train.jsonl")


def _dialect(name: str | None, questions: Sequence[Question]) -> Dialect | None:
    """Whose tags are written; ``None`` where nobody thought, so that there are none."""
    from taut.dialects import by_name
    from taut.train.examples.rows import thinks

    if name is None and not thinks(questions):
        return None
    return by_name(name or "think_tags")


def _tools(arguments: argparse.Namespace, builder: Builder, questions: Sequence[Question]) -> Tools:
    from taut.methods.model_based.short_data._nouns import Tools
    from taut.train.examples import reader, token_counter

    importance = None
    if arguments.importance_model and "importance" in builder.needs:
        from taut.train.examples.importance import open_weigher

        importance = open_weigher(getattr(builder, "importance", ""), arguments.importance_model)
    return Tools(
        count=token_counter(arguments.tokenizer) if arguments.tokenizer else None,
        audit=reader(),
        importance=importance,
        compressions=_compressed(arguments, builder, questions),
    )


def _compressed(
    arguments: argparse.Namespace, builder: Builder, questions: Sequence[Question]
) -> dict[str, str] | None:
    """Compressed chains from a file, or from an engine by way of one."""
    if not (arguments.engine or arguments.compressions):
        return None
    from taut.errors import UsageError
    from taut.train.examples.compressing import asking, compressions

    asking(builder)
    if arguments.engine and arguments.compressions:
        raise UsageError("--engine makes compressions and --compressions reads them: give one of the two")
    path: Path = arguments.compressions or arguments.out.with_name(f"{arguments.out.stem}.compressions.jsonl")
    if arguments.engine:
        _compress(arguments, builder, questions, path)
    return compressions(path)


def _compress(arguments: argparse.Namespace, builder: Builder, questions: Sequence[Question], path: Path) -> None:
    import asyncio
    import sys

    from rich.console import Console

    from taut.config import load_config, open_engine
    from taut.train.examples.compressing import compress

    if path.exists():
        sys.stderr.write(f"taut: goes on with {path.name}, which was made before; without it all are made anew\n")

    async def run() -> None:
        engine = await open_engine(arguments.engine, load_config(arguments.config))
        done = 0
        try:
            with Console(stderr=True).status("compressing") as status:

                def tell() -> None:
                    nonlocal done
                    done += 1
                    status.update(f"compressed {done:,}")

                await compress(builder, questions, engine, path, arguments.concurrency, tell)
        finally:
            await engine.close()

    asyncio.run(run())
