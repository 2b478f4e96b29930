"""One request's hold on one of several servers, and moving on to another one when that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import aiohttp

from taut.core import Request, Streamed, Usage
from taut.dialects import Dialect
from taut.engines._replica import Replica
from taut.engines._retry import LONGEST_DELAY_S, RETRIED_KINDS, delay_s
from taut.errors import EngineError

if TYPE_CHECKING:
    from taut.engines._replicas import Replicas

LONGEST_WAIT_S = 2 * LONGEST_DELAY_S
"""A server that asks to wait for longer gets no further attempt."""


@dataclass(slots=True)
class Trial:
    """The attempts at one call."""

    max_retries: int
    """Rounds over all servers after the first one."""
    deadline_s: float | None
    """Seconds from the start."""
    tried: set[Replica] = field(default_factory=set)
    """In this round."""
    has_begun: bool = False
    """A token has come: nobody else may be asked."""
    _round: int = field(default=0, init=False)
    _began_s: float = field(default_factory=lambda: asyncio.get_running_loop().time(), init=False)

    def remaining_s(self) -> float:
        """Seconds until the deadline; endless without one."""
        if self.deadline_s is None:
            return float("inf")
        return self.deadline_s - (asyncio.get_running_loop().time() - self._began_s)

    def rest_of(self, request: Request) -> Request:
        """The request with as much of its deadline as is left. Raises `EngineError` (timeout) if nothing is."""
        if self.deadline_s is None:
            return request
        if (remaining_s := self.remaining_s()) <= 0:
            raise EngineError(f"the deadline of {self.deadline_s:.3g} s has passed", kind="timeout")
        return replace(request, deadline_s=remaining_s)

    async def next_round(self, error: EngineError) -> None:
        """Wait before all are asked again. Raises ``error`` if they are not to be."""
        wait_s = delay_s(self._round, error)
        if self._round >= self.max_retries or wait_s >= min(LONGEST_WAIT_S, self.remaining_s()):
            raise error
        self._round += 1
        self.tried.clear()
        await asyncio.sleep(wait_s)


class Lease:
    """One request's engine; implements `taut.core.Engine`. Made by `Replicas.lease`."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._at: Replica | None = None
        self._held = ExitStack()
        self._is_over = False

    @property
    def name(self) -> str:
        """Of the engine over all servers."""
        return self._replicas.name

    @property
    def model(self) -> str:
        """The same on all servers."""
        return self._replicas.model

    @property
    def dialect(self) -> Dialect:
        """See `Replicas.dialect`."""
        return self._replicas.dialect

    @property
    def offers(self) -> frozenset[str]:
        """See `Replicas.offers`."""
        return self._replicas.offers

    @property
    def address(self) -> str:
        """Of the server that the calls go to; empty before the first one."""
        return self._at.address if self._at is not None else ""

    async def stream(self, request: Request) -> AsyncIterator[Streamed]:
        """See `taut.core.Engine.stream`. Before the first token another server may be asked, after it never.

        Every other server that is up is asked once; if all are busy, they are asked again after a while, as often as
        a single one would be. Raises `EngineError`; of the kind ``unreachable``, at once, if none is up.
        """
        trial = Trial(self._replicas.max_retries, request.deadline_s)
        has_usage = False
        while True:
            replica = await self._choose(trial)
            try:
                async with aclosing(_stream(replica, trial, request)) as items:
                    async for item in items:
                        # It is told once, whoever told it first.
                        if not (has_usage and isinstance(item, Usage)):
                            yield item
                        has_usage |= isinstance(item, Usage)
                return
            except EngineError as error:
                await self._move_on(error, replica, trial)

    async def forward(self, path: str, body: bytes) -> aiohttp.ClientResponse:
        """See `taut.engines.openai.OpenAIEngine.forward`; a server that is gone or fails leads to another one.

        A failure of the last one is returned as it is. The response counts as load until `close`, which closes it.
        """
        trial = Trial(max_retries=0, deadline_s=None)
        while True:
            replica = await self._choose(trial)
            with ExitStack() as stack:
                engine = stack.enter_context(replica.at_work())
                try:
                    response = await engine.forward(path, body)
                except EngineError as error:
                    await self._move_on(error, replica, trial)
                    continue
                stack.callback(_leave, response, replica)
                if not self._has_failed(response, replica, trial):
                    self._held.callback(stack.pop_all().close)
                    return response

    async def close(self) -> None:
        """Give the server back. Never waits."""
        self._is_over = True
        self._held.close()
        self._take(None)

    def _take(self, replica: Replica | None) -> None:
        if self._at is not None:
            self._at.leases -= 1
        self._at = replica
        if replica is not None:
            replica.leases += 1

    async def _choose(self, trial: Trial) -> Replica:
        """The server for the next attempt: the one that the request has, unless it failed. Raises `EngineError`."""
        for _ in range(2):
            if self._is_over:
                raise EngineError("this request is over: its lease was given back", kind="unreachable")
            if self._at is not None and self._at.is_up and self._at not in trial.tried:
                return self._at
            chosen = self._replicas.least_loaded(trial.tried) or self._replicas.least_loaded()
            if chosen is not None:
                self._take(chosen)
                return chosen
            await self._replicas.settle()
        raise self._replicas.nobody()

    async def _move_on(self, error: EngineError, replica: Replica, trial: Trial) -> None:
        """After a failed attempt: return once there is somebody to ask. Raises ``error`` if it is to stand."""
        replica.failed(error)
        if error.kind not in RETRIED_KINDS or trial.has_begun:
            raise error
        trial.tried.add(replica)
        if self._replicas.is_any_up(trial.tried):
            return
        await self._replicas.settle()
        if not self._replicas.is_any_up():
            raise self._replicas.nobody() from error
        if not self._replicas.is_any_up(trial.tried):
            await trial.next_round(error)

    def _has_failed(self, response: aiohttp.ClientResponse, replica: Replica, trial: Trial) -> bool:
        """Whether another server is to be asked in place of this response; notes how it went."""
        status = response.status
        if status != 429 and (status < 500 or status == 501):
            replica.succeeded()
            return False
        replica.failed(EngineError(f"{replica.address} answered {status}", kind="overloaded", status=status))
        trial.tried.add(replica)
        return self._replicas.is_any_up(trial.tried)


def _leave(response: aiohttp.ClientResponse, replica: Replica) -> None:
    # Whoever read it has seen the failure, and this is the first that is heard of it here.
    if isinstance(response.content.exception(), aiohttp.ClientPayloadError):
        replica.want_look()
    response.close()


async def _stream(replica: Replica, trial: Trial, request: Request) -> AsyncGenerator[Streamed, None]:
    """One attempt on one server."""
    with replica.at_work() as engine:
        source = cast(AsyncGenerator[Streamed, None], engine.stream(trial.rest_of(request)))
        async with aclosing(source) as items:
            async for item in items:
                if not (trial.has_begun or isinstance(item, Usage)):
                    trial.has_begun = True
                    replica.succeeded()
                yield item
