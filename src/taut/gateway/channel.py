"""Pieces on their way from runs to one client: a run never waits for a slow client, the client never for a timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from taut.core import Piece

Arrived = list[tuple[int, Piece]]
MOST_CHARS = 2_000_000
"""About half a million tokens: whoever has left so much unread does not read."""


class Channel:
    """Holds what has come until it is taken; what comes together is taken together.

    A client that does not read at all is left by the writing side after a while; until then what waits is bounded by
    `MOST_CHARS`.
    """

    def __init__(self, keep_alive_s: float, overflows: Callable[[], None] = lambda: None) -> None:
        """``overflows`` is called once more than `MOST_CHARS` wait."""
        self._loop = asyncio.get_running_loop()
        self._waiting: Arrived = []
        self._wake: asyncio.Future[None] | None = None
        self._chars = 0
        self._overflows = overflows
        self._is_over = False
        self._keep_alive_s = keep_alive_s
        self._timer = self._loop.call_later(keep_alive_s, self._tick)
        self._is_quiet = True
        """Nothing has come since the last tick."""
        self._is_due = False

    def put(self, index: int, piece: Piece) -> None:
        """A piece of candidate ``index``."""
        self._waiting.append((index, piece))
        self._chars += len(piece.text)
        if self._chars > MOST_CHARS:
            self._overflows()
        self._is_quiet = False
        self._rouse()

    def finish(self) -> None:
        """Nothing more comes."""
        self._is_over = True
        self._timer.cancel()
        self._rouse()

    async def take(self) -> Arrived | None:
        """What has come; an empty list after silence of ``keep_alive_s``; ``None`` when it is over."""
        while not self._waiting:
            if self._is_over:
                return None
            if self._is_due:
                self._is_due = False
                return []
            self._wake = self._loop.create_future()
            await self._wake
        taken, self._waiting, self._chars = self._waiting, [], 0
        return taken

    def _tick(self) -> None:
        # One timer a request, which only looks whether anything came: a timer a piece would cost more than the piece.
        self._is_due = self._is_quiet
        self._is_quiet = True
        if self._is_due:
            self._rouse()
        self._timer = self._loop.call_later(self._keep_alive_s, self._tick)

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
