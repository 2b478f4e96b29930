"""The sweep: presets x questions x rollouts through `run`, each trace written as it ends, resumable at any moment.

Work is ordered by question, the baseline preset first, so that savings can be shown from the start and neighbouring
calls share the engine's prefix cache. Item i under seed s is the same question with the same randomness in every run.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from taut.core import Engine, Sampling, Score, Task, Trace
from taut.errors import EngineError, UsageError
from taut.run import Preset, check_needs, run
from taut.traces import Key, Writer, key_of, read
from taut.verify import score

SERVER_IS_GONE = ("unreachable", "overloaded", "refused")
"""Kinds of failure that the next question would meet as well."""


@dataclass(frozen=True, slots=True)
class Job:
    """One question for one preset under one seed."""

    preset: Preset
    task: Task
    index: int
    seed: int

    @property
    def key(self) -> Key:
        """As in `taut.traces.key_of`."""
        return self.preset.name, self.task.id, self.seed


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep is to do."""

    presets: Sequence[Preset]
    """The first is the baseline unless the report is told otherwise."""
    tasks: Sequence[Task]
    sampling: Sampling
    seed: int = 0
    rollouts: int = 1
    """Answers per question and preset; rollout r runs under seed + r."""
    concurrency: int = 4
    deadline_s: float | None = None

    def jobs(self) -> Iterator[Job]:
        """Every job, by question."""
        for rollout in range(self.rollouts):
            for index, task in enumerate(self.tasks):
                for preset in self.presets:
                    yield Job(preset, task, index, self.seed + rollout)

    @property
    def size(self) -> int:
        """How many jobs there are."""
        return self.rollouts * len(self.tasks) * len(self.presets)


Watch = Callable[[Trace], None]
"""Told about a trace that is done."""


def done_before(path: Path) -> dict[Key, Trace]:
    """Traces of an earlier run that need not be repeated: all but those that ended in an error."""
    if not path.exists():
        return {}
    return {key_of(trace): trace for trace in read(path) if trace.error is None}


async def sweep(
    plan: Plan,
    engines: Mapping[str, Engine],
    traces: Path,
    watch: Watch | None = None,
    found: Watch | None = None,
    *,
    resumed_by: str = "--resume",
) -> None:
    """Run every job of the plan that ``traces`` does not hold yet.

    ``watch`` is told about every trace as it ends. Those that ``traces`` holds already are told to ``found`` first,
    or to ``watch`` too where there is no ``found``. ``resumed_by`` is what an error says that the rest is had by.

    Raises `UsageError` before anything is asked if an engine lacks what a preset needs, or if the disk is full;
    `EngineError` when the server is gone for good. What is done by then is kept.
    """
    for preset in plan.presets:
        check_needs(preset, engines)
    done = done_before(traces)
    tell_found = found or watch
    for trace in done.values():
        if tell_found is not None:
            tell_found(trace)
    jobs = (job for job in plan.jobs() if job.key not in done)
    recent: deque[Trace] = deque(maxlen=min(max(4, plan.concurrency), plan.size))
    with _opened(traces) as writer:

        async def worker() -> None:
            for job in jobs:
                trace = await answer(job, plan, engines)
                await _to_the_end(keep(trace))
                recent.append(trace)
                _stop_if_the_server_is_gone(recent, resumed_by)

        async def keep(trace: Trace) -> None:
            await judge(trace)
            _append(writer, trace, resumed_by)
            if watch is not None:
                watch(trace)

        workers = [asyncio.create_task(worker()) for _ in range(min(plan.concurrency, plan.size))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


async def answer(job: Job, plan: Plan, engines: Mapping[str, Engine]) -> Trace:
    """One job: run the preset."""
    return await run(
        job.preset,
        job.task,
        engines,
        sampling=replace(plan.sampling, seed=job.seed),
        index=job.index,
        deadline_s=plan.deadline_s,
    )


async def judge(trace: Trace) -> None:
    """Verify the answer of a trace."""
    if trace.error is None:
        # In a thread: checking LaTeX can take a second, and the streams must not wait for it.
        trace.score = await asyncio.to_thread(score, trace.answer, trace.task)
    else:
        trace.score = Score(None, None, "not judged: the answer did not come to its end")


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Ctrl-C must not lose an answer that is paid for and only waits to be judged and written."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _opened(path: Path) -> contextlib.AbstractContextManager[Writer]:
    try:
        return Writer(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def _append(writer: Writer, trace: Trace, resumed_by: str) -> None:
    try:
        writer.append(trace)
    except OSError as error:
        raise UsageError(
            f"cannot write {writer.path}: {error.strerror or error}; what was done before is kept, "
            f"and {resumed_by} goes on from there"
        ) from None


def _stop_if_the_server_is_gone(recent: deque[Trace], resumed_by: str) -> None:
    if len(recent) == recent.maxlen and all(trace.error_kind in SERVER_IS_GONE for trace in recent):
        raise EngineError(
            f"the last {len(recent)} questions all failed, the latest with: {recent[-1].error}; "
            f"what was done is kept, and {resumed_by} asks the failed ones again",
            kind="unreachable",
        )
