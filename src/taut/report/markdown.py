"""``report.md``: the main table as text, how to read it, and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence

from taut.report.folder import Run
from taut.report.headline import findings
from taut.report.provenance import provenance, reading_notes, standing
from taut.report.rows import Row, rows

HEADS = ("preset", "n", "accuracy", "tokens", "thinking / answer / other", "tokens × baseline", "Δ accuracy, points",
         "p", "AES", "p50 / p95", "notes")  # fmt: skip


def render_markdown(run: Run) -> str:
    """The report as Markdown."""
    shown = rows(run.summary)
    first, *rest = (_text(sentence) for sentence in findings(run.summary))
    parts = [
        f"# Taut bench: {_text(str(run.manifest.get('task', 'a run')))}",
        f"**{first}**",
        *([" ".join(rest)] if rest else []),
        *([_text(note)] if (note := standing(run)) else []),
        _table(HEADS, [_cells(row) for row in shown]),
        "Means per answer, 95 % intervals in brackets; the baseline is in bold.",
        *_more(shown),
        "## How to read it",
        "\n".join(f"- {_text(note)}" for note in reading_notes(run.summary)),
        "## Where it comes from",
        _table(("what", "value"), [(key, _text(value)) for key, value in provenance(run)]),
    ]
    return "\n\n".join(parts) + "\n"


def _cells(row: Row) -> list[str]:
    name = f"**{_text(row.name)}**" if row.is_baseline else _text(row.name)
    return [
        name,
        row.n,
        str(row.accuracy),
        str(row.tokens),
        f"{row.thinking} / {row.answer} / {row.other}",
        str(row.ratio),
        str(row.difference),
        row.p_value,
        row.aes,
        f"{row.latency} / {row.latency_p95}",
        "; ".join(row.notes),
    ]


def _more(shown: Sequence[Row]) -> list[str]:
    heads = ("preset", "prompt tokens", "tokens per right answer", "first token, p50", "cost per question")
    lines = [(_text(row.name), row.prompt, row.per_correct, row.first_token, row.cost or "–") for row in shown]
    return [_table(heads, lines)]


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(heads)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rule, *lines))


def _text(text: str) -> str:
    """Data as text: nothing in it is read as Markdown or HTML."""
    for sign in "\\`*_[]|<>#":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())
