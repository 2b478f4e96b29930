"""``report.html``: one file that works offline. Data reaches the page escaped or as JSON, and as text only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taut.core import TOKEN_ROLES
from taut.metrics import Summary
from taut.report.browser import embedded_json, page_data
from taut.report.folder import Run
from taut.report.headline import findings
from taut.report.picture import HUES, picture, points_of
from taut.report.provenance import provenance, reading_notes, standing
from taut.report.rows import legend, number, rows

if TYPE_CHECKING:
    from markupsafe import Markup

WIDE, NARROW = (760, 430), (380, 400)
"""Width and height of the picture in pixels, on a desk and on a phone."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: tokens of one role, and its length in per cent of the longest bar."""

    role: str
    tokens: str
    percent: float


@dataclass(frozen=True, slots=True)
class Bar:
    """Where one preset's tokens went."""

    name: str
    total: str
    segments: tuple[Segment, ...]


def render_html(run: Run) -> str:
    """The page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("taut", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    points = points_of(run.summary)
    first, *rest = findings(run.summary)
    bars = bars_of(run.summary)
    shown = rows(run.summary)
    return environment.get_template("report.html").render(
        task=str(run.manifest.get("task", "a run")),
        headline=first,
        findings=" ".join(rest),
        standing=standing(run),
        wide=Markup(picture(points, *WIDE)),
        narrow=Markup(picture(points, *NARROW)),
        hues=HUES,
        bars=bars,
        roles=roles_of(bars),
        rows=shown,
        summary=run.summary,
        answers=_range([preset.n for preset in run.summary.presets.values()]),
        legend=legend(shown),
        notes=reading_notes(run.summary),
        provenance=provenance(run),
        data=Markup(embedded_json(page_data(run.traces, list(run.summary.presets)))),
    )


def breakable(text: str) -> Markup:
    """Escaped, with places where a long name may go on in the next line: after its signs, never within a word."""
    from markupsafe import Markup, escape

    parts = re.split(r"(?<=[:,=_/])(?=\w)", text)
    return Markup("<wbr>").join(escape(part) for part in parts)


def bars_of(summary: Summary) -> list[Bar]:
    """One bar a preset, all on one scale that begins at 0; roles without tokens are left out."""
    means = {name: preset.completion.mean if preset.completion else 0.0 for name, preset in summary.presets.items()}
    longest = max(means.values(), default=0.0) or 1.0
    return [
        Bar(
            name,
            number(means[name]) if preset.completion else "–",
            tuple(
                Segment(
                    role, number(preset.tokens_by_role[role].mean), 100 * preset.tokens_by_role[role].mean / longest
                )
                for role in TOKEN_ROLES
                if role in preset.tokens_by_role and preset.tokens_by_role[role].mean > 0
            ),
        )
        for name, preset in summary.presets.items()
    ]


def roles_of(bars: list[Bar]) -> list[str]:
    """The roles that occur, in their usual order."""
    found = {segment.role for bar in bars for segment in bar.segments}
    return [role for role in TOKEN_ROLES if role in found]


def _range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
