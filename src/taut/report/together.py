"""Several runs of the same questions as one: other models, levels or adapters, compared question by question.

Each run asked another engine. Its presets get the run's name before them, the traces are put into one folder, and the
report is made as of any run. Thinking is compared on its own, too: what makes a model smaller or its training shorter
may change how long it thinks and how often it is right in different ways.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from taut.core import Trace
from taut.errors import UsageError, nearest
from taut.metrics import Estimate
from taut.metrics.comparison import pairs_of
from taut.metrics.intervals import ratio_of_sums, sums_by_question
from taut.report.folder import Run, read_run
from taut.report.writing import write_report
from taut.traces import Writer

SAME = ("task", "questions_digest", "difficulty", "seed", "rollouts", "max_tokens", "temperature", "top_p")
"""Keys of a run's configuration that must agree for a comparison question by question."""
TAKEN_OVER = ("task", "limit", "seeds", "total_questions", "verifiers", "taut_version", "packages", "python", "machine")


@dataclass(frozen=True, slots=True)
class Thinking:
    """How long one preset of one run thinks."""

    name: str
    tokens: Estimate | None
    """Mean thinking tokens per answer without error."""
    ratio: Estimate | None
    """Over the baseline's, on the questions that both answered; ``None`` for the baseline."""


def put_together(runs: Mapping[str, Path], out: Path, baseline: str = "") -> list[Thinking]:
    """Write the runs, by the name that each is to have, into the new folder ``out``, with the report; compare thinking.

    ``baseline`` is one of the names, or ``NAME PRESET`` where a run has several presets; by default the first. Raises
    `UsageError` for a folder that is no run, runs of different questions or sampling, and an ``out`` in use.
    """
    if len(runs) < 2:
        raise UsageError("one run alone has nothing to be compared with; name two or more as NAME=RUN")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already; name a new folder")
    read = {name: read_run(folder) for name, folder in runs.items()}
    _check_same(read)
    named = {name: _named(name, run) for name, run in read.items()}
    names = [own for renamed in named.values() for own in renamed.values()]
    chosen = baseline or names[0]
    if chosen not in names:
        raise UsageError(f"the baseline {chosen!r} is none of them{nearest(chosen, names)}: {', '.join(names)}")
    traces = [replace(trace, preset=named[name][trace.preset]) for name, run in read.items() for trace in run.traces]
    out.mkdir(parents=True, exist_ok=True)
    _write(out, traces, _manifest(read, names, chosen))
    write_report(out)
    return thinking(traces, names, chosen)


def thinking(traces: Iterable[Trace], names: Sequence[str], baseline: str) -> list[Thinking]:
    """Mean thinking tokens of each of ``names``, and over the baseline's, each with a 95 % interval by question."""
    by_name: dict[str, list[Trace]] = {name: [] for name in names}
    for trace in traces:
        by_name[trace.preset].append(trace)
    found = []
    for name, own in by_name.items():
        mean = ratio_of_sums(
            sums_by_question((trace.task.id, thought(trace), 1) for trace in own if trace.error is None)
        )
        pairs = pairs_of(own, by_name[baseline])
        ratio = ratio_of_sums(
            sums_by_question((mine.task.id, thought(mine), thought(theirs)) for mine, theirs in pairs)
        )
        found.append(Thinking(name, mean, None if name == baseline else ratio))
    return found


def thought(trace: Trace) -> int:
    """Thinking tokens of an answer that count as such: not those of probes and discarded tries."""
    return trace.tokens_by_role()["thinking"].total


def _check_same(read: Mapping[str, Run]) -> None:
    (first, one), *others = read.items()
    for name, other in others:
        for key in SAME:
            ours, theirs = (_configuration(run).get(key) for run in (one, other))
            if ours != theirs:
                what = "asked other questions" if key == "questions_digest" else f"had {key} {theirs!r}, not {ours!r}"
                raise UsageError(f"the run {name!r} {what} as {first!r} did; both must ask the same in the same way")


def _configuration(run: Run) -> Mapping[str, Any]:
    found = run.manifest.get("configuration")
    return found if isinstance(found, dict) else {}


def _named(name: str, run: Run) -> dict[str, str]:
    presets: list[str] = run.manifest["presets"]
    return {preset: name if len(presets) == 1 else f"{name} {preset}" for preset in presets}


def _manifest(read: Mapping[str, Run], names: Sequence[str], baseline: str) -> dict[str, Any]:
    first = next(iter(read.values())).manifest
    return {
        "command": shlex.join(["taut", *sys.argv[1:]]),
        "presets": list(names),
        "baseline": baseline,
        **{key: first.get(key) for key in TAKEN_OVER},
        "engine": {"name": "; ".join(f"{name}: {_engine(run)}" for name, run in read.items())},
        "runs": {name: run.manifest for name, run in read.items()},
        "interrupted": any(run.manifest.get("interrupted") for run in read.values()),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _engine(run: Run) -> str:
    engine = run.manifest.get("engine")
    return str(engine.get("name")) if isinstance(engine, dict) else "unknown"


def _write(out: Path, traces: Iterable[Trace], manifest: Mapping[str, Any]) -> None:
    with Writer(out / "traces.jsonl") as writer:
        for trace in traces:
            writer.append(trace)
    (out / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest, enc_hook=str), indent=2))
