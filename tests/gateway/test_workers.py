"""Several worker processes are one gateway: a dead one is replaced, limits and numbers are of all, and all drain."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from taut.errors import UsageError
from taut.gateway.settings import read_settings
from taut.gateway.workers import check_free
from tests.gateway.faulty import events
from tests.gateway.processes import Served, body, free_port, is_alive, served, sockets, upstream

LIMIT_S = 20.0


@asynccontextmanager
async def two_workers(
    *options: str, tokens: int = 100_000, pause_s: float = 0.02
) -> AsyncIterator[tuple[Served, aiohttp.ClientSession]]:
    """A gateway of two workers, both ready; every request goes over a connection of its own."""
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(upstream(tokens=tokens, pause_s=pause_s))
        gateway = await stack.enter_async_context(served(engine, "--workers", "2", *options))
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        await until(lambda: workers_seen(gateway, http), 2)
        yield gateway, http


async def until(look: Callable[[], Any], wanted: Any) -> None:
    """Wait until an async look gives what is wanted."""
    async with asyncio.timeout(LIMIT_S):
        while await look() != wanted:
            await asyncio.sleep(0.05)


async def snapshot(gateway: Served, http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get(f"{gateway.url}/live") as reply:
        found: dict[str, Any] = await reply.json()
        return found


async def workers_seen(gateway: Served, http: aiohttp.ClientSession) -> int:
    try:
        return int((await snapshot(gateway, http))["workers"])
    except aiohttp.ClientError:
        return 0


async def running_seen(gateway: Served, http: aiohttp.ClientSession) -> int:
    try:
        return len((await snapshot(gateway, http))["running"])
    except aiohttp.ClientError:
        return -1


async def metric(gateway: Served, http: aiohttp.ClientSession, name: str) -> float:
    async with http.get(f"{gateway.url}/metrics") as reply:
        text = await reply.text()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


async def begun(gateway: Served, http: aiohttp.ClientSession, count: int, stack: AsyncExitStack) -> list[Any]:
    """So many streams that have given their first bytes."""
    asked = [http.post(f"{gateway.url}/v1/chat/completions", json=body()) for _ in range(count)]
    replies = await asyncio.gather(*(stack.enter_async_context(one) for one in asked))
    for reply in replies:
        assert reply.status == 200
        await reply.content.readany()
    return list(replies)


async def test_the_page_the_metrics_and_the_limits_see_all_workers() -> None:
    async with two_workers("--requests-at-once", "16") as (gateway, http), AsyncExitStack() as stack:
        idle = [sockets(pid) for pid in gateway.workers]
        assert len(idle) == 2
        await begun(gateway, http, 16, stack)
        # A connection of the client and one to the upstream for each request: the kernel has given both workers some.
        assert min(map(sockets, gateway.workers)) > max(idle)
        for _ in range(4):
            await until(lambda: running_seen(gateway, http), 16)
            assert await metric(gateway, http, "taut_requests_under_way") == 16
            async with http.post(f"{gateway.url}/v1/chat/completions", json=body()) as reply:
                assert reply.status == 429
                assert int(reply.headers["Retry-After"]) >= 1


async def test_a_killed_worker_is_replaced_and_what_it_had_under_way_is_forgotten() -> None:
    async with two_workers("--requests-at-once", "8") as (gateway, http):
        async with AsyncExitStack() as stack:
            replies = await begun(gateway, http, 8, stack)
            victim, other = gateway.workers
            os.kill(victim, signal.SIGKILL)
            await until(lambda: workers_seen(gateway, http), 2)
            assert victim not in gateway.workers
            assert other in gateway.workers
            lost = [reply for reply in replies if await is_cut(reply)]
            await until(lambda: running_seen(gateway, http), 8 - len(lost))
            await until(lambda: metric(gateway, http, "taut_requests_under_way"), 8 - len(lost))
            # There is room for as many as were lost, and for no more.
            await begun(gateway, http, len(lost), stack)
            async with http.post(f"{gateway.url}/v1/chat/completions", json=body()) as reply:
                assert reply.status == 429
        await until(lambda: running_seen(gateway, http), 0)
        assert any("starting it again" in line for line in gateway.errors)


async def is_cut(reply: aiohttp.ClientResponse) -> bool:
    """The connection is gone."""
    try:
        async with asyncio.timeout(1.0):
            for _ in range(20):
                if not await reply.content.readany():
                    return True
    except aiohttp.ClientError:
        return True
    except TimeoutError:
        return False
    return False


async def test_sigterm_lets_the_streams_of_all_workers_end() -> None:
    async with two_workers(tokens=60, pause_s=0.05) as (gateway, http), AsyncExitStack() as stack:
        replies = await begun(gateway, http, 8, stack)
        gateway.signal()
        for data in await asyncio.gather(*(reply.content.read() for reply in replies)):
            assert data.endswith(b"data: [DONE]\n\n")
            assert b'"error"' not in data
        assert await gateway.ended() == 0
    assert "Traceback" not in "\n".join(gateway.errors)


async def test_streams_that_do_not_end_are_ended_in_good_form_after_a_second_signal() -> None:
    async with two_workers() as (gateway, http), AsyncExitStack() as stack:
        replies = await begun(gateway, http, 6, stack)
        gateway.signal()
        async with asyncio.timeout(LIMIT_S):
            while sum("shutting down" in line for line in gateway.errors) < 2:
                await asyncio.sleep(0.02)
        gateway.signal()
        for data in await asyncio.gather(*(reply.content.read() for reply in replies)):
            assert (
                "shutting down" in events(b"data: {}\n\n" + data[data.index(b"\n\n") + 2 :])[-2][1]["error"]["message"]
            )
        assert await gateway.ended() == 0


async def test_workers_end_when_their_parent_is_killed() -> None:
    async with two_workers() as (gateway, _):
        workers = gateway.workers
        gateway.signal(signal.SIGKILL)
        async with asyncio.timeout(LIMIT_S):
            while any(map(is_alive, workers)):
                await asyncio.sleep(0.05)


def test_a_port_that_others_share_is_refused() -> None:
    port = free_port()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(UsageError, match="choose another --port"):
            check_free(read_settings({}, {"port": port}, "test"))
    check_free(read_settings({}, {"port": port}, "test"))
