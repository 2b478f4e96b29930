"""The client's end of a stream: its headers go out with the first bytes, and a client that stops reading is left."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Proxies in front must neither keep nor collect what is streamed."""


class Outlet:
    """Writes one streamed reply. Use it as a context manager, so that its timer ends."""

    def __init__(
        self, request: web.Request, content_type: str, headers: Mapping[str, str], slow_reader_s: float
    ) -> None:
        self._request = request
        self._headers = {"Content-Type": content_type, **STREAM_HEADERS, **headers}
        self._slow_reader_s = slow_reader_s
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.response: web.StreamResponse | None = None
        """``None`` until the first byte: until then the reply may still become an error with its own status."""

    def __enter__(self) -> Outlet:
        self._look()
        return self

    def __exit__(self, *details: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    @property
    def has_begun(self) -> bool:
        """Headers are out: an error has to be told inside the stream."""
        return self.response is not None

    async def write(self, data: bytes) -> None:
        """Send ``data``; waits while the client has not read what was sent before."""
        if not data:
            return
        if self.response is None:
            response = web.StreamResponse(headers=self._headers)
            await response.prepare(self._request)
            self.response = response
        self._waiting_since = self._loop.time()
        await self.response.write(data)
        self._waiting_since = None

    async def end(self) -> web.StreamResponse:
        """The body is complete."""
        assert self.response is not None
        await self.response.write_eof()
        return self.response

    def _look(self) -> None:
        """Once in a while: has a write been waiting for too long?"""
        since = self._waiting_since
        if since is not None and self._loop.time() - since > self._slow_reader_s and self._request.transport:
            self._request.transport.abort()
            return
        self._timer = self._loop.call_later(self._slow_reader_s / 4, self._look)
