"""Where a model's thinking tokens go: anyone's traces, segmented and measured without a model.

`load` reads a file or a run folder into `Thought` nouns, `audit` measures one, `report` all of them, `write` and
`show` tell it. ``taut.audit.words`` holds the word lists, ``docs/audit.md`` says how well they agree with people.
"""

from taut.audit.console import show
from taut.audit.measures import audit
from taut.audit.nouns import Audit, Loaded, Report, Round, Thought, Totals, Unread
from taut.audit.reading import ReadOptions, load
from taut.audit.reporting import report
from taut.audit.writing import write

__all__ = [
    "Audit",
    "Loaded",
    "ReadOptions",
    "Report",
    "Round",
    "Thought",
    "Totals",
    "Unread",
    "audit",
    "load",
    "report",
    "show",
    "write",
]
