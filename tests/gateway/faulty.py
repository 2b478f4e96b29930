"""Asking a gateway in every protocol, and reading what came back as strictly as a client would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from taut.engines.openai import OpenAIEngine
from taut.gateway.starting import Gateway
from taut.gateway.wire import chat, completions, messages, responses
from tests.engines.fake_upstream import FakeUpstream, Reply
from tests.engines.fake_upstream import Kind as ServerKind
from tests.gateway.conftest import running
from tests.gateway.standing import settled

Name = Literal["chat", "completions", "responses", "messages"]
PATHS: dict[Name, str] = {
    "chat": chat.PATH,
    "completions": completions.PATH,
    "responses": responses.PATH,
    "messages": messages.PATH,
}
ASK_LIMIT_S = 15.0
"""Nothing hangs: every reply is over by then."""
USER = [{"role": "user", "content": "1 + 2?"}]
ASKED: dict[Name, dict[str, Any]] = {
    "chat": {"messages": USER},
    "completions": {"prompt": "1 + 2?"},
    "responses": {"input": "1 + 2?"},
    "messages": {"messages": USER, "max_tokens": 1000},
}


@dataclass(frozen=True, slots=True)
class Got:
    """A reply, read to its end."""

    status: int
    headers: dict[str, str]
    problem: str
    """The error's sentence; empty for a good reply."""
    text: str = ""
    """The answer."""
    receipt: Any = None


@dataclass(slots=True)
class Stand:
    """An upstream, an engine in front of it, and a gateway in front of that."""

    server: FakeUpstream
    engine: OpenAIEngine
    url: str
    one: Gateway
    http: aiohttp.ClientSession
    tasks_before: int = 0

    async def ask(self, protocol: Name, model: str, *, stream: bool, **fields: Any) -> Got:
        """One request; fails if it takes `ASK_LIMIT_S`."""
        body = {"model": model, "stream": stream, **ASKED[protocol], **fields}
        async with asyncio.timeout(ASK_LIMIT_S), self.http.post(f"{self.url}{PATHS[protocol]}", json=body) as reply:
            data = await reply.read()
            return read(protocol, reply, data)

    async def ask_all(self, ways: Sequence[tuple[Name, str]], *, stream: bool) -> dict[tuple[Name, str], Got]:
        """One request each way, all at once; nothing may be left of them."""
        got = await asyncio.gather(*(self.ask(protocol, model, stream=stream) for protocol, model in ways))
        await self.check_quiet()
        return dict(zip(ways, got, strict=True))

    async def check_quiet(self) -> None:
        """Fail if anything is left of any request, on either side."""
        await settled(self.one, self.tasks_before)
        for _ in range(200):
            if not self.server.running and not self.busy():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{self.server.running} calls upstream go on, {self.busy()} connections are held")

    def busy(self) -> int:
        """Connections to the upstream that are in use."""
        session: Any = self.engine._http._session
        return len(session.connector._acquired)


@asynccontextmanager
async def standing(
    *replies: Reply, kind: ServerKind = "hosted", engine: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Stand]:
    """A gateway over a server that gives these replies; nothing may be left at its end."""
    options: dict[str, Any] = {"max_retries": 0, "idle_timeout_s": 0.4, "timeout_s": 2.0, **(engine or {})}
    waits = {"upstream_idle_s": 0.4, "upstream_timeout_s": 2.0, **settings}
    async with FakeUpstream(replies, kind=kind) as server:
        opened = await OpenAIEngine.open(server.url, **options)
        try:
            async with running(opened, **waits) as (url, one), aiohttp.ClientSession() as http:
                stand = Stand(server, opened, url, one, http)
                stand.tasks_before = tasks_now()
                yield stand
                await stand.check_quiet()
        finally:
            await opened.close()


def tasks_now() -> int:
    """Tasks that are no server's connection."""
    return sum("RequestHandler.start" not in repr(task.get_coro()) for task in asyncio.all_tasks())


