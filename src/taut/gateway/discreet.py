"""What libraries have to say about connections, without a client's words: those may be keys. And seldom."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from aiohttp import ClientError, http_exceptions, web_protocol

NOT_HTTP = (http_exceptions.HttpProcessingError, web_protocol.RequestPayloadError, ClientError, ConnectionError)
"""A client's fault, which it has been told; anybody could fill the log with it."""
EVERY_S = 5.0
"""The same sentence is said no more often."""
NO_FILES = "socket.accept() out of system resource"
"""asyncio's words."""


class Seldom:
    """Says sentences on stderr, each no more often than every `EVERY_S`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said_s: dict[str, float] = {}

    def say(self, sentence: str) -> None:
        """Say it, unless it was said just now."""
        now_s = self._clock()
        self._said_s = {said: at_s for said, at_s in self._said_s.items() if now_s < at_s + EVERY_S}
        if sentence not in self._said_s:
            self._said_s[sentence] = now_s
            sys.stderr.write(f"taut: {sentence}\n")


class Discreet(logging.Filter):
    """Lets no record through, so that no handler ever sees one; says the kind and the place of a fault by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom()

    def filter(self, record: logging.LogRecord) -> bool:
        """One line on stderr, or nothing where it was the client's fault."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, NOT_HTTP):
            self._seldom.say(f"fault between requests: {type(error).__name__} at {_place(error)}")
        return False


def discreet_logger() -> logging.Logger:
    """For `aiohttp.web.AppRunner`; its own logger writes tracebacks with headers in them."""
    logger = logging.getLogger("taut.http")
    logger.filters = [Discreet()]
    return logger


def discreet_loop() -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """For ``loop.set_exception_handler``: asyncio's own writes a traceback, and one for each waiting connection."""
    seldom = Seldom()

    def hear(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        seldom.say(_sentence(context))

    return hear


def _sentence(context: dict[str, Any]) -> str:
    error, message = context.get("exception"), str(context.get("message", ""))
    if message == NO_FILES:
        return "no more files can be opened, so new connections have to wait: raise the limit (ulimit -n)"
    if isinstance(error, BaseException):
        return f"fault in the event loop: {type(error).__name__} at {_place(error)}"
    # Where there is no exception the words are the library's own, up to what it quotes.
    return f"fault in the event loop: {message.partition('<')[0][:80].strip()}"


def _place(error: BaseException) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{place[0].filename.rpartition('/')[2]}:{place[0].lineno}" if place else "an unknown place"
