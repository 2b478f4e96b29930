"""``taut compare``: runs of several models on the same questions, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from taut.cli import folder

if TYPE_CHECKING:
    from rich.table import Table

    from taut.metrics import Estimate
    from taut.report.together import Thinking

HELP = """several runs of taut bench on the same questions as one: models, levels or adapters side by side

Writes OUT with all traces and the usual report, and compares accuracy, tokens and thinking question by question. All
runs must have asked the same questions with the same seed and sampling."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    told = "a run folder, and what to call it (default: as the folder is called)"
    parser.add_argument("runs", nargs="+", type=_run, metavar="[NAME=]RUN", help=told)
    parser.add_argument("--out", required=True, type=folder, metavar="OUT", help="a new folder")
    parser.add_argument(
        "--baseline", default="", metavar="NAME", help="what the others are compared with (default: the first)"
    )


def _run(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    if not sign:
        name, path = Path(text).resolve().name, text
    if not name.strip() or not path.strip():
        raise argparse.ArgumentTypeError(f"{text!r} should read RUN or NAME=RUN, such as q4_0=runs/levels/q4_0")
    return name.strip(), folder(path)


def main(arguments: argparse.Namespace) -> int:
    """Put them together, and show the report and how long each thinks."""
    from rich.console import Console

    from taut.errors import UsageError
    from taut.metrics import check_libraries
    from taut.report import show
    from taut.report.together import put_together

    check_libraries()
    names = [name for name, _ in arguments.runs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"two runs are called {min(twice)!r}: name them, as NAME=RUN")
    found = put_together(dict(arguments.runs), arguments.out, arguments.baseline)
    show(arguments.out)
    Console().print(table(found), highlight=False)
    return 0


def table(found: list[Thinking]) -> Table:
    """Thinking tokens of each, and against the baseline."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    made.add_column("thinking")
    made.add_column("tokens per answer", justify="right")
    made.add_column("× baseline", justify="right")
    for one in found:
        made.add_row(one.name, _shown(one.tokens, 0), _shown(one.ratio, 2))
    return made


def _shown(estimate: Estimate | None, digits: int) -> str:
    if estimate is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"
