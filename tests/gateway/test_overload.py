"""More than the gateway can take: clients that do not read, a thousand at once, limits; nothing hangs or grows."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator

import aiohttp
import pytest

from taut.engines.fake import FakeEngine, Scripted
from tests.engines.fake_upstream import MODEL, Reply, chat, event, stream_of
from tests.gateway.conftest import running
from tests.gateway.faulty import ASKED, PATHS, Name, read, standing, tasks_now
from tests.gateway.scripts import until
from tests.gateway.standing import settled
from tests.gateway.test_cancel import PATIENT, asking

LINE = event(chat("word " * 2000))
"""10 kB."""
SLOW_S = 0.5
PROTOCOLS: tuple[Name, ...] = ("chat", "completions", "responses", "messages")


@pytest.mark.parametrize("model", [MODEL, "direct"])
async def test_a_client_that_reads_nothing_is_left_after_a_while(model: str) -> None:
    endless = Reply([LINE] * 100_000, pause_s=0.0001)
    async with standing(endless, engine=PATIENT, slow_reader_s=SLOW_S) as stand:
        async with asking(stand, "chat", model, stream=True) as client:
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: stand.server.running == 1)
            await until(lambda: stand.server.running == 0, limit_s=10)
        await stand.check_quiet()


class Gigabyte(list[bytes]):
    """The parts of an endless reply; tells how many bytes were taken."""

    taken = 0

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(100_000):
            self.taken += len(LINE)
            yield LINE


async def test_an_upstream_is_not_read_faster_than_its_client_reads_what_passes_through() -> None:
    parts = Gigabyte()
    async with standing(Reply(parts), engine=PATIENT, slow_reader_s=30) as stand:
        async with asking(stand, "chat", MODEL, stream=True) as client:
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: stand.server.running == 1)
            await asyncio.sleep(0.5)
            first = parts.taken
            await asyncio.sleep(0.5)
            # No more than the buffers of four sockets.
            assert parts.taken == first < 40_000_000
        await until(lambda: stand.server.running == 0)


async def test_a_run_whose_client_does_not_read_is_ended_before_it_fills_the_memory() -> None:
    parts = Gigabyte()
    async with (
        standing(Reply(parts, pause_s=0.0001), engine=PATIENT, slow_reader_s=30) as stand,
        asking(stand, "chat", "direct", stream=True) as client,
    ):
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: stand.server.running == 1)
        await until(lambda: stand.server.running == 0, limit_s=20)
        assert parts.taken < 40_000_000
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        await client.wait_for(b"not read as fast as it came")


async def test_a_slow_reader_that_reads_is_not_left() -> None:
    words = [f"word{number} " * 200 for number in range(200)]
    async with standing(Reply(stream_of(words)), engine=PATIENT, slow_reader_s=0.5) as stand:
        async with asking(stand, "chat", "direct", stream=True) as client:
            seen = b""
            while b"[DONE]" not in seen:
                seen += await client.reader.read(20_000)
                await asyncio.sleep(0.03)
        assert b"word199" in seen


async def ask(http: aiohttp.ClientSession, url: str, number: int) -> tuple[int, dict[str, str]]:
    protocol = PROTOCOLS[number % 4]
    body = {"model": "direct", "stream": number % 8 < 4}
    async with http.post(f"{url}{PATHS[protocol]}", json={**body, **ASKED[protocol]}) as reply:
        got = read(protocol, reply, await reply.read())
    assert bool(got.problem) == (got.status != 200), got
    return got.status, got.headers


async def test_a_thousand_connections_at_once_are_all_answered_or_told_to_come_again() -> None:
    engine = FakeEngine(script=lambda request: Scripted("so " * 5, "3"), token_s=0.05)
    connector = aiohttp.TCPConnector(limit=0)
    async with running(engine, requests_at_once=256) as (url, one), aiohttp.ClientSession(connector=connector) as http:
        before = tasks_now()
        async with asyncio.timeout(60):
            replies = await asyncio.gather(*(ask(http, url, number) for number in range(1000)))
        counts = Counter(status for status, _ in replies)
        assert set(counts) <= {200, 429}
        assert counts[200] >= 256
        for status, headers in replies:
            if status == 429:
                assert int(headers["retry-after"]) >= 1
        await settled(one, before)


async def test_a_thousand_requests_below_the_limit_are_all_answered() -> None:
    connector = aiohttp.TCPConnector(limit=0)
    engine = FakeEngine(script=lambda request: Scripted("so", "3"))
    async with running(engine, requests_at_once=2000) as (url, one), aiohttp.ClientSession(connector=connector) as http:
        before = tasks_now()
        async with asyncio.timeout(60):
            replies = await asyncio.gather(*(ask(http, url, number) for number in range(1000)))
        assert {status for status, _ in replies} == {200}
        await settled(one, before)


async def test_a_full_gateway_still_tells_load_balancers_that_it_serves() -> None:
    hanging = Reply([event(chat("It "))], then="hang")
    async with standing(hanging, engine=PATIENT, requests_at_once=2, upstream_idle_s=60) as stand:
        async with asking(stand, "chat", MODEL, stream=True), asking(stand, "chat", "direct", stream=True):
            await until(lambda: stand.server.running == 2)
            full = await stand.ask("messages", "direct", stream=True)
            assert full.status == 429
            assert int(full.headers["retry-after"]) >= 1
            async with stand.http.get(f"{stand.url}/health") as reply:
                assert reply.status == 200
            async with stand.http.get(f"{stand.url}/v1/models") as reply:
                assert reply.status == 200
        await stand.check_quiet()
        # There is room again.
        async with asking(stand, "chat", MODEL, stream=True):
            await until(lambda: stand.server.running == 1)


@pytest.mark.parametrize("protocol", ["chat", "messages"])
async def test_a_body_beyond_the_limit_is_refused(protocol: Name) -> None:
    async with standing(Reply(stream_of(["a"])), body_mb=1) as stand:
        body = json.dumps({**ASKED[protocol], "model": "direct", "padding": "x" * 1_500_000}).encode()
        async with stand.http.post(f"{stand.url}{PATHS[protocol]}", data=io.BytesIO(body)) as reply:
            got = read(protocol, reply, await reply.read())
        assert got.status == 413
        assert "1 MB" in got.problem
        assert stand.server.calls == []


async def test_a_body_that_unpacks_to_more_than_the_limit_is_refused() -> None:
    async with standing(Reply(stream_of(["a"])), body_mb=1) as stand:
        bomb = gzip.compress(b"x" * 200_000_000, 1)
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        async with stand.http.post(f"{stand.url}{PATHS['chat']}", data=io.BytesIO(bomb), headers=headers) as reply:
            assert read("chat", reply, await reply.read()).status == 413


async def test_a_client_that_does_not_send_its_body_is_left_and_its_place_is_free_again() -> None:
    async with standing(Reply(stream_of(["a"])), slow_reader_s=0.3, requests_at_once=1) as stand:
        host, _, port = stand.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n{{".encode())
        async with asyncio.timeout(5):
            assert (await reader.read(1000)).startswith(b"HTTP/1.1 408 ")
        assert (await stand.ask("chat", "direct", stream=True)).text == "a"
        writer.close()
