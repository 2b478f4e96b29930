"""From ``traces.jsonl`` to files to train on: what the builders of short data need around them.

`read_questions` reads traces, `open_builder` makes a builder, `build` runs it, `write` writes rows and report. Nothing
here imports torch but `taut.train.examples.importance`, and only when asked.
"""

from taut.train.examples.building import Built, build, open_builder
from taut.train.examples.reading import read_questions
from taut.train.examples.report import Report, report_of, show
from taut.train.examples.rows import row_of, write
from taut.train.examples.tools import reader, token_counter

__all__ = [
    "Built",
    "Report",
    "build",
    "open_builder",
    "read_questions",
    "reader",
    "report_of",
    "row_of",
    "show",
    "token_counter",
    "write",
]
