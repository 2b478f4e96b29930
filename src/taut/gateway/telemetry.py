"""``/metrics`` for Prometheus, through prometheus-client (the extra ``serve``); without it everything else works.

Labels come from the configuration and from the lists below, never from a client, so their number is bounded. Several
workers share their numbers through files in a folder, which is the library's own way: the parent calls
`prepare_workers` before any worker starts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from taut.core import Trace
from taut.errors import UsageError
from taut.gateway.nouns import Grant, Problem, ProtocolName
from taut.gateway.savings import Line
from taut.gateway.shadow import Shadowed

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
OTHER = "other"
"""The label of a name that is not on its list."""
FAILURES = ("unreachable", "refused", "overloaded", "garbled", "cut", "timeout", "empty", "method")
REASONS = (
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "rate_limit_error",
    "overloaded_error",
    "upstream_error",
    "timeout_error",
    "server_error",
)

MISSING = "/metrics needs the package prometheus-client, which is missing: pip install 'taut[serve]'"


@dataclass(frozen=True, slots=True)
class Way:
    """Which way a request goes; its labels."""

    preset: str
    """A configured name; the engine's own model has a preset of its own."""
    engine: str
    """As in ``[engines.x]``."""
    protocol: ProtocolName


class Telemetry(Protocol):
    """What the gateway tells, once per request and nothing per token. Every ``began`` is followed by one ``ended``."""

    def began(self, way: Way) -> None:
        """A request was let in."""
        ...

    def first_token(self, way: Way, seconds: float) -> None:
        """The first piece left ``seconds`` after the request had come."""
        ...

    def ended(self, way: Way, traces: Sequence[Trace], grant: Grant, seconds: float) -> None:
        """A request is over, well or not; ``traces`` are those of its candidates, as far as they came."""
        ...

    def refused(self, code: str) -> None:
        """A request was not let in: `Problem.code`."""
        ...

    def upstream_failed(self, engine: str, kind: str) -> None:
        """A call to an engine failed and no trace tells of it, such as a health check: `EngineError.kind`."""
        ...

    def shadowed(self, shadowed: Shadowed) -> None:
        """An unmodified run is over, or was dropped."""
        ...

    def trace_write_failed(self, count: int) -> None:
        """Writes of traces failed and are tried again."""
        ...

    def traces_lost(self, count: int) -> None:
        """Traces were given up."""
        ...

    def page(self, accept: str, savings: Sequence[Line]) -> tuple[bytes, str]:
        """The body of ``/metrics`` and its content type. Raises `Problem` 501 where the package is missing."""
        ...


def open_telemetry(presets: Collection[str], engines: Collection[str]) -> Telemetry:
    """Telemetry that knows these names, all others being `OTHER`; the silent one where the package is missing."""
    from taut.gateway.prometheus import Prometheus

    try:
        return Prometheus(presets, engines)
    except ImportError:
        return Silent()


def prepare_workers(folder: Path) -> None:
    """Let workers share their numbers in ``folder``, which is emptied. Call it before the library is imported.

    Raises `UsageError` if the folder cannot be made.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder} for metrics: {error.strerror or error}") from None
    os.environ[FOLDER_VARIABLE] = str(folder)


def worker_died(pid: int) -> None:
    """Take a worker's share out of the gauges: what was under way in it is not any more."""
    if FOLDER_VARIABLE in os.environ:
        # The library does no more, and the parent of the workers has no other use for it.
        for path in Path(os.environ[FOLDER_VARIABLE]).glob(f"gauge_live*_{pid}.db"):
            path.unlink(missing_ok=True)


class Silent:
    """Telemetry that nobody listens to."""

    def began(self, way: Way) -> None:
        """Nothing."""

    def first_token(self, way: Way, seconds: float) -> None:
        """Nothing."""

    def ended(self, way: Way, traces: Sequence[Trace], grant: Grant, seconds: float) -> None:
        """Nothing."""

    def refused(self, code: str) -> None:
        """Nothing."""

    def upstream_failed(self, engine: str, kind: str) -> None:
        """Nothing."""

    def shadowed(self, shadowed: Shadowed) -> None:
        """Nothing."""

    def trace_write_failed(self, count: int) -> None:
        """Nothing."""

    def traces_lost(self, count: int) -> None:
        """Nothing."""

    def page(self, accept: str, savings: Sequence[Line]) -> tuple[bytes, str]:
        """Say what is missing."""
        raise Problem(MISSING, status=501, code="server_error")
