"""When to try a call again, and how long to wait: exponential backoff with jitter, the server's own wish first."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from taut.errors import EngineError

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
RETRIED_KINDS = frozenset({"unreachable", "overloaded", "cut"})


class RetryLater(EngineError):
    """A failure that may pass; ``retry_after_s`` is what the server asked for, ``None`` when it did not say."""

    def __init__(
        self, message: str, *, kind: str, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, kind=kind, status=status)
        self.retry_after_s = retry_after_s


def retry_after_s(headers: Mapping[str, str], now_s: float | None = None) -> float | None:
    """Seconds asked for by ``retry-after-ms`` or ``Retry-After`` (seconds or an HTTP date); ``None`` without one."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("Retry-After", "")
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, date.timestamp() - (time.time() if now_s is None else now_s))


def delay_s(attempt: int, error: EngineError) -> float:
    """Seconds to wait after failed attempt number ``attempt`` (from 0): the server's wish, or 0.5, 1, 2 … ± jitter."""
    asked = error.retry_after_s if isinstance(error, RetryLater) else None
    if asked is not None:
        return asked
    longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0**attempt)
    # Jitter keeps clients that failed together from coming back together.
    return longest * random.uniform(0.5, 1.0)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
