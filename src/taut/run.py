"""`run` is the only way a method is executed: by the bench, the gateway, the recorder and rollouts alike."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from taut.core import FEATURES, Emit, Engine, Method, Piece, Prompt, Sampling, Task, Trace
from taut.errors import EngineError, MethodError, UsageError, one_line
from taut.session import Session, derive_seed


@dataclass(frozen=True, slots=True)
class Preset:
    """A method, or a stack of them, under the name by which users ask for it."""

    name: str
    method: Method


async def run(
    preset: Preset,
    task: Task,
    engines: Mapping[str, Engine],
    *,
    sampling: Sampling = Sampling(),
    index: int = 0,
    emit: Emit | None = None,
    deadline_s: float | None = None,
) -> Trace:
    """Execute a preset on one question and return all that happened.

    ``sampling.seed`` is the seed of the whole run; the question's own seed follows from it and ``index`` alone.
    A failure of an engine or a method becomes the trace's ``error``, with what had come so far; anything else is
    a fault of the program and is raised. Cancelling the task cancels the calls upstream.
    """
    run_seed = sampling.seed or 0
    trace = Trace(task=task, preset=preset.name, index=index, seed=run_seed)
    trace.started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    shown: dict[str, list[str]] = {"thinking": [], "answer": []}

    def tee(piece: Piece) -> None:
        shown[piece.kind].append(piece.text)
        if emit is not None:
            emit(piece)

    session = Session(
        Prompt(task.messages),
        replace(sampling, seed=derive_seed(run_seed, index)),
        engines,
        trace,
        emit=tee,
        deadline_s=deadline_s,
    )
    began = time.perf_counter()
    try:
        reply = await preset.method(session)
        trace.thinking, trace.answer, trace.finish = reply.thinking, reply.answer, reply.finish
        if not (reply.thinking.strip() or reply.answer.strip()):
            raise EngineError("the model returned no text at all", kind="empty")
    except (EngineError, MethodError) as error:
        trace.error = one_line(error)
        trace.error_kind = error.kind if isinstance(error, EngineError) else "method"
        trace.finish = "error"
        trace.thinking, trace.answer = "".join(shown["thinking"]), "".join(shown["answer"])
    finally:
        trace.wall_s = time.perf_counter() - began
    return trace


def check_needs(preset: Preset, engines: Mapping[str, Engine]) -> None:
    """Fail at start-up if an engine lacks what the method needs. Raises `UsageError`."""
    for need in sorted(_needs(preset.method)):
        part, _, features = need.rpartition(":")
        engine = engines.get(part or "main")
        if engine is None:
            raise UsageError(f"preset {preset.name!r} needs an engine named {part!r}: give it with --engine {part}=…")
        if not any(feature in engine.offers for feature in features.split("|")):
            meanings = " or ".join(f"{feature} ({FEATURES[feature]})" for feature in features.split("|"))
            raise UsageError(
                f"preset {preset.name!r} needs {meanings}, and engine {engine.name!r} does not offer it; the embedded "
                "engine, vLLM and llama.cpp servers do ('taut doctor' shows what an engine can do)"
            )


def _needs(method: Method) -> frozenset[str]:
    """What a method needs, and the ones that it wraps."""
    inner: Method | None = getattr(method, "inner", None)
    return method.needs | (_needs(inner) if inner is not None else frozenset())
