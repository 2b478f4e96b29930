"""From what was read to the whole report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taut.audit.measures import audit
from taut.audit.nouns import Judging, Loaded, Report, Round
from taut.audit.showing import dialects_of, judging_notes, notes_of
from taut.audit.totals import by_label, totals


def report(
    loaded: Loaded, source: str, rounds: Mapping[str, Sequence[Round]] | None = None, judging: Judging | None = None
) -> Report:
    """Audit every trace. ``rounds`` are those that a model told, by the id of the trace."""
    told = rounds or {}
    audits = [audit(thought, told.get(thought.id, ())) for thought in loaded.thoughts]
    return Report(
        source=source,
        totals=totals(audits),
        by_label=by_label(audits),
        dialects=dialects_of(loaded.thoughts),
        unread=loaded.unread,
        without_thinking=loaded.without_thinking,
        left_out=loaded.left_out,
        columns=loaded.columns,
        notes=(*notes_of(loaded, audits), *judging_notes(judging)),
        judging=judging,
        audits=audits,
    )
