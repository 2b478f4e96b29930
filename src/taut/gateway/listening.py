"""Connections: aiohttp's server, with its own words about a client's bytes replaced, and its patience bounded."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import uuid
from typing import Any

from aiohttp import http_exceptions, web
from aiohttp.web_protocol import RequestHandler

from taut.errors import UsageError
from taut.gateway.discreet import discreet_logger
from taut.gateway.nouns import Problem
from taut.gateway.serving import refuse
from taut.gateway.settings import Settings
from taut.gateway.wire import chat

BACKLOG = 512
"""Connections that may wait to be accepted."""
HEAD_S = 30.0
"""A connection on which no whole head of a request has come for so long is closed."""
NO_HTTP = "the request is no valid HTTP: its first line, a header, or the framing of its body is wrong"
BY_KIND: dict[type[BaseException | None], tuple[int, str]] = {
    http_exceptions.LineTooLong: (431, "the first line of the request, or a header, is longer than 8190 bytes"),
    http_exceptions.ContentEncodingError: (415, "the body's Content-Encoding is not one of gzip, deflate, identity"),
}
BY_STATUS = {
    413: "the request is too large",
    417: "the only value that Expect may have is 100-continue",
    500: "a fault in Taut itself",
    504: "it took too long",
}


class Connection(RequestHandler):
    """What a client sent is in none of the replies: a header that cannot be read may be its key."""

    __slots__ = ("_head_s", "_head_timer", "_requests_before")

    def __init__(self, manager: web.Server, *, head_s: float, **options: Any) -> None:
        super().__init__(manager, **options)
        self._head_s = head_s
        self._head_timer: asyncio.TimerHandle | None = None
        self._requests_before = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A whole head has to come in time."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing is expected any more."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A connection may be idle between requests for long, but not in the middle of a head."""
        super().data_received(data)
        if self._head_timer is None and self._is_waiting():
            self._expect_head()

    def _expect_head(self) -> None:
        self._requests_before = self._request_count
        self._head_timer = self._loop.call_later(self._head_s, self._look)

    def _look(self) -> None:
        self._head_timer = None
        if self._request_count == self._requests_before and self._is_waiting():
            self.force_close()

    def _is_waiting(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The reply to what could not be read, or that went wrong outside the application.

        Raises `ConnectionError` where a reply has begun.
        """
        if exc is not None:
            self.log_exception("a connection failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a reply has begun, so that nothing else can be sent")
        status, sentence = BY_KIND.get(type(exc), (status, BY_STATUS.get(status, NO_HTTP)))
        reply = _fixed(status, sentence)
        reply.force_close()
        return reply

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send it; aiohttp's own refusals, which quote the request, in the form of all others."""
        if isinstance(resp, web.HTTPException) and resp.status >= 400:
            resp = _fixed(resp.status, BY_STATUS.get(resp.status, NO_HTTP))
            resp.force_close()
        return await super().finish_response(request, resp, start_time)


def _fixed(status: int, sentence: str) -> web.Response:
    code = "invalid_request_error" if status < 500 else "server_error"
    reply = refuse(Problem(sentence, status=status, code=code), chat, uuid.uuid4().hex)
    reply.headers["Server"] = "taut"
    return reply


class Door(web.Server):
    """Makes a `Connection` of every connection."""

    def __init__(self, server: web.Server, head_s: float) -> None:
        super().__init__(
            server.request_handler,
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            loop=server._loop,
            **server._kwargs,
        )
        self._head_s = head_s

    def __call__(self) -> RequestHandler:
        """A connection begins."""
        return Connection(self, loop=self._loop, head_s=self._head_s, **self._kwargs)


class Runner(web.AppRunner):
    """`aiohttp.web.AppRunner` behind a `Door`; requests end when their client leaves."""

    __slots__ = ("_head_s",)

    def __init__(self, app: web.Application, *, shutdown_timeout_s: float = 1.0, head_s: float = HEAD_S) -> None:
        super().__init__(
            app,
            access_log=None,
            logger=discreet_logger(),
            handler_cancellation=True,
            shutdown_timeout=shutdown_timeout_s,
        )
        self._head_s = head_s

    async def _make_server(self) -> web.Server:
        return Door(await super()._make_server(), self._head_s)


async def name_server(request: web.Request, response: web.StreamResponse) -> None:
    """For ``on_response_prepare``: which library this is, and how old, is nobody's business."""
    response.headers["Server"] = "taut"


def raise_file_limit() -> None:
    """Let the process open as many files as it may: the usual 1,024 are 500 streams."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems say "unlimited" and refuse it.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cannot_listen(settings: Settings, error: OSError) -> UsageError:
    """What to say where the address could not be had."""
    host, port = settings.host, settings.port
    if error.errno == errno.EADDRINUSE:
        return UsageError(f"port {port} of {host} is in use already: end what listens there, or choose another --port")
    if error.errno == errno.EACCES:
        return UsageError(f"port {port} is for the system's own programs: choose another --port, above 1023")
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return UsageError(f"cannot listen on {host}:{port} ({reason}): give an address of this machine with --host")
