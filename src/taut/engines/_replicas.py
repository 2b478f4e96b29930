"""One engine over several servers with the same model: health checks, least-loaded choice, failover.

All calls of one request go to the same server, because the cache of what they have in common lies there: a request
takes a `Lease`. A call whose server is gone moves the lease to another one, as long as no token has come.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from taut.core import Request, Streamed
from taut.dialects import Dialect
from taut.engines._http import split_url
from taut.engines._lease import Lease
from taut.engines._replica import OpenOne, Replica, ReplicaState
from taut.errors import EngineError, UsageError

if TYPE_CHECKING:
    from taut.engines.openai import OpenAIEngine

__all__ = ["Lease", "ReplicaState", "Replicas"]

GRACE_S = 2.0
"""For the other servers at the start, once one is up: those that take longer join later."""
SETTLE_S = 1.0
"""How long a call waits for a look at the servers that just failed, when no other is up."""


class Replicas:
    """Several servers as one engine; implements `taut.core.Engine`. Made by `open`."""

    def __init__(self, name: str, replicas: Sequence[Replica], *, max_retries: int, health_interval_s: float) -> None:
        self.name = name
        self.max_retries = max_retries
        self._replicas = replicas
        self._health_interval_s = health_interval_s
        self._watches: list[asyncio.Task[None]] = []
        self._first: OpenAIEngine | None = None
        self._requests = 0

    @classmethod
    async def open(
        cls,
        urls: Sequence[str],
        open_one: OpenOne,
        *,
        name: str | None = None,
        max_retries: int = 4,
        health_interval_s: float = 5.0,
    ) -> Replicas:
        """Look at all servers, and go on looking every ``health_interval_s`` seconds until `close`.

        ``open_one`` connects to one of them, without retries of its own: they would delay the failover. One that is up
        is enough; the model of the first decides. Raises `UsageError` for wrong addresses and numbers, `EngineError`
        if none is up.
        """
        if max_retries < 0:
            raise UsageError(f"max_retries is {max_retries}; it must be 0 or more")
        if not health_interval_s > 0:
            raise UsageError(f"health_interval_s is {health_interval_s:g}; it must be a number of seconds above 0")
        replicas = [Replica(url, open_one) for url in _distinct(urls)]
        more = f" and {len(replicas) - 1} more" if len(replicas) > 1 else ""
        name = name or f"openai:{replicas[0].address}{more}"
        engine = cls(name, replicas, max_retries=max_retries, health_interval_s=health_interval_s)
        try:
            await engine._start()
        except BaseException:
            await engine.close()
            raise
        return engine

    @property
    def model(self) -> str:
        """The same on all servers."""
        return self._opened.model

    @property
    def dialect(self) -> Dialect:
        """That of the first server seen."""
        return self._opened.dialect

    @property
    def offers(self) -> frozenset[str]:
        """What every server offers that was seen so far."""
        return frozenset.intersection(*(r.engine.offers for r in self._replicas if r.engine), self._opened.offers)

    @property
    def hears_leaving(self) -> bool:
        """Every server stops at once when the client of an unstreamed call goes."""
        return all(r.engine.hears_leaving for r in self._replicas if r.engine)

    def clean(self, data: bytes) -> bytes:
        """See `OpenAIEngine.clean`; all servers are sent the same key."""
        return self._opened.clean(data)

    def redact(self, text: str) -> str:
        """See `OpenAIEngine.redact`; for every server."""
        for replica in self._replicas:
            text = replica.engine.redact(text) if replica.engine else text
        return text

    @property
    def _opened(self) -> OpenAIEngine:
        assert self._first is not None, "made by open, which finds one or raises"
        return self._first

    def lease(self) -> Lease:
        """For one request: all its calls go to one server, the least loaded one at the time of the first call."""
        return Lease(self)

    async def stream(self, request: Request) -> AsyncIterator[Streamed]:
        """A call on its own: on whichever server has the least to do. See `taut.core.Engine.stream`."""
        lease = self.lease()
        try:
            async with aclosing(cast(AsyncGenerator[Streamed, None], lease.stream(request))) as items:
                async for item in items:
                    yield item
        finally:
            await lease.close()

    def state(self) -> list[ReplicaState]:
        """Every server, in the order in which they were given."""
        return [replica.state for replica in self._replicas]

    async def close(self) -> None:
        """Stop looking, and close all connections; streams under way fail."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        for replica in self._replicas:
            await replica.close()

    def least_loaded(self, but: Collection[Replica] = ()) -> Replica | None:
        """The server that is up and has the least to do, among equals the one that has rested longest."""
        up = [replica for replica in self._replicas if replica.is_up and replica not in but]
        chosen = min(up, key=lambda r: (r.is_doubted, r.load, r.last_used), default=None)
        if chosen is not None:
            self._requests += 1
            chosen.last_used = self._requests
        return chosen

    def is_any_up(self, but: Collection[Replica] = ()) -> bool:
        """Whether there is somebody to ask."""
        return any(replica.is_up and replica not in but for replica in self._replicas)

    async def settle(self) -> None:
        """Wait a moment until the servers that calls have just failed on are looked at again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                for replica in self._replicas:
                    await replica.looked.wait()

    def nobody(self) -> EngineError:
        """For a call that no server is there for."""
        why = next((state.why_down for state in self.state() if state.why_down), "")
        count = len(self._replicas)
        which = "the server" if count == 1 else f"none of the {count} servers"
        is_up = "is down" if count == 1 else "is up"
        return EngineError(f"{which} of {self.name} {is_up}: {why}", kind="unreachable")

    async def _start(self) -> None:
        errors = await self._first_looks()
        first = next((replica.engine for replica in self._replicas if replica.is_up), None)
        if first is None:
            raise _why_none(errors)
        self._first = first
        for replica in self._replicas:
            if replica.engine is not None and replica.engine.model != first.model:
                await replica.close(f"{replica.address} has the model {replica.engine.model!r}, not {first.model!r}")
            if not replica.is_up:
                replica.want_look()
        self._watches = [asyncio.create_task(self._watch(replica)) for replica in self._replicas]

    async def _first_looks(self) -> list[Exception]:
        """Look at all at once, and wait for all, but not for long once one is up."""
        looks = [asyncio.create_task(replica.look(None)) for replica in self._replicas]
        waiting = set(looks)
        try:
            while waiting and not self.is_any_up():
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if waiting:
                _, waiting = await asyncio.wait(waiting, timeout=GRACE_S)
        finally:
            for look in waiting:
                look.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        errors = [look.result() for look in looks if look not in waiting]
        return [error for error in errors if error is not None]

    async def _watch(self, replica: Replica) -> None:
        while True:
            await replica.until_wanted(self._health_interval_s)
            await replica.look(self.model)


def _distinct(urls: Sequence[str]) -> list[str]:
    """The addresses. Raises `UsageError` if there is none, or one of them twice."""
    addresses = [split_url(url)[0] for url in urls]
    if not addresses:
        raise UsageError("urls is empty; it must have the address of at least one server")
    twice = next((address for address in addresses if addresses.count(address) > 1), None)
    if twice is not None:
        raise UsageError(f"urls has {twice} twice; every server is to be given once")
    return list(urls)


def _why_none(errors: Sequence[Exception]) -> Exception:
    """The one error to tell of those that kept every server out: what the operator can mend comes first."""
    wrong = next((error for error in errors if isinstance(error, UsageError)), None)
    if wrong is not None:
        return wrong
    first = errors[0]
    if len(errors) == 1 or not isinstance(first, EngineError):
        return first
    return EngineError(
        f"none of the {len(errors)} servers is up; the first: {first}", kind=first.kind, status=first.status
    )
