"""One of several servers with the same model: whether it is up, what it has to do, and looking after it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taut.engines._http import Http, split_url
from taut.engines._look import confirm
from taut.errors import EngineError, one_line

if TYPE_CHECKING:
    from taut.engines.openai import OpenAIEngine

CHECK_LIMIT_S = 5.0
"""For one look at a server that was up: a busy one may be slow to answer, a hanging one never does."""
LOOK_GAP_S = 0.05
"""Between two looks, however many calls fail meanwhile."""
DOUBT_S = 5.0
DOUBTED_AFTER = 2
"""Failed calls in a row. A server that fails at once has the least load and would otherwise draw every request."""

OpenOne = Callable[[str, str | None], Awaitable["OpenAIEngine"]]
"""Connects to the server at an address; the model is ``None`` as long as none is agreed on."""


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """What an operator wants to know about one server. Addresses with secrets in them are never accepted."""

    address: str
    is_up: bool
    under_way: int
    """Calls that it works on now."""
    calls: int
    """Calls sent to it so far, those under way and the failed ones included."""
    failures: int
    """Calls that failed there, but for those that it refused as wrong."""
    why_down: str
    """One sentence; empty while it is up."""


class Replica:
    """One server. It is opened by the first look that finds it up."""

    def __init__(self, url: str, open_one: OpenOne) -> None:
        self.url = url
        self.address = split_url(url)[1]
        self.engine: OpenAIEngine | None = None
        self.is_up = False
        self.leases = 0
        """Requests that keep to this server."""
        self.last_used = 0
        """Number of the request that last chose it; 0 for none."""
        self.looked = asyncio.Event()
        """Cleared by a failed call, until the server was looked at again."""
        self.looked.set()
        self._open_one = open_one
        self._why_down = "it was not looked at yet"
        self._under_way = 0
        self._calls = 0
        self._failures = 0
        self._failures_in_a_row = 0
        self._doubted_until_s = 0.0
        self._beside: Http | None = None
        self._has_health = True
        self._wanted = asyncio.Event()

    @property
    def load(self) -> int:
        """Requests that keep to it, and their calls under way."""
        return self.leases + self._under_way

    @property
    def is_doubted(self) -> bool:
        """Its last calls failed, a moment ago: others are to be asked first."""
        is_recent = asyncio.get_running_loop().time() < self._doubted_until_s
        return is_recent and self._failures_in_a_row >= DOUBTED_AFTER

    @property
    def state(self) -> ReplicaState:
        """As of now."""
        why = "" if self.is_up else self._why_down
        return ReplicaState(self.address, self.is_up, self._under_way, self._calls, self._failures, why)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[OpenAIEngine]:
        """The engine for one call, which counts as load until the block is left."""
        assert self.engine is not None, "only a server that was up once is chosen"
        self._calls += 1
        self._under_way += 1
        try:
            yield self.engine
        finally:
            self._under_way -= 1

    def succeeded(self) -> None:
        """A call has got its first token."""
        self._failures_in_a_row = 0

    def failed(self, error: EngineError) -> None:
        """A call has failed; a server that cannot be reached is down until a look finds it up again."""
        if error.kind == "refused":
            return
        self._failures += 1
        if error.status == 429:
            return  # busy, not broken
        self.want_look()
        if error.kind == "timeout":
            return  # perhaps the request's own short deadline
        self._failures_in_a_row += 1
        self._doubted_until_s = asyncio.get_running_loop().time() + DOUBT_S
        # A 500 may be the request's own fault: whether the server is down is for the look to say.
        if error.kind in ("unreachable", "cut"):
            self._mark_down(error)
            self.looked.clear()

    def want_look(self) -> None:
        """Have it looked at now, not at the next turn."""
        self._wanted.set()

    async def until_wanted(self, interval_s: float) -> None:
        """Wait until it is time for the next look."""
        await asyncio.sleep(LOOK_GAP_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval_s):
                await self._wanted.wait()
        self._wanted.clear()

    async def look(self, model: str | None) -> Exception | None:
        """Find out whether it is up and has ``model``; what is wrong is returned and not raised."""
        try:
            if self.engine is None:
                await self._open(model)
            else:
                await self._check(model or self.engine.model)
        except Exception as error:  # noqa: BLE001 - whatever a server answers, watching it goes on
            self._mark_down(error)
            return error
        else:
            self.is_up = True
            return None
        finally:
            self.looked.set()

    async def close(self, why: str = "the engine is closed") -> None:
        """Close its connections; the next look, if there is one, opens it anew."""
        self.is_up, self._why_down = False, why
        self.looked.set()
        for part in (self.engine, self._beside):
            if part is not None:
                await part.close()
        self.engine = self._beside = None

    def _mark_down(self, error: Exception) -> None:
        self.is_up, self._why_down = False, one_line(error)

    async def _open(self, model: str | None) -> None:
        engine = await self._open_one(self.url, model)
        self.engine, self._beside = engine, engine._http.beside()

    async def _check(self, model: str) -> None:
        """Raises `EngineError` if it does not answer, `UsageError` if it has another model now."""
        assert self._beside is not None
        try:
            async with asyncio.timeout(CHECK_LIMIT_S):
                if self._has_health:
                    self._has_health = await self._beside.is_there(f"{self._beside.server_url}/health")
                # Asked as well where there is a health page: a server may be back with another model.
                await confirm(self._beside, model)
        except EngineError as error:
            if error.status != 429:  # busy, not broken
                raise
        except TimeoutError:
            raise EngineError(f"{self.address} did not answer in {CHECK_LIMIT_S:g} s", kind="timeout") from None
