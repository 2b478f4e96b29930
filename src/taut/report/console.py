"""The main table for the terminal, in 100 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from taut.metrics import Summary
from taut.report.folder import read_summary
from taut.report.headline import headline
from taut.report.rows import Cell, Row, legend, rows
from taut.report.writing import FILES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100


def show(run_dir: Path, console: Console | None = None) -> None:
    """Print the table of a run whose report is written, what it shows, and where the files are."""
    from rich.console import Console

    summary = read_summary(run_dir)
    console = console or Console(width=None if Console().is_terminal else WIDTH)
    console.print(table(summary))
    console.print(headline(summary), markup=False, highlight=False)
    for name in FILES:
        if (run_dir / name).exists():
            console.print(f"  {run_dir / name}", markup=False, highlight=False, soft_wrap=True)


def table(summary: Summary) -> Table:
    """The main table, intervals and flags below what they belong to; fits 100 columns, mostly 80 too."""
    from rich import box
    from rich.table import Table

    shown = rows(summary)
    made = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        caption=_caption(summary, shown),
        caption_justify="left",
        padding=(0, 1, 0, 0),
    )
    made.add_column("preset", overflow="fold", min_width=14)
    for head in ("n", "accuracy", "tokens\nthink/ans/other", "tokens\n× baseline", "Δ accuracy", "p50"):
        made.add_column(head, justify="right", no_wrap=True)
    for row in shown:
        made.add_row(*_cells(row), style="bold" if row.is_baseline else None)
    return made


def _cells(row: Row) -> list[str]:
    return [
        _two_lines(Cell(_plain(row.name), " ".join(row.flags))),
        row.n,
        _two_lines(row.accuracy),
        _two_lines(Cell(row.tokens.value, f"{row.thinking}/{row.answer}/{row.other}")),
        _two_lines(row.ratio),
        _two_lines(row.difference),
        row.latency,
    ]


def _plain(text: str) -> str:
    """A user's own name may hold what rich reads as markup."""
    from rich.markup import escape

    return escape(text)


def _two_lines(cell: Cell) -> str:
    return f"{cell.value}\n[dim]{_plain(cell.interval)}[/dim]" if cell.interval else cell.value


def _caption(summary: Summary, shown: Sequence[Row]) -> str:
    against = f"; × and Δ (percentage points) against {_plain(summary.baseline)} on the same questions"
    several = against if len(summary.presets) > 1 else ""
    return f"Means per answer; 95 % intervals in brackets{several}. {legend(shown)}".strip()