def read(protocol: Name, reply: aiohttp.ClientResponse, data: bytes) -> Got:
    """Read a reply; `AssertionError` for one that is not well-formed."""
    headers = {name.lower(): value for name, value in reply.headers.items()}
    if reply.content_type == "text/event-stream":
        assert reply.status == 200
        return _streamed(protocol, headers, data)
    assert reply.content_type == "application/json", (reply.content_type, data[:200])
    body = json.loads(data)
    if reply.status >= 400:
        return Got(reply.status, headers, _whole_problem(protocol, body))
    assert reply.status == 200
    return Got(200, headers, "", _whole_text(protocol, body), body.get("taut"))


def _whole_problem(protocol: Name, body: dict[str, Any]) -> str:
    assert (body.get("type") == "error") == (protocol == "messages"), body
    expected = {"type", "message"} if protocol == "messages" else {"type", "message", "code", "param"}
    assert set(body["error"]) == expected
    return _sentence(body["error"]["message"])


def _whole_text(protocol: Name, body: dict[str, Any]) -> str:
    if protocol == "messages":
        return "".join(block.get("text", "") for block in body["content"])
    if protocol == "responses":
        parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
        return "".join(part["text"] for part in parts)
    if protocol == "completions":
        return str(body["choices"][0]["text"])
    return str(body["choices"][0]["message"]["content"])


def events(data: bytes) -> list[tuple[str, Any]]:
    """(name, document) of every event; ``[DONE]`` as text. The stream has to end with a whole event."""
    assert data.endswith((b"\n\n", b"\r\n\r\n")), data[-100:]
    found: list[tuple[str, Any]] = []
    for block in data.decode().replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        names = [line.removeprefix("event: ") for line in lines if line.startswith("event:")]
        payload = "".join(line.removeprefix("data:").strip() for line in lines if line.startswith("data:"))
        if payload == "[DONE]":
            return [*found, ("", payload)]
        if payload:
            found.append((names[0] if names else "", json.loads(payload)))
    return found


def _streamed(protocol: Name, headers: dict[str, str], data: bytes) -> Got:
    found = events(data)
    if protocol in ("chat", "completions"):
        return _openai_stream(headers, found)
    return _named_stream(protocol, headers, found)


def _openai_stream(headers: dict[str, str], found: list[tuple[str, Any]]) -> Got:
    assert found[-1][1] == "[DONE]", found[-1]
    documents = [document for _, document in found[:-1]]
    texts = []
    for document in documents:
        for choice in document.get("choices", ()):
            texts.append(choice.get("text") or choice.get("delta", {}).get("content") or "")
    errors = [document["error"] for document in documents if "error" in document]
    assert len(errors) <= 1
    last = documents[-1]
    if errors:
        assert "error" in last
        return Got(200, headers, _sentence(errors[0]["message"]), "".join(texts), last.get("taut"))
    assert any(choice.get("finish_reason") for document in documents for choice in document.get("choices", ()))
    return Got(200, headers, "", "".join(texts), last.get("taut"))


def _named_stream(protocol: Name, headers: dict[str, str], found: list[tuple[str, Any]]) -> Got:
    assert all(name == document["type"] for name, document in found)
    name, last = found[-1]
    texts = [_delta(document) for _, document in found]
    if name in ("error", "response.failed"):
        error = last["error"] if protocol == "messages" else last["response"]["error"]
        receipt = last.get("taut") or last.get("response", {}).get("taut")
        return Got(200, headers, _sentence(error["message"]), "".join(texts), receipt)
    assert name in ("message_stop", "response.completed", "response.incomplete"), name
    return Got(200, headers, "", "".join(texts))


def _delta(document: dict[str, Any]) -> str:
    if document["type"] == "response.output_text.delta":
        return str(document["delta"])
    delta = document.get("delta")
    return str(delta.get("text", "")) if isinstance(delta, dict) else ""


def _sentence(text: str) -> str:
    assert text
    assert "\n" not in text
    assert "Traceback" not in text
    return text
