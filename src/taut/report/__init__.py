"""What a run folder says, as ``summary.json``, ``report.md``, ``report.html`` and a table for the terminal.

Everything is made from ``traces.jsonl`` and ``manifest.json``, so a report can be written again at any time, of a run
that is still going on too.
"""

from taut.report.console import show, table
from taut.report.writing import write_report

__all__ = ["show", "table", "write_report"]
