"""The register of requests under way, and of the last ones that ended: what the live page shows.

Memory is bounded: `HISTORY` requests that are over are known, and their texts are kept only if the operator lets
texts be stored. Nothing is turned into JSON until somebody looks (`UnderWay.snapshot`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from taut.gateway.entry import Ending, Entry
from taut.gateway.last_minute import LastMinute

HISTORY = 200
"""Requests that are over and still known."""
HISTORY_CHARS = 1000
"""Of the thinking and of the answer of a request that is over, each, where texts may be stored."""
TEXTS_SHOWN = 40
"""Running requests whose texts are in a snapshot, the oldest first; a page with more cannot be read."""

Snapshot = dict[str, Any]
"""JSON-able; see `UnderWay.snapshot`."""


@dataclass(slots=True)
class Total:
    """What the requests of one preset have come to since the start."""

    requests: int = 0
    errors: int = 0
    estimated: int = 0
    """Requests some of whose tokens are estimated."""
    tokens: dict[str, int] = field(default_factory=dict)
    """By role."""

    def join(self, part: Mapping[str, Any]) -> None:
        """Add another total, as `show` wrote it."""
        self.requests += part["requests"]
        self.errors += part["errors"]
        self.estimated += part["estimated"]
        for role, count in part["tokens"].items():
            self.tokens[role] = self.tokens.get(role, 0) + count

    def show(self) -> Snapshot:
        """JSON-able."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "estimated": self.estimated,
            "tokens": dict(self.tokens),
        }


class UnderWay:
    """The register of one worker process."""

    def __init__(
        self,
        *,
        store_texts: bool = False,
        savings_state: Callable[[], Mapping[str, Any]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store_texts = store_texts
        self._savings_state = savings_state
        # The monotonic clock is one for all processes of a machine, so snapshots of several workers can be merged.
        self._clock = clock
        self._began_s = clock()
        self._entries: dict[str, Entry] = {}
        self._history: deque[Snapshot] = deque(maxlen=HISTORY)
        self._totals: dict[str, Total] = {}
        self._tokens, self._ended = LastMinute(), LastMinute()

    def __len__(self) -> int:
        """Requests under way."""
        return len(self._entries)

    def enter(
        self,
        request_id: str,
        *,
        preset: str,
        engine: str,
        protocol: str,
        key_name: str = "",
        can_answer_now: bool = False,
        answer_now: Callable[[], None] = lambda: None,
    ) -> Entry:
        """A request begins. ``preset`` and ``engine`` are configured names, never a client's text."""
        now_s = self._clock()
        entry = Entry(request_id, preset, engine, protocol, key_name, can_answer_now, now_s, self._remove, answer_now)
        self._entries[request_id] = entry
        return entry

    def _remove(self, entry: Entry, ending: Ending) -> None:
        """Move an entry to the history; see `Entry.leave`."""
        if self._entries.get(entry.id) is not entry:
            return
        del self._entries[entry.id]
        now_s = self._clock()
        counted, estimated = entry.tokens()
        tokens = counted if ending.tokens is None else dict(ending.tokens)
        estimated = estimated if ending.tokens is None else ending.estimated
        failed = ending.error is not None or ending.finish == "error"
        total = self._totals.setdefault(entry.preset, Total())
        total.join({"requests": 1, "errors": int(failed), "estimated": int(estimated), "tokens": tokens})
        self._tokens.add(entry.entered_s, now_s, sum(tokens.values()))
        self._ended.add(now_s, now_s, 1)
        self._history.append(
            {
                **entry.who(),
                "changed_s": now_s,
                "ended_s": now_s,
                "seconds": round(now_s - entry.entered_s, 2),
                "asked": entry.asked,
                "finish": ending.finish,
                "tokens": tokens,
                "estimated": estimated,
                "decision": ending.decision,
                "error": ending.error,
                "unmodified_tokens": None,
                "agree": None,
                **(entry.texts(HISTORY_CHARS) if self._store_texts else {}),
            }
        )

    def compared(self, request_id: str, unmodified_tokens: int, agree: bool | None) -> None:
        """The unmodified form of a request that is over cost so much; ``agree`` is ``None`` if nobody can tell."""
        for item in reversed(self._history):
            if item["id"] == request_id:
                item.update(unmodified_tokens=unmodified_tokens, agree=agree, changed_s=self._clock())
                return

    def answer_now(self, request_id: str, owner: str | None = None) -> bool:
        """Ask a running request for its answer; ``False`` if it is not here or cannot be asked.

        With an ``owner`` only a request that was sent with that key.
        """
        entry = self._entries.get(request_id)
        is_theirs = entry is not None and owner in (None, entry.key_name)
        return is_theirs and entry is not None and entry.ask()

    def snapshot(self) -> Snapshot:
        """All that the page shows of this worker, JSON-able; times in seconds on the machine's monotonic clock."""
        now_s = self._clock()
        running = sorted(self._entries.values(), key=lambda entry: entry.entered_s)
        shown = [entry.show(now_s, index < TEXTS_SHOWN) for index, entry in enumerate(running)]
        window_s = min(LastMinute.SECONDS, max(1.0, now_s - self._began_s))
        streaming = sum(
            sum(item["tokens"].values()) * LastMinute.share(now_s - item["seconds"], now_s) for item in shown
        )
        return {
            "now_s": now_s,
            "up_s": round(now_s - self._began_s, 1),
            "workers": 1,
            "running": shown,
            "recent": [dict(item) for item in self._history],
            "totals": {preset: total.show() for preset, total in self._totals.items()},
            "tokens_per_s": round((self._tokens.total(now_s) + streaming) / window_s, 2),
            "requests_per_s": round(self._ended.total(now_s) / window_s, 4),
            "savings": [dict(self._savings_state())] if self._savings_state else [],
        }


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot out of those of several workers. Raises `ValueError` if there are none."""
    found = list(snapshots)
    if not found:
        raise ValueError("there is no snapshot to merge")
    totals: dict[str, Total] = {}
    for snapshot in found:
        for preset, part in snapshot["totals"].items():
            totals.setdefault(preset, Total()).join(part)
    running = sorted((item for s in found for item in s["running"]), key=lambda item: -float(item["seconds"]))
    recent = sorted((item for s in found for item in s["recent"]), key=lambda item: float(item["ended_s"]))
    return {
        "now_s": max(s["now_s"] for s in found),
        "up_s": max(s["up_s"] for s in found),
        "workers": sum(s["workers"] for s in found),
        "running": running,
        "recent": recent[-HISTORY:],
        "totals": {preset: total.show() for preset, total in totals.items()},
        "tokens_per_s": round(sum(s["tokens_per_s"] for s in found), 2),
        "requests_per_s": round(sum(s["requests_per_s"] for s in found), 4),
        "savings": [state for s in found for state in s["savings"]],
    }
