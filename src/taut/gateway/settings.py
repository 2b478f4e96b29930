"""What the operator decides: ``[serve]`` of ``taut.toml`` and the options of ``taut serve``."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from taut.config import convert
from taut.errors import UsageError, nearest

EFFORT: Mapping[str, int] = {
    "minimal": 512,
    "low": 1024,
    "medium": 4096,
    "high": 16384,
    "xhigh": 32768,
    "max": 65536,
}
"""Thinking tokens per effort. There is no standard: every product has a map of its own."""

EFFORT_NAME = re.compile(r"[a-z][a-z0-9_-]*")
LONGEST_S = 86_400.0
"""Of any wait."""
RESERVED = ("none", "auto", "default")
"""Efforts that mean no thinking, or the model's own choice."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all together, may ask for."""

    body_mb: int = 20
    messages: int = 2000
    n: int = 8
    max_tokens: int | None = None
    """Ceiling for ``max_tokens`` of a request; also what is used where a request gives none."""
    max_thinking_tokens: int | None = None
    """Ceiling for any budget; in force where a request asks for none."""
    requests_at_once: int = 512
    """More get 429."""
    deadline_s: float | None = None
    """Of a request; a client may ask for less."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``[serve]``."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    main: str | None = None
    """The engine that presets run on, a name of ``[engines.x]``."""
    presets: tuple[str, ...] = ()
    """Those to offer, besides the ones of ``[presets.x]``; empty: every method that the engine can do."""
    effort: Mapping[str, int] = field(default_factory=lambda: dict(EFFORT))
    unenforceable: Literal["say", "refuse"] = "say"
    """What happens to a budget that nobody can enforce: it is said in the receipt, or the request is refused."""
    limits: Limits = Limits()
    keep_alive_s: float = 10.0
    """Silence after which a stream gets a comment."""
    slow_reader_s: float = 60.0
    """A client that reads nothing for so long is left, and one whose request has not come whole by then."""
    drain_s: float = 30.0
    """How long running requests may go on after a shutdown was asked for."""
    allow_hosts: tuple[str, ...] = ()
    """Further names in ``Host`` that are served without keys; loopback names always are."""
    allow_origins: tuple[str, ...] = ()
    """Web pages of other hosts that may use the gateway from a browser, each as ``https://name`` or ``…:port``."""
    no_keys: bool = False
    """Everybody who can reach the gateway may use it; beyond loopback it needs ``yes_without_keys`` as well."""
    yes_without_keys: bool = False
    keys: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """``[serve.keys.NAME]``; see `taut.gateway.keys`."""
    traces: Path | None = None
    """Folder for ``traces.jsonl``."""
    store_prompts: bool = False
    """Traces and the page's history hold texts."""
    trace_file_mb: int = 64
    traces_total_mb: int = 1024
    shadow: float = 0.0
    """Share of requests whose unmodified form runs too."""
    shadow_at_once: int = 2
    baseline: Path | None = None
    """A run folder of ``taut bench`` whose baseline tells the tokens of an unmodified answer."""
    upstream_timeout_s: float = 600.0
    """Until the first byte of a reply that passes through."""
    upstream_idle_s: float = 120.0
    """Silence after it."""


def read_settings(table: Mapping[str, Any], given: Mapping[str, Any], where: str) -> Settings:
    """``[serve]`` with what was ``given`` on the command line put over it. Limits are keys of ``[serve]`` like others.

    Raises `UsageError` naming the key.
    """
    values, limits = {}, {}
    for key, value in {**table, **given}.items():
        if key in LIMIT_TYPES:
            limits[key] = convert(value, LIMIT_TYPES[key], f"{where}: {key}")
        elif key in TYPES and key != "limits":
            values[key] = convert(value, TYPES[key], f"{where}: {key}")
        else:
            known = sorted({*TYPES, *LIMIT_TYPES} - {"limits"})
            raise UsageError(f"{where}: unknown key {key!r}{nearest(key, known)}; known: {', '.join(known)}")
    if "effort" in values:
        values["effort"] = {**EFFORT, **values["effort"]}
    # As in a URL.
    if "host" in values:
        values["host"] = values["host"].removeprefix("[").removesuffix("]")
    settings = Settings(**values, limits=Limits(**limits))
    _check(settings, where)
    return settings


def _check(settings: Settings, where: str) -> None:
    for item in (settings, settings.limits):
        for entry in dataclasses.fields(item):
            value = getattr(item, entry.name)
            # Ports, shares and thinking budgets may be 0; a limit of 0 would serve nobody.
            least = 0 if entry.name in MAY_BE_ZERO else 1e-9
            if isinstance(value, int | float) and not isinstance(value, bool) and not value >= least:
                raise UsageError(
                    f"{where}: {entry.name} is {value:g}; it must be {'0 or more' if not least else 'above 0'}"
                )
            if entry.name.endswith("_s") and value is not None and not value <= LONGEST_S:
                raise UsageError(f"{where}: {entry.name} is {value:g}; it must be {LONGEST_S:g} seconds at most, a day")
    if settings.shadow > 1:
        raise UsageError(f"{where}: shadow is {settings.shadow:g}; it is a share of the requests, from 0 to 1")
    if settings.port > 65535:
        raise UsageError(f"{where}: port is {settings.port}; ports go up to 65535")
    for name, tokens in settings.effort.items():
        if not EFFORT_NAME.fullmatch(name) or name in RESERVED:
            raise UsageError(
                f"{where}: effort.{name} cannot be asked for: an effort is a word in small letters, and "
                f"{', '.join(RESERVED)} have a meaning already"
            )
        if tokens < 0:
            raise UsageError(f"{where}: effort.{name} is {tokens}; it must be a number of thinking tokens from 0")


TYPES = typing.get_type_hints(Settings)
LIMIT_TYPES = typing.get_type_hints(Limits)
MAY_BE_ZERO = frozenset({"port", "shadow", "max_thinking_tokens", "drain_s", "shadow_at_once"})
