"""One request answered through `taut.run.run`: its candidates, their pieces, and how a failure is told."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from taut.core import Piece, Sampling, Task, Trace
from taut.gateway.catalog import Choice
from taut.gateway.nouns import Ask, Grant, Outcome, Problem
from taut.run import Onlooker, Preset, run

RETRY_AFTER_S = 2.0
"""Told to clients when the upstream is overloaded."""
BUSY = (429, 503, 529)
"""What an upstream says that has too much to do; any other 5xx is a fault of its own."""
Emit = Callable[[int, Piece], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One request, ready to be run."""

    id: str
    ask: Ask
    choice: Choice
    grant: Grant
    preset: Preset
    """In the form that is run: under the budget in force."""
    deadline_s: float | None = None


async def answer(job: Job, onlooker: Onlooker, emit: Emit) -> list[Outcome]:
    """Run all candidates at once and return them in order. Cancelling it cancels every call upstream."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_candidate(job, index, onlooker, emit)) for index in range(job.ask.n)]
    return [Outcome(index, task.result()) for index, task in enumerate(tasks)]


async def _candidate(job: Job, index: int, onlooker: Onlooker, emit: Emit) -> Trace:
    return await run(
        job.preset,
        Task(job.id, job.ask.messages),
        job.choice.engines,
        sampling=sampling_of(job.ask),
        index=index,
        emit=lambda piece: emit(index, piece),
        deadline_s=job.deadline_s,
        onlooker=onlooker,
    )


def sampling_of(ask: Ask) -> Sampling:
    """As asked; candidates that were to differ without a seed get one that does not repeat."""
    if ask.n == 1 or ask.sampling.seed is not None:
        return ask.sampling
    return replace(ask.sampling, seed=secrets.randbits(31))


def problem_of(trace: Trace) -> Problem | None:
    """What a client is told of a run that failed; ``None`` for one that did not."""
    if trace.error is None:
        return None
    kind, status = trace.error_kind, trace.error_status
    if kind == "timeout":
        return Problem(trace.error, status=504, code="timeout_error")
    if kind == "overloaded" and status in BUSY:
        code = "rate_limit_error" if status == 429 else "overloaded_error"
        return Problem(trace.error, status=429 if status == 429 else 503, code=code, retry_after_s=RETRY_AFTER_S)
    if kind == "refused" and status is not None and 400 <= status < 500 and status not in (401, 403):
        # What the upstream refuses is the client's to mend, unless it is the gateway's own key.
        return Problem(trace.error, status=status)
    if kind == "refused" and status is None:
        return Problem(trace.error, status=400)
    return Problem(trace.error, status=502, code="upstream_error")
