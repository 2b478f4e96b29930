"""A reply that passes through: the same surface as `taut.gateway.replying`, without a run behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from aiohttp import web

from taut.core import Engine, Piece, Trace
from taut.engines._exchange import Watch
from taut.errors import EngineError, one_line
from taut.gateway import passing
from taut.gateway.answering import problem_of
from taut.gateway.assembling import Gathered
from taut.gateway.entry import Entry
from taut.gateway.nouns import Problem
from taut.gateway.outlet import Outlet
from taut.run import leasable

ErrorEvent = Callable[[Problem], bytes]


@dataclass(frozen=True, slots=True)
class Passage:
    """What is to be sent on, and how long to wait for what comes back."""

    id: str
    engine: Engine
    path: str
    """Below ``/v1``."""
    body: bytes
    error_event: ErrorEvent
    """A problem as the last event of a stream, in the client's protocol."""
    patience: passing.Patience = passing.Patience()
    is_assembled: bool = False
    """The client wants one document, and the upstream is asked to stream it."""


class Sink(Protocol):
    """Where whole events go: to the client, or into a document."""

    @property
    def has_begun(self) -> bool:
        """Something has been sent on: an error has to be told inside the stream."""
        ...

    async def write(self, data: bytes) -> None:
        """Take whole events."""
        ...


class Relaying:
    """One request that is sent on as it is, and its reply."""

    def __init__(self, passage: Passage, entry: Entry) -> None:
        self.passage = passage
        self.problem: Problem | None = None
        self.first_token_s: float | None = None
        self._entry = entry
        # One replica for this request, where there are several.
        fleet = leasable(passage.engine)
        self._lease = fleet.lease() if fleet is not None else None
        self._trace = passing.new_trace(passage.id)
        self._tap = passing.Tap(passage.engine, self._trace)
        self._interruption: Problem | None = None
        self._opening: asyncio.Timeout | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._loop = asyncio.get_running_loop()
        self.began_s = self._loop.time()
        entry.began(self._trace)

    @property
    def traces(self) -> list[Trace]:
        """The one trace."""
        return [self._trace]

    def interrupt(self, problem: Problem) -> None:
        """Stop; the client is told the problem, in its protocol."""
        self._interruption = problem
        if self._response is not None:
            self._response.close()
        elif self._opening is not None:
            self._opening.reschedule(self._loop.time())

    async def whole(self, headers: Mapping[str, str]) -> web.Response:
        """The upstream's reply in one piece. Raises `Problem`."""
        watch = passing.watch_of(self.passage.patience)
        try:
            response = await self._open(watch)
            if self.passage.is_assembled:
                gathered = Gathered()
                await self._pump(response, watch, gathered)
                data = gathered.document()
            else:
                data = passing.clean(self.passage.engine, passing.readable(await passing.read_whole(response, watch)))
                self._count(self._tap.document(data))
                self._count(self._tap.close())
        except EngineError as error:
            raise self._failed(error) from None
        finally:
            await self._leave(watch)
        content_type = "application/json" if self.passage.is_assembled else _type_of(response)
        return web.Response(body=data, headers={**headers, "Content-Type": content_type})

    async def stream(self, outlet: Outlet, keep_alive_s: float) -> web.StreamResponse:
        """The upstream's events as they come. Raises `Problem` while nothing has been written."""
        watch = passing.watch_of(self.passage.patience)
        try:
            response = await self._open(watch)
            await self._pump(response, watch, outlet)
        except EngineError as error:
            problem = self._failed(error)
            if not outlet.has_begun:
                raise problem from None
            await outlet.write(self.passage.error_event(problem))
        finally:
            await self._leave(watch)
        return await outlet.end()

    async def _open(self, watch: Watch) -> aiohttp.ClientResponse:
        passage = self.passage
        try:
            async with asyncio.timeout(None) as self._opening:
                response = await passing.begin(self._lease or passage.engine, passage.path, passage.body, watch)
        except TimeoutError:
            raise EngineError("the reply was given up before it had begun", kind="cut") from None
        finally:
            self._opening = None
        self._response = response
        if response.status != 200:
            self.problem = await passing.refusal(response, watch, passage.engine)
            self._tap.close(str(self.problem))
            raise self.problem
        return response

    async def _pump(self, response: aiohttp.ClientResponse, watch: Watch, outlet: Sink) -> None:
        if not _type_of(response).startswith("text/event-stream"):
            raise EngineError(f"the upstream answered with {_type_of(response)!r} though asked to stream")
        tap = self._tap
        try:
            async for data in passing.whole_events(response, watch):
                await self._pass_on(passing.clean(self.passage.engine, data), outlet)
                if tap.is_done:
                    break
        except EngineError as error:
            # A server that does not end the body of a whole reply harms nobody.
            if not tap.is_whole or error.kind == "garbled":
                raise
        await passing.drain(response)
        if not self._tap.is_whole and self._tap.error is None:
            raise EngineError("the upstream ended the stream in the middle of the reply", kind="cut")
        self._count(self._tap.close())

    async def _pass_on(self, data: bytes, outlet: Sink) -> None:
        """Write whole events, read before so that what cannot be read is not written."""
        if not outlet.has_begun and not passing.is_event_stream(data):
            raise EngineError("the upstream answered with what is no stream of events")
        pieces = self._tap.feed(data)
        if self._tap.error is not None and not outlet.has_begun:
            # Nothing has been written yet: the client can still be told by a status.
            raise self._tap.error
        await outlet.write(passing.readable(data))
        self._count(pieces)

    def _count(self, pieces: list[Piece]) -> None:
        if pieces and self.first_token_s is None:
            self.first_token_s = self._loop.time() - self.began_s
        for piece in pieces:
            self._entry.piece(piece)

    def _failed(self, error: EngineError) -> Problem:
        """Close the trace as failed, and say it to the client."""
        self._tap.close(one_line(error))
        trace = self._trace
        trace.error_kind, trace.error_status = error.kind, error.status
        engines = (self.passage.engine,)
        self.problem = self._interruption or problem_of(trace, engines) or Problem(one_line(error), status=502)
        return self.problem

    async def _leave(self, watch: Watch) -> None:
        """Stop the upstream, whatever happened; a call that nobody has closed was cancelled."""
        watch.stop()
        if self._response is not None:
            self._response.close()
        if self._lease is not None:
            await self._lease.close()
        if self._tap.call.ended_s is None:
            self._tap.close()


def _type_of(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "application/json")
