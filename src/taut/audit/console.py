"""The audit for the terminal, in 100 columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from taut.audit.nouns import Report, Totals
from taut.audit.showing import cell, counted, headline, lines, shares, state_of, tokens, worst
from taut.audit.totals import MEASURES
from taut.audit.writing import FILES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100
BY_LABEL = {
    "thinking_tokens": "tokens",
    "share_after": "after the answer",
    "rounds": "rounds",
    "reflections": "reflections",
    "switches": "switches",
    "right": "right",
}
"""Measures of the table of presets or models, and what their columns are called."""
SHOWN = 5
"""Of the worst traces; the page has them all."""


def show(report: Report, folder: Path, console: Console | None = None) -> None:
    """Print the totals, the worst traces and where the files are."""
    from rich.console import Console

    console = console or Console(width=None if Console().is_terminal else WIDTH)
    totals = report.totals
    console.print(f"{counted(totals.traces, 'trace')}, {counted(totals.questions, 'question')}", highlight=False)
    console.print(_totals(totals), highlight=False)
    parts = ", ".join(f"{name} {share}" for _, name, _, share in shares(report.totals))
    console.print(f"Of all thinking tokens: {parts}.", markup=False, highlight=False)
    if report.by_label:
        console.print(_by_label(report))
    if found := worst(report, SHOWN):
        console.print(_worst(report, len(found)))
    console.print(headline(report.totals), markup=False, highlight=False)
    for note in report.notes:
        console.print(note, markup=False, highlight=False)
    for name in FILES:
        console.print(f"  {folder / name}", markup=False, highlight=False, soft_wrap=True)


def _new_table(*heads: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for position, head in enumerate(heads):
        table.add_column(head, justify="left" if position == 0 else "right", overflow="fold")
    return table


def _totals(totals: Totals) -> Table:
    table = _new_table("", "mean", "95 % interval", "traces")
    for line in lines(totals):
        table.add_row(line.title, line.cell.value, _plain(line.cell.interval), f"{line.count:,}")
    return table


def _by_label(report: Report) -> Table:
    table = _new_table("preset or model", "traces", *BY_LABEL.values())
    for label, totals in report.by_label.items():
        cells = [cell(totals.measures[name], MEASURES[name].unit).value for name in BY_LABEL]
        table.add_row(_plain(label or "(none)"), f"{totals.traces:,}", *cells)
    return table


def _worst(report: Report, count: int) -> Table:
    table = _new_table("worst", "tokens", "after the answer", "rounds", "reflections", "answer")
    for audit in worst(report, count):
        cells = (tokens(audit, audit.thinking_tokens), tokens(audit, audit.tokens_after))
        table.add_row(_plain(audit.id), *cells, str(audit.rounds), str(audit.reflections), state_of(audit))
    return table


def _plain(text: str) -> str:
    """A user's own name may hold what rich reads as markup."""
    from rich.markup import escape

    return escape(text)
