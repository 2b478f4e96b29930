"""``taut list``: every method, stop rule, task, verifier and engine, with its paper and what it needs."""

from __future__ import annotations

import argparse
from typing import Any

from taut.errors import TautError

HELP = "every method, stop rule, task, verifier and engine, its paper and what it needs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("group", nargs="?", help="only this: methods, 'stop rules', tasks, verifiers or engines")


def main(arguments: argparse.Namespace) -> int:
    """Print one table a group."""
    from rich.console import Console
    from rich.table import Table

    from taut import plugins
    from taut.errors import UsageError, nearest

    groups = tuple(plugins.FOLDERS)
    if arguments.group is not None and arguments.group not in groups:
        raise UsageError(
            f"there is no group {arguments.group!r}{nearest(arguments.group, groups)}; known: {', '.join(groups)}"
        )
    console = Console()
    for group in groups if arguments.group is None else (arguments.group,):
        table = Table(title=group, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
        for column in ("name", "what it is", "needs") if group in ("methods", "stop rules") else ("name", "what it is"):
            table.add_column(column, no_wrap=column == "name")
        for name, entry in plugins.entries(group).items():
            cells: list[Any] = [name, entry.summary]
            if len(table.columns) == 3:
                cells.append(_needs(name))
            table.add_row(*cells)
        console.print(table)
        console.print()
    return 0


def _needs(name: str) -> str:
    from taut.config import LOOP, build_method

    if name == LOOP:
        return "a stop rule"
    try:
        return ", ".join(sorted(build_method(name, {}, None, name).needs))
    except TautError as error:
        return str(error)
