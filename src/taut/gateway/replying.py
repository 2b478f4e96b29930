"""The reply of a run, streamed or whole, in the client's protocol."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import groupby

from aiohttp import web

from taut.core import Piece, Trace
from taut.gateway.answering import Emit, Job, answer, problem_of
from taut.gateway.channel import Arrived, Channel
from taut.gateway.entry import Entry
from taut.gateway.nouns import Outcome, Problem, Receipt, Spent, Writer
from taut.gateway.outlet import Outlet
from taut.gateway.receipt import closing_headers, receipt, spent_on

SHUTTING_DOWN = Problem(
    "the gateway is shutting down: ask again", status=503, code="overloaded_error", retry_after_s=5.0
)

NOT_READ = Problem("the reply was not read as fast as it came", status=408, code="timeout_error")


class Onlooker:
    """Sees the traces of all candidates as they begin, and hands on the wish for an answer now."""

    def __init__(self, entry: Entry) -> None:
        self.traces: list[Trace] = []
        self._entry = entry

    def began(self, trace: Trace) -> None:
        """See `taut.run.Onlooker`."""
        self.traces.append(trace)
        self._entry.began(trace)

    def is_answer_wanted(self) -> bool:
        """See `taut.run.Onlooker`."""
        return self._entry.is_answer_wanted()


class Replying:
    """One run and its reply."""

    def __init__(self, job: Job, writer: Writer, entry: Entry) -> None:
        self.job = job
        self.onlooker = Onlooker(entry)
        self.problem: Problem | None = None
        """Why there is no good reply."""
        self.first_token_s: float | None = None
        self._writer = writer
        self._entry = entry
        self._answered: set[int] = set()
        """Candidates of whose answer the client has seen something."""
        self._task: asyncio.Task[list[Outcome]] | None = None
        self._interruption: Problem | None = None
        self.began_s = asyncio.get_running_loop().time()

    @property
    def traces(self) -> list[Trace]:
        """Of all candidates, as far as they have come."""
        return self.onlooker.traces

    def bill(self, outcomes: Sequence[Outcome]) -> tuple[Spent, Receipt]:
        """What was paid, and the receipt."""
        job = self.job
        told = receipt(job.id, job.choice.preset.name, job.choice.engine_name, job.grant, outcomes)
        return spent_on([outcome.trace for outcome in outcomes]), told

    async def whole(self, headers: Mapping[str, str]) -> web.Response:
        """Run to the end and answer in one piece. Raises `Problem`."""
        async with self._running(self._seen) as run:
            outcomes = await self._end_of(run)
        self.problem = self._first_problem(outcomes)
        if self.problem is not None:
            raise self.problem
        spent, told = self.bill(outcomes)
        body = self._writer.whole(outcomes, spent, told)
        return web.Response(body=body, content_type="application/json", headers={**headers, **closing_headers(told)})

    async def stream(self, outlet: Outlet, keep_alive_s: float) -> web.StreamResponse:
        """Run, and write pieces as they come. Raises `Problem` while nothing has been written."""
        channel = Channel(keep_alive_s, lambda: self.interrupt(NOT_READ))

        def emit(index: int, piece: Piece) -> None:
            self._seen(index, piece)
            channel.put(index, piece)

        async with self._running(emit) as run:
            run.add_done_callback(lambda _: channel.finish())
            while (arrived := await channel.take()) is not None:
                opening = b"" if outlet.has_begun else self._writer.begin()
                await outlet.write(opening + (self._pieces(arrived) if arrived else self._keep_alive()))
            try:
                outcomes = await self._end_of(run)
            except Problem as problem:
                if not outlet.has_begun:
                    raise
                return await self._break_off(outlet, problem)
        return await self._close(outlet, outcomes)

    def interrupt(self, problem: Problem) -> None:
        """Stop the run; its client is told the problem, in its protocol."""
        self._interruption = problem
        if self._task is not None:
            self._task.cancel()

    @contextlib.asynccontextmanager
    async def _running(self, emit: Emit) -> AsyncIterator[asyncio.Task[list[Outcome]]]:
        """The run beside the writing; leaving the block early cancels it and waits until it is gone."""
        task = self._task = asyncio.create_task(answer(self.job, self.onlooker, emit))
        try:
            yield task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def _end_of(self, run: asyncio.Task[list[Outcome]]) -> list[Outcome]:
        try:
            return await run
        except asyncio.CancelledError:
            if self._interruption is None:
                raise
            raise self._interruption from None

    def _seen(self, index: int, piece: Piece) -> None:
        if self.first_token_s is None:
            self.first_token_s = asyncio.get_running_loop().time() - self.began_s
        if piece.kind == "answer":
            self._answered.add(index)
        self._entry.piece(piece, index)

    def _pieces(self, arrived: Arrived) -> bytes:
        if len(arrived) == 1:
            index, piece = arrived[0]
            return self._writer.pieces(index, (piece,))
        groups = groupby(arrived, key=lambda item: item[0])
        return b"".join(self._writer.pieces(index, [piece for _, piece in group]) for index, group in groups)

    def _keep_alive(self) -> bytes:
        calls = sum(len(trace.calls) for trace in self.traces)
        return self._writer.keep_alive(f"still at work: {calls} calls, {self._entry.tokens()[0]}")

    async def _close(self, outlet: Outlet, outcomes: list[Outcome]) -> web.StreamResponse:
        self.problem = self._first_problem(outcomes)
        if self.problem is not None:
            if not outlet.has_begun:
                raise self.problem
            return await self._break_off(outlet, self.problem)
        opening = b"" if outlet.has_begun else self._writer.begin()
        closing = self._unshown(outcomes) + self._writer.end(outcomes, *self.bill(outcomes))
        await outlet.write(opening + closing)
        return await outlet.end()

    def _first_problem(self, outcomes: Sequence[Outcome]) -> Problem | None:
        engines = self.job.choice.engines.values()
        return next((problem for outcome in outcomes if (problem := problem_of(outcome.trace, engines))), None)

    def _unshown(self, outcomes: Sequence[Outcome]) -> bytes:
        """Answers of methods that show nothing while they work, such as a vote among several candidates."""
        late = [outcome for outcome in outcomes if outcome.index not in self._answered]
        pieces = [
            (outcome.index, Piece("answer", outcome.trace.answer, tool_calls=outcome.trace.tool_calls))
            for outcome in late
            if outcome.trace.answer or outcome.trace.tool_calls
        ]
        return b"".join(self._writer.pieces(index, (piece,)) for index, piece in pieces)

    async def _break_off(self, outlet: Outlet, problem: Problem) -> web.StreamResponse:
        """End a stream that has begun and will not be finished."""
        self.problem = problem
        spent, told = self.bill([Outcome(index, trace) for index, trace in enumerate(self.traces)])
        await outlet.write(self._writer.fail(problem, spent, told))
        return await outlet.end()
