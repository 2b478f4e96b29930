"""A client that leaves stops all work upstream at once, streaming or not, wherever its request is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engines.fake_upstream import MODEL, Reply, chat, event, raw, stream_of
from tests.gateway.faulty import ASKED, PATHS, Name, Stand, standing
from tests.gateway.scripts import until

LEFT_WITHIN_S = 0.2
SLACK_S = 0.5
"""For a machine whose few cores do other things too; what is measured is a few milliseconds."""
PATIENT: dict[str, Any] = {"idle_timeout_s": 60.0, "timeout_s": 60.0}
SILENT = Reply(delay_s=3600)
THINKING = Reply([event(chat(reasoning_content=word)) for word in ("Let ", "me ", "see ")], then="hang")
ANSWERING = Reply([event(chat(reasoning_content="Hm. ")), event(chat("It ")), event(chat("is "))], then="hang")
WAYS: list[tuple[Name, str]] = [
    ("chat", MODEL),
    ("completions", MODEL),
    ("chat", "direct"),
    ("completions", "direct"),
    ("responses", "direct"),
    ("messages", "direct"),
]
BOTH_FORMS = (True, False)


@dataclass(slots=True)
class Client:
    """A request on a connection of its own, that can be dropped."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def wait_for(self, text: bytes) -> None:
        """Read until ``text`` has come."""
        seen = b""
        async with asyncio.timeout(10):
            while text not in seen:
                data = await self.reader.read(65536)
                assert data, seen
                seen += data

    def leave(self) -> float:
        """Drop the connection; the time on the event loop's clock."""
        self.writer.transport.abort()
        return asyncio.get_running_loop().time()


@asynccontextmanager
async def asking(stand: Stand, protocol: Name, model: str, *, stream: bool, **fields: Any) -> AsyncIterator[Client]:
    body = json.dumps({"model": model, "stream": stream, **ASKED[protocol], **fields}).encode()
    host, _, port = stand.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {PATHS[protocol]} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def leaves(stand: Stand, client: Client, calls: int = 1) -> float:
    """The client leaves; seconds until the last of so many calls upstream was dropped."""
    before = len(stand.server.left_at_s)
    began_s = client.leave()
    await until(lambda: len(stand.server.left_at_s) == before + calls)
    took_s = stand.server.left_at_s[-1] - began_s
    assert took_s < LEFT_WITHIN_S + SLACK_S
    await stand.check_quiet()
    return took_s


def traced(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "traces.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stream", BOTH_FORMS)
@pytest.mark.parametrize(("protocol", "model"), WAYS)
async def test_a_client_that_leaves_before_any_header_stops_the_call(
    protocol: Name, model: str, stream: bool, tmp_path: Path
) -> None:
    async with (
        standing(SILENT, engine=PATIENT, traces=tmp_path) as stand,
        asking(stand, protocol, model, stream=stream) as client,
    ):
        await until(lambda: stand.server.running == 1)
        await leaves(stand, client)
    assert [trace["finish"] for trace in traced(tmp_path)] == ["cancelled"]


@pytest.mark.parametrize("reply", [THINKING, ANSWERING], ids=["thinking", "answering"])
@pytest.mark.parametrize(("protocol", "model"), WAYS)
async def test_a_client_that_leaves_in_the_middle_of_a_stream_stops_the_call(
    protocol: Name, model: str, reply: Reply, tmp_path: Path
) -> None:
    last = b"see " if reply is THINKING else b"is "
    async with (
        standing(reply, engine=PATIENT, traces=tmp_path, upstream_idle_s=60) as stand,
        asking(stand, protocol, model, stream=True) as client,
    ):
        await client.wait_for(last)
        await leaves(stand, client)
    (trace,) = traced(tmp_path)
    assert trace["finish"] == "cancelled"
    assert [call["finish"] for call in trace["calls"]] == ["cancelled"]
    # 12 characters of thinking, or 5 of it and 6 of the answer, at four a token.
    assert trace["calls"][0]["usage"]["completion"]["tokens"] >= 3
    assert trace["calls"][0]["usage"]["completion"]["source"] == "estimated"


