"""From a run folder to its report files."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from taut.errors import UsageError
from taut.metrics import Summary
from taut.report.folder import read_run
from taut.report.html import render_html
from taut.report.markdown import render_markdown
from taut.traces import finite

FILES = ("report.html", "report.md", "summary.json")


def write_report(run_dir: Path) -> None:
    """Write ``summary.json``, ``report.md`` and ``report.html`` from ``traces.jsonl`` and ``manifest.json``.

    An unfinished last line of the traces is passed over. Raises `UsageError` if a file is missing, unreadable or
    cannot be written.
    """
    run = read_run(run_dir)
    _write(run_dir / "summary.json", encode_summary(run.summary))
    _write(run_dir / "report.md", render_markdown(run).encode())
    _write(run_dir / "report.html", render_html(run).encode())


def encode_summary(summary: Summary) -> bytes:
    """``summary.json``; what JSON cannot hold is null."""
    return msgspec.json.format(msgspec.json.encode(finite(msgspec.to_builtins(summary))), indent=2) + b"\n"


def _write(path: Path, content: bytes) -> None:
    """Replace the file in one step: a reader never sees half a report."""
    draft = path.with_name(path.name + ".tmp")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
