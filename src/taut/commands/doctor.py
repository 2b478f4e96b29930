"""``taut doctor``: what an endpoint truly can do, found out by trying."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from taut.cli import existing_file

if TYPE_CHECKING:
    from rich.console import Console

    from taut.config import Config
    from taut.doctor import Report

HELP = """what an engine or server truly can do, found out by trying, and the [engines.x] block to paste

Asks TARGET some twenty small questions (under 1,500 completion tokens in all): continuing a turn, log-probabilities,
stop strings, seeds, thinking switch and budget, prefix cache, abort, counts. Exit code 0 if it answers, 2 if not."""

TARGET = "http://SERVER, embedded, embedded:MODEL.gguf, transformers:FOLDER, fake, or a name from taut.toml"
OPTION = "a key of [engines.x], such as model=NAME or dialect=NAME; repeat it"
STYLES = {"yes": "green", "no": "red", "unknown": "yellow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("target", metavar="TARGET", help=TARGET)
    parser.add_argument("--config", type=existing_file, metavar="FILE", help="default: taut.toml here, if there is one")
    parser.add_argument("--engine-option", action="append", default=[], metavar="KEY=VALUE", help=OPTION)
    parser.add_argument("--deadline", type=float, default=60.0, metavar="SECONDS", help="per check (default: 60)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def main(arguments: argparse.Namespace) -> int:
    """Run every check and print what was found."""
    import asyncio

    from rich.console import Console

    from taut.config import load_config
    from taut.doctor import examine

    config = load_config(arguments.config)
    options = dict(_option(text) for text in arguments.engine_option)
    if arguments.deadline <= 0:
        from taut.errors import UsageError

        raise UsageError(f"--deadline {arguments.deadline:g} leaves no time: give a number of seconds above 0")
    with Console(stderr=True).status("opening") as status:
        report = asyncio.run(
            examine(arguments.target, config, options, deadline_s=arguments.deadline, tell=status.update)
        )
    name = arguments.target if arguments.target in config.engines else ""
    if arguments.json:
        _print_json(report, config, name)
    else:
        show(Console(), report, config, name)
    return 0


def show(console: Console, report: Report, config: Config, name: str = "") -> None:
    """Print the facts, the table, the block and the presets."""
    from rich.markup import escape
    from rich.table import Table

    from taut.doctor import presets_under, toml_block

    for key, value in _facts(report).items():
        console.print(f"[bold]{key:8}[/bold] {escape(value)}", highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("what was seen")
    table.add_column("tokens", justify="right")
    for check in report.checks:
        surprise = report.surprise(check)
        seen = escape(f"{check.seen} ({surprise})" if surprise else check.seen)
        table.add_row(check.name, f"[{STYLES[check.verdict]}]{check.verdict}[/]", seen, str(check.tokens))
    console.print()
    console.print(table, highlight=False)
    console.print(f"\n{report.tokens} completion tokens in all. For taut.toml:\n")
    console.print(toml_block(report, name), markup=False, highlight=False, soft_wrap=True)
    works, fails = presets_under(report.offers, config, report.identity.engine)
    console.print(f"Presets that work: {', '.join(works) or 'none'}.", highlight=False)
    if fails:
        reasons = ", ".join(f"{name} (lacks {lack})" for name, lack in fails.items())
        console.print(f"Presets that do not: {reasons}.", markup=False, highlight=False)


def _facts(report: Report) -> dict[str, str]:
    identity = report.identity
    context = "" if identity.context_tokens is None else f", {identity.context_tokens} tokens of context"
    facts = {"engine": identity.engine, "model": f"{identity.model}{context}"}
    if identity.server:
        facts["server"] = f"{identity.server} at {identity.url}, route {identity.route}"
    return {**facts, "dialect": f"{identity.dialect} ({identity.dialect_found})"}


def _print_json(report: Report, config: Config, name: str) -> None:
    import json
    import sys
    from dataclasses import asdict

    from taut.doctor import presets_under, toml_block

    works, fails = presets_under(report.offers, config, report.identity.engine)
    document: dict[str, Any] = {
        **asdict(report.identity),
        "checks": [asdict(check) for check in report.checks],
        "tokens": report.tokens,
        "offers": sorted(report.offers),
        "assumed": sorted(report.assumed),
        "not_told": sorted(report.kept),
        "toml": toml_block(report, name),
        "presets": {"work": works, "fail": fails},
    }
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _option(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        from taut.errors import UsageError

        raise UsageError(f"--engine-option {text!r} should read KEY=VALUE, such as model=NAME")
    return key.strip(), value.strip()