@pytest.mark.parametrize("protocol", ["chat", "completions", "responses", "messages"])
async def test_a_client_that_leaves_a_reply_that_is_not_streamed_stops_the_call(protocol: Name, tmp_path: Path) -> None:
    async with (
        standing(ANSWERING, engine=PATIENT, traces=tmp_path) as stand,
        asking(stand, protocol, "direct", stream=False) as client,
    ):
        await until(lambda: stand.server.running == 1)
        await asyncio.sleep(0.1)
        await leaves(stand, client)
    (trace,) = traced(tmp_path)
    assert trace["finish"] == "cancelled"
    assert trace["calls"][0]["usage"]["completion"]["tokens"] >= 3


@pytest.mark.parametrize("stream", BOTH_FORMS)
async def test_a_client_that_leaves_during_the_second_call_stops_it(stream: bool, tmp_path: Path) -> None:
    second = Reply([event(raw("It ")), event(raw("is "))], then="hang")
    engine = {**PATIENT, "dialect": "qwen3"}
    async with (
        standing(
            Reply(stream_of(["<think>", "so ", "so ", "so "], kind="vllm", finish="length")),
            second,
            kind="vllm",
            engine=engine,
            traces=tmp_path,
        ) as stand,
        asking(stand, "chat", "direct", stream=stream, thinking_token_budget=4) as client,
    ):
        await until(lambda: len(stand.server.calls) == 2 and stand.server.running == 1)
        await asyncio.sleep(0.1)
        await leaves(stand, client)
    (trace,) = traced(tmp_path)
    assert trace["finish"] == "cancelled"
    assert [call["finish"] for call in trace["calls"]] == ["length", "cancelled"]
    assert trace["calls"][1]["usage"]["completion"]["tokens"] > 0


@pytest.mark.parametrize("stream", BOTH_FORMS)
async def test_all_candidates_are_stopped(stream: bool, tmp_path: Path) -> None:
    async with (
        standing(ANSWERING, engine=PATIENT, traces=tmp_path) as stand,
        asking(stand, "chat", "direct", stream=stream, n=4) as client,
    ):
        await until(lambda: stand.server.running == 4)
        await leaves(stand, client, calls=4)
    assert [trace["finish"] for trace in traced(tmp_path)] == ["cancelled"] * 4


async def test_a_request_that_was_left_gets_no_shadow() -> None:
    async with standing(ANSWERING, engine=PATIENT, shadow=1.0) as stand:
        async with asking(stand, "chat", "concise", stream=True) as client:
            await client.wait_for(b"is ")
            await leaves(stand, client)
        await asyncio.sleep(0.1)
        assert len(stand.server.calls) == 1


async def test_the_shadow_of_an_answered_request_goes_on_when_its_client_leaves_and_ends_with_the_gateway() -> None:
    good = Reply(stream_of(["It ", "is ", "3."]))
    async with standing(good, ANSWERING, engine=PATIENT, shadow=1.0) as stand:
        async with asking(stand, "chat", "concise", stream=True) as client:
            await client.wait_for(b"[DONE]")
            await until(lambda: len(stand.server.calls) == 2)
            client.leave()
        await asyncio.sleep(0.2)
        assert (stand.server.running, stand.server.left) == (1, 0)
        assert stand.one.books.shadow is not None
        await stand.one.books.shadow.close()
        await until(lambda: stand.server.left == 1)


async def test_many_clients_that_leave_at_once_leave_nothing() -> None:
    async with standing(ANSWERING, engine=PATIENT, upstream_idle_s=60, upstream_timeout_s=60) as stand:
        for _ in range(3):
            clients = [asking(stand, *WAYS[number % len(WAYS)], stream=number % 2 == 0) for number in range(60)]
            opened = [await client.__aenter__() for client in clients]
            await until(lambda: stand.server.running == 60, limit_s=30)
            for one in opened:
                one.leave()
            await until(lambda: stand.server.running == 0, limit_s=30)
            await stand.check_quiet()
            for client in clients:
                await client.__aexit__(None, None, None)


async def test_the_work_of_a_client_that_left_before_its_request_was_whole_never_begins() -> None:
    async with standing(ANSWERING, engine=PATIENT) as stand:
        host, _, port = stand.url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n"
        writer.write(head.encode() + b'{"model": "direct", ')
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await stand.check_quiet()
        assert stand.server.calls == []
