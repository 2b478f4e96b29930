"""A run folder as it lies on the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from taut.core import Trace
from taut.errors import UsageError, one_line
from taut.metrics import Summary, summarize
from taut.traces import key_of, read_all


class _Needed(msgspec.Struct):
    """What a manifest must hold for a report to be made."""

    baseline: str
    presets: list[str]


@dataclass(frozen=True, slots=True)
class Run:
    """What a report is made from."""

    manifest: dict[str, Any]
    traces: list[Trace]
    """Those that count: one for each preset, question and seed."""
    summary: Summary

    @property
    def planned(self) -> int | None:
        """Answers the run was to have; ``None`` if the manifest does not tell."""
        questions = self.manifest.get("total_questions")
        if not isinstance(questions, int):
            return None
        return questions * len(self.manifest["presets"]) * max(1, len(self.manifest.get("seeds") or ()))


def read_run(run_dir: Path) -> Run:
    """Read and summarize a run folder. Raises `UsageError` naming the file that is at fault."""
    manifest = _read_manifest(run_dir / "manifest.json")
    traces = list(read_all(run_dir / "traces.jsonl"))
    summary = summarize(
        traces,
        baseline=manifest["baseline"],
        presets=manifest["presets"],
        prices=manifest.get("prices"),
    )
    return Run(manifest, list({key_of(trace): trace for trace in traces}.values()), summary)


def read_summary(run_dir: Path) -> Summary:
    """The summary that `write_report` wrote. Raises `UsageError` if it is missing or unreadable."""
    path = run_dir / "summary.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Summary)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a summary: {one_line(error, 200)}") from None


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        msgspec.json.decode(content, type=_Needed)
        return msgspec.json.decode(content, type=dict[str, Any])
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a manifest: {one_line(error, 200)}") from None
