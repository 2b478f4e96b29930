"""Made-up runs: single traces with known numbers, and a plausible folder of six presets and sixty questions."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec

from taut.core import Call, CallRole, Count, Finish, Score, Source, Task, Trace, Usage
from taut.traces import encode

PRESETS = {
    # Mean thinking and answer tokens, and how often the answer is right.
    "direct": (420, 60, 0.80),
    "concise": (210, 40, 0.79),
    "chain_of_draft": (90, 20, 0.66),
    "tale": (230, 45, 0.78),
    "no_thinking": (0, 150, 0.55),
    "budget_forcing": (300, 50, 0.76),
}


def made_call(
    thinking: int = 0, answer: int = 0, *, role: CallRole = "generate", prompt: int = 100, source: Source = "reported"
) -> Call:
    """One call that took 2 s, its first token after 0.5 s."""
    usage = Usage(Count(prompt, source), Count(thinking + answer, source), Count(thinking, source), Count(40, source))
    return Call(role, "main", "m", 0.0, 0.5, 2.0, "stop", usage=usage)


def made_trace(
    preset: str,
    question: int | str,
    right: bool | None = True,
    tokens: int = 100,
    *,
    seed: int = 0,
    error: str | None = None,
    finish: Finish = "stop",
    calls: list[Call] | None = None,
) -> Trace:
    """A trace of one call, unless told otherwise."""
    score = Score(right, "7" if right is not None else None, "same number" if right else "")
    return Trace(
        Task(f"q/{question}", ({"role": "user", "content": f"What is question {question}?"},), "7", "number"),
        preset,
        index=question if isinstance(question, int) else 0,
        seed=seed,
        wall_s=2.0,
        answer="It is 7.",
        finish=finish,
        error=error,
        calls=[made_call(tokens // 2, tokens - tokens // 2)] if calls is None else calls,
        score=None if error else score,
    )


def plausible_traces(questions: int = 60, *, long: int = 1) -> list[Trace]:
    """Every preset over every question; hard questions are hard for all. ``long`` repeats the thinking."""
    traces = []
    for question in range(questions):
        hardness = random.Random(f"hard {question}").gauss(0, 0.2)
        for preset in PRESETS:
            traces.append(_plausible_trace(preset, question, hardness, long))
    return traces


def _plausible_trace(preset: str, question: int, hardness: float, long: int) -> Trace:
    draw = random.Random(f"{preset} {question}")
    thinking, answer, chance = PRESETS[preset]
    length = draw.lognormvariate(0, 0.35) * (1 + max(hardness, -0.5))
    calls = [_timed(made_call(round(thinking * length), round(answer * length)), 0.0, length)]
    if preset == "tale":
        calls.insert(0, _timed(made_call(0, 12, role="estimate"), 0.0, 0.2))
    if preset == "budget_forcing" and question % 3 == 0:
        probe = _timed(made_call(0, 15, role="probe", source="counted"), 0.6 * length, 0.2)
        lost = _timed(made_call(30, 0, source="estimated"), 0.7 * length, 0.3)
        lost.discarded, lost.finish = True, "cancelled"
        calls += [probe, lost]
    right = draw.random() < chance - hardness
    apples = 3 + question
    trace = Trace(
        Task(
            f"apples/{question}",
            ({"role": "user", "content": f"Ann has {apples} apples and buys {question % 7} bags of 4. How many now?"},),
            str(apples + 4 * (question % 7)),
            "number",
        ),
        preset,
        index=question,
        wall_s=max(call.ended_s or 0 for call in calls),
        thinking=""
        if not thinking
        else "Let me think step by step. Each bag holds 4 apples. " * round(5 * length) * long,
        answer=f"She has {apples} apples, so the answer is {apples + 4 * (question % 7) - (not right)}.",
        finish="stop",
        calls=calls,
        decisions=[{"at_s": 0.4, "event": "close", "why": "budget"}] if preset == "budget_forcing" else [],
        score=Score(right, str(apples + 4 * (question % 7) - (not right)), "same number" if right else "other number"),
    )
    return _blemished(trace, draw)


def _timed(call: Call, start: float, length: float) -> Call:
    call.started_s, call.first_token_s, call.ended_s = start, start + 0.08, start + 0.1 + 2.5 * length
    return call


def _blemished(trace: Trace, draw: random.Random) -> Trace:
    luck = draw.random()
    if luck < 0.02:
        trace.error, trace.error_kind, trace.score, trace.finish = "the stream broke off", "cut", None, "error"
    elif luck < 0.05:
        trace.finish, trace.score = "length", Score(False, None, "no number in the answer")
    elif luck < 0.06:
        trace.score = Score(None, None, "the checking library ran out of time")
    return trace


def made_manifest(**changes: Any) -> dict[str, Any]:
    """What the bench writes beside the traces of `plausible_traces`."""
    return {
        "command": "taut bench --engine fake --task apples --limit 60 --out RUN",
        "taut_version": "0.1.0",
        "packages": {"scipy": "1.17.1"},
        "python": "3.11.9",
        "machine": {"system": "Linux", "cores": 2},
        "engine": {"name": "fake", "model": "made-up-1b", "dialect": "plain", "identity": {"sha256": "0123abcd"}},
        "task": "apples",
        "limit": 60,
        "seeds": [0],
        "presets": list(PRESETS),
        "baseline": "direct",
        "prices": {"main": {"prompt": 0.5, "cached": 0.1, "completion": 2.0}},
        "started_at": "2030-01-01T10:00:00+00:00",
        "finished_at": "2030-01-01T10:04:00+00:00",
        "interrupted": False,
        "total_questions": 60,
        **changes,
    }


def write_run(folder: Path, traces: list[Trace], **changes: Any) -> Path:
    """A run folder as the bench leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "traces.jsonl").write_bytes(b"".join(encode(trace) for trace in traces))
    (folder / "manifest.json").write_bytes(msgspec.json.encode(made_manifest(**changes)))
    return folder
