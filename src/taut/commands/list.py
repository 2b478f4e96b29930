"""``taut list``: every method, stop rule, task, verifier, engine and preset, with its paper and what it needs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from taut.cli import existing_file
from taut.commands.train import KINDS
from taut.errors import TautError, UsageError, nearest

if TYPE_CHECKING:
    from rich.console import Console

    from taut.plugins import Entry
    from taut.train.recipe import Kind

HELP = """every method, stop rule, task, verifier and engine, its paper and what it needs

Without a name all tables; with the name of a group, such as tasks, that table; with the name of an entry, such as
concise, its parameters with their defaults and meanings. 'taut list presets' shows the presets of taut.toml, 'taut
list sft' (rl, dpo, distill) every key of a recipe for taut train."""

GROUPS = (
    *("methods", "stop rules", "length rewards", "short data"),
    *("tasks", "verifiers", "engines", "importers", "presets"),
)
PLAIN_WIDTH = 100
"""Columns where the output is no terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("name", nargs="*", help=f"only this: {', '.join(GROUPS)}, or any name in them")
    parser.add_argument("--config", type=existing_file, metavar="FILE", help="default: taut.toml here, if there is one")


def main(arguments: argparse.Namespace) -> int:
    """Print one table a group, or the page of one entry."""
    console = _console()
    if not arguments.name:
        for group in GROUPS:
            _print_group(console, group, arguments, is_one_of_many=True)
        return 0
    name = " ".join(arguments.name)
    group = _group(name)
    if group:
        _print_group(console, group, arguments)
    else:
        _print_entries(console, name, arguments)
    return 0


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(highlight=False, width=PLAIN_WIDTH)


def _group(name: str) -> str:
    """The group that ``name`` means, in the plural or the singular; empty if it means none."""
    spaced = name.replace("_", " ").replace("-", " ")
    return next((group for group in GROUPS if spaced in (group, group.removesuffix("s"))), "")


def _print_entries(console: Console, name: str, arguments: argparse.Namespace) -> None:
    """The pages of all entries of that name: a task and its verifier may share one."""
    from taut import plugins
    from taut.commands._page import show_entry, show_recipe

    if name in KINDS:
        show_recipe(console, cast("Kind", name))
        return
    found = [entries[name] for entries in map(plugins.entries, plugins.FOLDERS) if name in entries]
    for entry in found:
        show_entry(console, entry)
    if found:
        return
    presets = _presets(arguments)
    if name in presets:
        _print_table(console, "presets", [(name, *presets[name])])
        return
    _refuse(
        arguments.name,
        [*GROUPS, *KINDS, *presets, *(key for group in plugins.FOLDERS for key in plugins.entries(group))],
    )


def _refuse(words: list[str], known: list[str]) -> None:
    first, *rest = words
    if rest and (first in known or _group(first)):
        raise UsageError(f"taut list takes one name: {first!r} is one, {' '.join(rest)!r} is one too many")
    name = " ".join(words)
    raise UsageError(
        f"there is no group and no entry named {name!r}{nearest(name, known)}; groups: {', '.join(GROUPS)}"
    )


def _print_group(console: Console, group: str, arguments: argparse.Namespace, *, is_one_of_many: bool = False) -> None:
    if group != "presets":
        _print_table(console, group, list(_rows(group)))
        return
    try:
        presets = _presets(arguments)
    except TautError as error:
        if not is_one_of_many:
            raise
        presets = {"": (str(error), "")}
    if presets:
        _print_table(console, group, [(name, *cells) for name, cells in presets.items()])
    elif not is_one_of_many:
        console.print("taut.toml has no presets; every method is one under its own name: taut list methods")


def _print_table(console: Console, title: str, rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for column in ("name", "what it is", "needs")[: len(rows[0])]:
        table.add_column(column, no_wrap=column == "name")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    console.print()


def _rows(group: str) -> Iterator[tuple[str, ...]]:
    from taut import plugins

    for name, entry in plugins.entries(group).items():
        yield (name, _summary(entry), _needs(group, name)) if group in plugins.MEMBERS else (name, _summary(entry))


def _summary(entry: Entry) -> str:
    """Its first line; what is wrong with a file that cannot be read, so that the list goes on."""
    try:
        return entry.summary.replace("``", "`")
    except UsageError as error:
        return str(error)


def _needs(group: str, name: str) -> str:
    from taut.commands._page import PRESETS, needs_of
    from taut.config import LOOP, build_entry

    if name == LOOP:
        return "a stop rule"
    try:
        return ", ".join(sorted(needs_of(name) if group in PRESETS else build_entry(group, name, name).needs))
    except TautError as error:
        return str(error)


def _presets(arguments: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """By name: the preset as the command line would have it, and what it needs. Raises `UsageError`."""
    from taut.commands._page import all_needs
    from taut.config import load_config

    config = load_config(arguments.config)
    return {
        name: (_written(table), ", ".join(sorted(all_needs(config.preset(name).method))))
        for name, table in config.presets.items()
    }


def _written(table: Mapping[str, Any]) -> str:
    """``concise:word_limit=50+budget_forcing``."""
    values = ",".join(
        f"{key}={'|'.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in table.items()
        if key not in ("method", "inner")
    )
    inner = table.get("inner")
    rest = _written(inner) if isinstance(inner, Mapping) else inner
    return f"{table['method']}{':' if values else ''}{values}{f'+{rest}' if rest else ''}"
