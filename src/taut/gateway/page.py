"""The live page: ``GET /`` the page, ``GET /live`` what it shows, ``POST /live/answer_now/{id}`` its button.

It shows what others ask: the app lets in only who may see that, before anything here is reached. The button needs a
header of its own, which no form and no link of another site can send.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import resources
from typing import Any, Literal

import msgspec
from aiohttp import hdrs, web

from taut.gateway.savings import Line
from taut.gateway.siblings import Siblings
from taut.gateway.under_way import Snapshot

INTERVAL_S = 0.5
"""Between two looks of one viewer."""
FRESH_S = 0.4
"""A snapshot younger than this serves further viewers too."""
SLOW_VIEWER_S = 10.0
"""A viewer that takes nothing for so long is left; its browser comes back by itself."""
VIEWERS = 64
PAGE_HEADER, PAGE_HEADER_VALUE = "x-taut-page", "1"

Measures = Literal["", "shadow", "baseline", "shadow and baseline"]
"""What savings are measured against: nothing, the unmodified requests that also run, a recorded run, or both."""
ReportSavings = Callable[[Sequence[Mapping[str, Any]]], Sequence[Line]]
"""`taut.gateway.savings.report_of`, told the baseline."""


class Page:
    """The page's routes, and what its viewers have seen."""

    def __init__(
        self,
        siblings: Siblings,
        *,
        measures: Measures = "",
        report_savings: ReportSavings = lambda states: (),
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._siblings = siblings
        self._measures = measures
        self._report_savings = report_savings
        self._interval_s = interval_s
        self._fresh_s = min(FRESH_S, 0.8 * interval_s)
        self._closing = asyncio.Event()
        self.viewers = 0
        """Browsers that look."""
        self._looking = asyncio.Lock()
        self._seen: Snapshot = {}
        self._seen_s = float("-inf")

    def add_to(self, app: web.Application) -> None:
        """Add the routes, and end the streams when the app shuts down."""
        app.router.add_get("/", self.page)
        app.router.add_get("/live", self.live)
        app.router.add_post("/live/answer_now/{id}", self.answer_now)
        app.on_shutdown.append(self._close)

    async def page(self, request: web.Request) -> web.Response:
        """The page itself."""
        text, headers = page_file()
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def live(self, request: web.Request) -> web.StreamResponse:
        """A stream of what has changed, for a browser's EventSource; one whole snapshot for anybody else."""
        if "text/event-stream" not in request.headers.get(hdrs.ACCEPT, ""):
            return web.json_response(await self.look(), dumps=_text, headers={hdrs.CACHE_CONTROL: "no-store"})
        if self.viewers >= VIEWERS:
            return web.Response(status=503, text=f"{VIEWERS} viewers are looking already; close one of them\n")
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: "text/event-stream",
                hdrs.CACHE_CONTROL: "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        await response.prepare(request)
        self.viewers += 1
        try:
            # A viewer who leaves is seen when the next message cannot be written.
            with suppress(ConnectionError, TimeoutError):
                await self._show(response)
        finally:
            self.viewers -= 1
        return response

    async def answer_now(self, request: web.Request) -> web.Response:
        """Ask a running request for its answer."""
        if request.headers.get(PAGE_HEADER) != PAGE_HEADER_VALUE:
            return web.Response(status=403, text=f"this needs the header {PAGE_HEADER}: {PAGE_HEADER_VALUE}\n")
        if await self._siblings.answer_now(request.match_info["id"]):
            return web.json_response({"asked": True})
        return web.json_response(
            {"asked": False, "why": "it is over, or its preset cannot end its thinking early"}, status=409
        )

    async def look(self) -> Snapshot:
        """A snapshot of all workers with the savings worked out, at most `FRESH_S` old."""
        async with self._looking:
            if time.monotonic() - self._seen_s > self._fresh_s:
                snapshot = await self._siblings.snapshot()
                lines = self._report_savings(snapshot["savings"])
                saved = saved_in_all(lines)
                self._seen = {**snapshot, "measures": self._measures, "savings": lines, "saved": saved}
                self._seen_s = time.monotonic()
            return self._seen

    async def _show(self, response: web.StreamResponse) -> None:
        changes = Changes()
        while not self._closing.is_set():
            message = changes.since_last(await self.look())
            async with asyncio.timeout(SLOW_VIEWER_S):
                await response.write(b"data: " + msgspec.json.encode(message) + b"\n\n")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._interval_s)

    async def _close(self, app: web.Application) -> None:
        self._closing.set()


class Changes:
    """What one viewer has not seen yet: new parts of the texts, and requests that ended or were compared since."""

    def __init__(self) -> None:
        self._first = True
        self._recent: dict[str, float] = {}
        self._chars: dict[tuple[str, str], int] = {}

    def since_last(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with texts cut to their new parts, ``recent`` to its news, and ``first`` for the first one."""
        first, self._first = self._first, False
        known, self._chars = self._chars, {}
        running = [self._cut(item, known) for item in snapshot["running"]]
        recent = [item for item in snapshot["recent"] if item["changed_s"] != self._recent.get(item["id"])]
        self._recent = {item["id"]: item["changed_s"] for item in snapshot["recent"]}
        return {**snapshot, "first": first, "running": running, "recent": recent}

    def _cut(self, item: Snapshot, known: Mapping[tuple[str, str], int]) -> Snapshot:
        cut = dict(item)
        for kind in ("thinking", "answer"):
            if kind in item:
                text, chars = item[kind]["text"], item[kind]["chars"]
                new = chars - known.get((item["id"], kind), 0)
                self._chars[item["id"], kind] = chars
                cut[kind] = {"text": text[-new:] if new else "", "chars": chars}
        return cut


def saved_in_all(lines: Sequence[Line]) -> list[Snapshot]:
    """What all presets together have saved, one line for each thing they were compared with, never mixed.

    The interval is made of the presets' own bounds, so it is wider than 95 % would need. Presets with too few
    requests for an interval are left out while others have one.
    """
    kinds = ("shadow", "baseline")
    found = [[line for line in lines if line["against"] == against and line["n"]] for against in kinds]
    return [_together(group) for group in found if group]


def _together(lines: Sequence[Line]) -> Snapshot:
    bounded = [line for line in lines if line["saved"]["low"] is not None and line["saved"]["high"] is not None]
    counted = bounded or lines
    whole = sum(line["n"] * line["unmodified_mean"] for line in counted)

    def mean(bound: Literal["value", "low", "high"]) -> float | None:
        if bound != "value" and not bounded:
            return None
        return sum(line["n"] * line["unmodified_mean"] * (line["saved"][bound] or 0.0) for line in counted) / whole

    return {
        "against": counted[0]["against"],
        "meaning": counted[0]["meaning"],
        "n": sum(line["n"] for line in counted),
        "tokens_saved": sum(line["tokens_saved"] for line in counted),
        "saved": {"value": mean("value"), "low": mean("low"), "high": mean("high")},
    }


@cache
def page_file() -> tuple[str, dict[str, str]]:
    """The page's text and its headers; only the script and the style that it carries may run, by their hashes."""
    text = resources.files("taut.gateway").joinpath("page.html").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_hashes('script', text)}; style-src {_hashes('style', text)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        hdrs.CACHE_CONTROL: "no-store",
    }


def _hashes(tag: str, text: str) -> str:
    bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
