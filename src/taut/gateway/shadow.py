"""Shadow mode: for a share of requests the unmodified form runs too, in the background, after the request is over.

It never touches the request that it follows: it starts when that one has been answered, and is dropped, and counted,
when too many run already. Which requests are followed depends on their ids alone, so all workers agree and a test can
repeat it.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from taut.core import Trace
from taut.gateway.agreement import agree

SHADOW_PRESET = "shadow:direct"
"""The preset in the traces of unmodified runs."""

Result = Literal["same", "different", "cannot compare", "busy", "main failed", "failed", "cancelled"]
"""How it ended. The first three are pairs. ``busy`` and ``main failed`` were not run; of ``failed`` and ``cancelled``
ones the tokens were paid for, and tell nothing about savings."""
RESULTS: tuple[Result, ...] = ("same", "different", "cannot compare", "busy", "main failed", "failed", "cancelled")

Request = TypeVar("Request")


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A request whose unmodified form was to run, when that is over."""

    request_id: str
    preset: str
    """Of the request itself."""
    result: Result
    tokens: int
    """Completion tokens of all roles of the request itself."""
    trace: Trace | None = None
    """Of the unmodified run, its preset `SHADOW_PRESET`; ``None`` where there was none, or it was cancelled."""

    @property
    def is_pair(self) -> bool:
        """Both forms were answered."""
        return self.result in ("same", "different", "cannot compare")

    @property
    def unmodified_tokens(self) -> int:
        """Completion tokens of all roles of the unmodified run."""
        return 0 if self.trace is None else self.trace.completion_tokens

    @property
    def agree(self) -> bool | None:
        """The answers agree; ``None`` where nobody can tell."""
        return {"same": True, "different": False}.get(self.result)

    def note(self) -> dict[str, Any]:
        """For the trace's metadata: what it is the shadow of."""
        return {"shadow_of": self.request_id, "shadow_of_preset": self.preset, "result": self.result}


Tell = Callable[[Shadowed], None]


class Shadow(Generic[Request]):
    """Follows requests of one worker. ``Request`` is whatever ``run_unmodified`` needs to know."""

    def __init__(
        self, share: float, at_once: int, run_unmodified: Callable[[Request], Awaitable[Trace]], tell: Tell
    ) -> None:
        """Follow a ``share`` of requests, from 0 to 1, ``at_once`` at the same time.

        ``tell`` is called once for every request that was to be followed, on the event loop.
        """
        self._share = share
        self._at_once = at_once
        self._run_unmodified = run_unmodified
        self._tell = tell
        self._running: set[asyncio.Task[Trace]] = set()
        self._is_closed = False

    def __len__(self) -> int:
        """Unmodified runs under way."""
        return len(self._running)

    def follows(self, request_id: str) -> bool:
        """Whether this request belongs to the share."""
        if self._share <= 0:
            return False
        digest = hashlib.blake2b(request_id.encode("utf-8", "replace"), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self._share * 2**64

    def follow(self, request_id: str, request: Request, trace: Trace) -> None:
        """A request is over: run its unmodified form, if it belongs to the share. Returns at once, never raises.

        Not for requests that ran unmodified themselves, nor for those of several candidates.
        """
        if not self.follows(request_id):
            return
        if trace.error is not None or trace.finish not in ("stop", "length"):
            self._tell(Shadowed(request_id, trace.preset, "main failed", trace.completion_tokens))
            return
        if self._is_closed or len(self._running) >= self._at_once:
            self._tell(Shadowed(request_id, trace.preset, "busy", trace.completion_tokens))
            return
        task = asyncio.create_task(self._run(request), name=f"shadow {request_id}")
        self._running.add(task)
        # Not at the end of the task itself: one that is cancelled before it began would not be told of.
        task.add_done_callback(functools.partial(self._over, request_id, trace))

    async def close(self) -> None:
        """Cancel what runs, and take no more."""
        self._is_closed = True
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, request: Request) -> Trace:
        return await self._run_unmodified(request)

    def _over(self, request_id: str, trace: Trace, task: asyncio.Task[Trace]) -> None:
        self._running.discard(task)
        result: Result = "cancelled"
        other: Trace | None = None
        if not task.cancelled():
            # Nobody waits for this task: whatever failed in it, a fault of the program included, harms nobody.
            other = task.result() if task.exception() is None else None
            result = "failed" if other is None else _compare(trace, other)
        if other is not None:
            other.preset = SHADOW_PRESET
        self._tell(Shadowed(request_id, trace.preset, result, trace.completion_tokens, other))


def _compare(trace: Trace, other: Trace) -> Result:
    if other.error is not None or other.finish not in ("stop", "length"):
        return "failed"
    if other.finish == "length" or trace.finish == "length":
        # Cut by the ceiling: what was to be the answer is not there.
        return "cannot compare"
    same = agree(trace, other)
    return "cannot compare" if same is None else ("same" if same else "different")
