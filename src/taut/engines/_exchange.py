"""One HTTP exchange: the response as it streams, its deadline, and closing it so that the server stops."""

from __future__ import annotations

import asyncio

import aiohttp

from taut.core import Streamed
from taut.engines._http import Http
from taut.engines._plan import Plan
from taut.engines._reply import ReplyReader
from taut.engines._retry import RetryLater
from taut.engines._sse import MAX_EVENT_BYTES, EventParser
from taut.engines._wire import decode_chunk
from taut.errors import EngineError

DONE = b"[DONE]"
AFTER_FINISH_S = 5.0
"""How long the counts may take after the finish reason; without them the reply is whole all the same."""
DRAIN_S = 0.1
"""Waiting for the end of the body after ``[DONE]``, so that the connection can be used again."""


class Watch:
    """Ends a call at its deadline, or when the server has been silent for too long.

    One timer for the whole call, moved on only when it fires: a timer for every chunk would cost more than decoding it.
    """

    def __init__(self, *, deadline_s: float | None, first_token_s: float, idle_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._deadline = None if deadline_s is None else self._began + deadline_s
        self._deadline_s = deadline_s
        self._first_token_s = first_token_s
        self._idle_s = idle_s
        self._heard: float | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.error: EngineError | None = None

    def remaining_s(self) -> float:
        """Seconds until the next limit strikes if nothing is heard."""
        now = self._loop.time()
        patience = self._first_token_s + self._began if self._heard is None else self._heard + self._idle_s
        return (patience if self._deadline is None else min(patience, self._deadline)) - now

    def heard(self) -> None:
        """The server has said something that counts."""
        is_first = self._heard is None
        self._heard = self._loop.time()
        if is_first:
            # The timer under way is that of the first token, which may be far off.
            self.stop()
            self._arm()

    def finishing(self) -> None:
        """The reply is over but for its counts: they come at once or not at all."""
        self._heard = self._loop.time()
        self._idle_s = min(self._idle_s, AFTER_FINISH_S)
        self.stop()
        self._arm()

    def guard(self, response: aiohttp.ClientResponse) -> None:
        """Close ``response`` when a limit strikes; reading it then fails and `error` says why."""
        self._response = response
        self._heard = None
        self._arm()

    def stop(self) -> None:
        """No limits any more."""
        if self._timer is not None:
            self._timer.cancel()

    def expired(self) -> EngineError:
        """The error for the limit that has struck."""
        if self._deadline is not None and self._loop.time() >= self._deadline:
            return EngineError(f"the deadline of {self._deadline_s:.3g} s has passed", kind="timeout")
        if self._heard is None:
            return EngineError(f"the server sent no token within {self._first_token_s:g} s", kind="timeout")
        return EngineError(f"the server has been silent for {self._idle_s:g} s", kind="timeout")

    def _arm(self) -> None:
        self._timer = self._loop.call_later(max(0.0, self.remaining_s()), self._fire)

    def _fire(self) -> None:
        if self.remaining_s() > 0:
            self._arm()
            return
        self.error = self.expired()
        if self._response is not None:
            self._response.close()


class Exchange:
    """One attempt at a call. `next` gives pieces as they come; `close` stops the server."""

    def __init__(self, http: Http, watch: Watch, reader: ReplyReader) -> None:
        self._http = http
        self._watch = watch
        self.reader = reader
        self._parser = EventParser()
        self._response: aiohttp.ClientResponse | None = None
        self._is_over = False
        self._is_sniffed = False
        self._failure: EngineError | None = None
        self._url = ""

    async def send(self, plan: Plan) -> None:
        """Send the request and wait for the response to begin. Raises `EngineError`."""
        base = self._http.server_url + plan.base if plan.base else self._http.api_url
        self._url = base + plan.path
        self._response = await self._http.post(self._url, plan.body)
        self._watch.guard(self._response)

    async def next(self) -> list[Streamed]:
        """The next pieces, or the `End`; an empty list after it.

        Raises `EngineError`, after all that had come before the failure has been given.
        """
        if self._failure is not None:
            raise self._failure
        out: list[Streamed] = []
        try:
            while not out and not self._is_over:
                data = await self._read()
                if not self._is_sniffed:
                    data = await self._sniff(data)
                if data:
                    self._hear(self._parser.feed(data), out)
                else:
                    self._hear(self._parser.finish(), out)
                    self._finish(out)
        except EngineError as error:
            error.args = (self._http.redact(str(error)),)
            if not out:
                raise
            self._failure = error
        if self._is_over:
            await self._drain()
        return out

    async def _sniff(self, data: bytes) -> bytes:
        """Look at the first bytes: some servers answer 200 with a web page, or with one JSON document."""
        self._is_sniffed = True
        first = data.lstrip()[:1]
        if first == b"<":
            raise self._http.not_the_api(data, self._url)
        if first != b"{":
            return data
        document = bytearray(data)
        while data := await self._read():
            document += data
            if len(document) > MAX_EVENT_BYTES:
                raise EngineError("the server sent one document of more than 4 MiB")
        return b"data: " + b" ".join(document.splitlines()) + b"\n\n"

    async def _drain(self) -> None:
        """After the `End`: read what is left, so that the connection goes back into the pool."""
        response = self._response
        if response is None or response.closed or response.content.at_eof():
            return
        try:
            async with asyncio.timeout(DRAIN_S):
                await response.content.read()
        except (TimeoutError, aiohttp.ClientError):
            return

    def close(self) -> None:
        """Stop the server: breaks the connection unless the response was read to its end."""
        self._watch.stop()
        if self._response is not None:
            self._response.close()

    async def _read(self) -> bytes:
        assert self._response is not None
        try:
            data = await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            if self.reader.finish_reason is not None:
                return b""
            raise self._watch.error or self._http.translate(error) from None
        if self._watch.error is not None and self.reader.finish_reason is None:
            raise self._watch.error
        return self._http.clean(data)

    def _hear(self, payloads: list[bytes], out: list[Streamed]) -> None:
        has_finished, is_news = self.reader.finish_reason is not None, False
        for payload in payloads:
            if self._is_over:
                return
            if payload == DONE:
                self._finish(out, is_done=True)
                continue
            is_news |= self.reader.read(decode_chunk(payload), out)
            if self.reader.overran:
                self._leave(out)
        if has_finished or self._is_over:
            return
        if self.reader.finish_reason is not None:
            self._watch.finishing()
        elif is_news:
            self._watch.heard()

    def _leave(self, out: list[Streamed]) -> None:
        """Stop a server that does not stop by itself."""
        self.reader.cut()
        self.close()
        self._finish(out)

    def _finish(self, out: list[Streamed], *, is_done: bool = False) -> None:
        if self._is_over:
            return
        if not is_done and self.reader.finish_reason is None:
            raise RetryLater(f"{self._http.server_url} ended the stream in the middle of the reply", kind="cut")
        self.reader.end(out)
        self._is_over = True
