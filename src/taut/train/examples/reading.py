"""Traces into questions with their samples, in an order that does not depend on which answer came first."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import msgspec

from taut.core import Call, Count, Source, Tally, Trace, tally_calls, text_of
from taut.errors import UsageError, nearest
from taut.methods.model_based.short_data._nouns import Question, Sample
from taut.session import estimate_tokens
from taut.traces import read

TRACES = "traces.jsonl"
BUDGET = re.compile(r"use less than (\d{1,7}) tokens")
"""As the preset ``token_budget`` writes it into the prompt."""


def read_questions(paths: Sequence[Path], presets: Collection[str] = ()) -> list[Question]:
    """Every question of these files or run folders, with all samples of it; of ``presets`` only, if any are named.

    Raises `UsageError` for a file that is missing, empty, no file of traces, or without texts.
    """
    traces = [(number, trace) for number, path in enumerate(_files(paths)) for trace in _traces_of(path)]
    known = sorted({trace.preset for _, trace in traces})
    for preset in presets:
        if preset not in known:
            raise UsageError(f"there is no trace of the preset {preset!r}{nearest(preset, known)}: {', '.join(known)}")
    return _questions((number, trace) for number, trace in traces if not presets or trace.preset in presets)


def _files(paths: Sequence[Path]) -> list[Path]:
    """The files, each once."""
    files: dict[Path, Path] = {}
    for path in paths:
        file = path / TRACES if path.is_dir() else path
        if not file.is_file():
            raise UsageError(f"there is no {TRACES} in {path}" if path.is_dir() else f"there is no file {path}")
        files.setdefault(file.resolve(), file)
    return list(files.values())


def _traces_of(path: Path) -> list[Trace]:
    traces = read(path)
    if not traces:
        raise UsageError(f"{path} is empty: at least one trace is needed")
    if not any(trace.thinking or trace.answer for trace in traces):
        raise UsageError(
            f"{path} has no texts to learn from: "
            + (
                "every answer failed"
                if all(trace.error for trace in traces)
                else "it was recorded without them; traces with texts are written by 'taut bench', and by 'taut serve' "
                "where storing texts is turned on"
            )
        )
    return traces


def _questions(traces: Iterable[tuple[int, Trace]]) -> list[Question]:
    """Grouped by identifier and messages: one identifier may stand for different questions in different files."""
    groups: dict[tuple[str, bytes], list[tuple[int, Trace]]] = defaultdict(list)
    for number, trace in traces:
        groups[trace.task.id, msgspec.json.encode(trace.task.messages)].append((number, trace))
    ordered = sorted(groups.values(), key=lambda group: min((number, trace.index) for number, trace in group))
    seen: dict[str, int] = defaultdict(int)
    return [_question(group, seen) for group in ordered]


def _question(group: list[tuple[int, Trace]], seen: dict[str, int]) -> Question:
    """``seen`` counts the names of samples, as several files may have one and the same."""
    group.sort(key=lambda item: (item[0], item[1].seed, item[1].preset))
    samples = []
    for _, trace in group:
        name = f"{trace.preset}/{trace.task.id}/{trace.seed}"
        seen[name] += 1
        samples.append(_sample(trace, name if seen[name] == 1 else f"{name}@{seen[name]}"))
    return Question(group[0][1].task, tuple(samples))


def _sample(trace: Trace, key: str) -> Sample:
    tallies = tally_calls(trace.calls)
    return Sample(
        key=key,
        preset=trace.preset,
        seed=trace.seed,
        thinking=trace.thinking,
        answer=trace.answer,
        thinking_tokens=_count(tallies["thinking"], trace.thinking),
        answer_tokens=_count(tallies["answer"], trace.answer),
        right=trace.score.value if trace.score and trace.error is None else None,
        finish="error" if trace.error is not None else trace.finish,
        budget_tokens=_budget(trace),
    )


def _count(tally: Tally, text: str) -> Count:
    if not text.strip():
        # Nothing was written, whoever counted.
        return Count(0, "reported")
    if not tally.total:
        return Count(estimate_tokens(text), "estimated")
    source: Source = "estimated" if tally.estimated else "counted" if tally.counted else "reported"
    return Count(tally.total, source)


def _budget(trace: Trace) -> int | None:
    """The number of tokens that the prompt asked for, where a preset named one."""
    calls: list[Call] = [call for call in trace.calls if call.role == "generate" and call.messages]
    text = "\n".join(text_of(message) for message in calls[-1].messages or ()) if calls else ""
    found = BUDGET.findall(text)
    return int(found[-1]) if found else None
