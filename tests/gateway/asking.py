"""Plain requests to a gateway, byte by byte, and what comes back."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.gateway.scripts import QUESTION

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
BODIES: Mapping[str, Mapping[str, Any]] = {
    CHAT: {"messages": QUESTION},
    COMPLETIONS: {"prompt": "What is 1 + 2?"},
    MESSAGES: {"messages": QUESTION, "max_tokens": 1000},
    RESPONSES: {"input": "What is 1 + 2?"},
}
"""The same question in every protocol."""


@dataclass(frozen=True, slots=True)
class Got:
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def body(self) -> Any:
        """Of a reply that is not streamed."""
        return json.loads(self.data)

    @property
    def events(self) -> list[Any]:
        """Of a stream: every document in it, without comments and the end mark."""
        lines = [line[6:] for line in self.data.split(b"\n") if line.startswith(b"data: ")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]

    @property
    def receipt(self) -> Any:
        """The ``taut`` object, streamed or not."""
        found = [self.body] if self.headers["Content-Type"].startswith("application/json") else self.events
        return next(item["taut"] for item in reversed(found) if item.get("taut"))

    @property
    def budget(self) -> Any:
        """The receipt's part about the budget."""
        return self.receipt["budget"]

    @property
    def problem(self) -> Any:
        """The ``error`` object, streamed or not."""
        if self.headers["Content-Type"].startswith("application/json"):
            return self.body["error"]
        return next(item["error"] for item in self.events if "error" in item)

    def text(self, name: str = "content", index: int = 0) -> str:
        """What one chat candidate said under a name, streamed or not."""
        documents = [self.body] if self.headers["Content-Type"].startswith("application/json") else self.events
        choices = [choice for item in documents for choice in item.get("choices") or () if choice["index"] == index]
        parts = [choice.get("delta") or choice.get("message") or {} for choice in choices]
        return "".join(part.get(name) or "" for part in parts)


async def ask(
    url: str, path: str = CHAT, *, data: bytes | None = None, headers: Mapping[str, str] | None = None, **fields: Any
) -> Got:
    """POST the question in the protocol of ``path``, with further ``fields``; or these very bytes."""
    document = {"model": "fake-thinker", **BODIES.get(path, {}), **fields}
    body = json.dumps(document).encode() if data is None else data
    told = {"Content-Type": "application/json", **(headers or {})}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
        session.post(url + path, data=io.BytesIO(body), headers=told) as response,
    ):
        return Got(response.status, response.headers, await response.read())


async def look(url: str, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Got:
    """GET, or another method without a body."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
        session.request(method, url + path, headers=headers or {}) as response,
    ):
        return Got(response.status, response.headers, await response.read())
