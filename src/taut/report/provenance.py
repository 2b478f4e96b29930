"""The words around the numbers: how to read them, whether the run is whole, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taut.metrics import MARGIN, Summary
from taut.report.folder import Run


def reading_notes(summary: Summary) -> list[str]:
    """What every column means, one sentence or two each."""
    weights = ", ".join(f"{name} {value:g}" for name, value in summary.aes_constants.items())
    return [
        "Accuracy is the share of right answers among those that were scored. What could not be judged is unscored, "
        f"never wrong, and is noted beside it. Interval: {summary.intervals['accuracy']}.",
        "Tokens are completion tokens of all calls, thinking, probes, estimates and discarded work included, as a mean "
        f"per answer. ≈ marks counts that are partly estimated. Interval: {summary.intervals['tokens']}.",
        f"× baseline: {summary.intervals['token_ratio']}. Below 1 is cheaper than {summary.baseline}.",
        f"Δ accuracy, in percentage points: {summary.intervals['accuracy_difference']}.",
        f"p: {summary.intervals['p_value']}.",
        "A question that failed with an error is neither scored nor compared, but its tokens are in the totals, in the "
        "cost and in the tokens per right answer.",
        f"The headline calls an accuracy kept if the whole interval lies above −{100 * MARGIN:.0f} points. More or "
        f"less accurate is called clear if the interval says so and {summary.intervals['p_value_holm']} is below "
        "0.05. Intervals and p are for one comparison each: the best of many presets looks a little better than it is.",
        f"AES (Accuracy-Efficiency Score, arXiv:2501.12570; {weights}): higher is better, the baseline has 0; losses "
        "of accuracy count against it.",
        "p50 and p95 are the time from question to answer (the critical path); "
        "the sum over all calls is in summary.json.",
        "The Pareto front holds the presets that no other beats in both mean tokens and accuracy; it ignores the "
        "intervals.",
    ]


def standing(run: Run) -> str:
    """A warning if the run is not whole, else nothing."""
    planned, done = run.planned, len(run.traces)
    if planned is not None and done < planned:
        why = "The run was stopped" if run.manifest.get("interrupted") else "The run is not finished"
        return f"{why}: {done:,} of {planned:,} answers are in."
    return ""


def provenance(run: Run) -> list[tuple[str, str]]:
    """The manifest in a few lines, empty ones left out."""
    manifest = run.manifest
    engine = _mapping(manifest.get("engine"))
    lines = [
        ("command", manifest.get("command")),
        ("task", manifest.get("task")),
        ("questions", manifest.get("total_questions")),
        ("seeds", ", ".join(str(seed) for seed in manifest.get("seeds") or ())),
        ("engine", engine.get("name")),
        ("model", engine.get("model")),
        ("dialect", engine.get("dialect")),
        ("model's identity", _flat(engine.get("identity"))),
        ("machine", _flat(manifest.get("machine"))),
        ("Taut", manifest.get("taut_version")),
        ("Python", manifest.get("python")),
        ("packages", _flat(manifest.get("packages"))),
        ("prices, $ per million tokens", _flat(manifest.get("prices"))),
        ("started", manifest.get("started_at")),
        ("finished", manifest.get("finished_at")),
    ]
    return [(name, str(value)) for name, value in lines if value not in (None, "")]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(inner)}" for key, inner in value.items())
    return "" if value is None else str(value)
