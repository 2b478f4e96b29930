"""What the HTTP library has to say about connections, without a client's words: those may be keys."""

from __future__ import annotations

import logging
import sys
import traceback

from aiohttp import ClientError, http_exceptions, web_protocol

NOT_HTTP = (http_exceptions.HttpProcessingError, web_protocol.RequestPayloadError, ClientError, ConnectionError)
"""A client's fault, which it has been told; anybody could fill the log with it."""


class Discreet(logging.Filter):
    """Lets no record through, so that no handler ever sees one; says the kind and the place of a fault by itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        """One line on stderr, or nothing where it was the client's fault."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, NOT_HTTP):
            place = traceback.extract_tb(error.__traceback__)[-1:]
            where = f"{place[0].filename.rpartition('/')[2]}:{place[0].lineno}" if place else "an unknown place"
            sys.stderr.write(f"taut: fault between requests: {type(error).__name__} at {where}\n")
        return False


def discreet_logger() -> logging.Logger:
    """For `aiohttp.web.AppRunner`; its own logger writes tracebacks with headers in them."""
    logger = logging.getLogger("taut.http")
    logger.filters = [Discreet()]
    return logger
