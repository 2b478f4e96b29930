"""Several worker processes are one gateway: a dead one is replaced, limits and numbers are of all, and all drain."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from taut.config import Config
from taut.errors import UsageError
from taut.gateway.keys import Keyring
from taut.gateway.settings import read_settings
from taut.gateway.starting import Worker, open_ledger
from taut.gateway.workers import Supervisor, check_count, check_free
from tests.gateway.faulty import events
from tests.gateway.processes import HANGUP, Served, body, free_port, is_alive, served, sockets, upstream

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
            async with asyncio.timeout(LIMIT_S):
                while victim in gateway.workers or len(gateway.workers) < 2:
                    await asyncio.sleep(0.02)
            await until(lambda: workers_seen(gateway, http), 2)
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


@pytest.mark.parametrize("number", [signal.SIGTERM, HANGUP])
async def test_after_the_end_no_worker_and_no_folder_is_left(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    async with two_workers() as (gateway, _):
        workers = gateway.workers
        assert list(tmp_path.glob("taut-*"))
        gateway.signal(number)
        assert await gateway.ended() == 0
        assert not any(map(is_alive, workers))
    assert not list(tmp_path.glob("taut-*"))


class Started:
    """Stands in for a process: notes what is done to it, and may be told something while it starts."""

    pid, exitcode = 0, -9

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.done: list[str] = []

    def start(self) -> None:
        self.done.append("start")
        self.meanwhile()

    def terminate(self) -> None:
        self.done.append("terminate")

    def kill(self) -> None:
        self.done.append("kill")


def supervisor(monkeypatch: pytest.MonkeyPatch, processes: list[Started], drain_s: float = 30.0) -> Supervisor:
    """One of many workers that takes these instead of processes."""
    coming = iter(processes)
    monkeypatch.setattr(SpawnContext, "Process", lambda self, **options: next(coming))
    settings = read_settings({}, {"workers": len(processes), "drain_s": drain_s}, "test")
    return Supervisor(("fake",), settings, Config(), Path("unused"))


@pytest.mark.parametrize("is_folder_there", [True, False])
def test_what_a_dead_worker_had_under_way_is_forgotten_before_its_successor_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_folder_there: bool
) -> None:
    under_way = []
    first, other, second = Started(), Started(), Started(lambda: under_way.append(ledger.use().under_way))
    one = supervisor(monkeypatch, [first, other, second])
    ledgers = [open_ledger(one.settings, Keyring(), Worker(number, 3, tmp_path)) for number in range(3)]
    ledger = ledgers[1]
    for number in (0, 0, 1):
        ledgers[number].admit(None)
    # Without its folder nothing can be forgotten here, and the worker is replaced all the same.
    one.folder = tmp_path if is_folder_there else tmp_path / "gone"
    one._start(0)
    one._start(1)
    assert one._buried(0, first) == 0
    assert second.done == ["start"]
    assert under_way == [1 if is_folder_there else 3]


def test_a_signal_while_workers_are_started_ends_those_and_starts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = [Started(), Started(lambda: one._heard(signal.SIGTERM, None)), Started()]
    one = supervisor(monkeypatch, processes)
    for number in range(3):
        one._start(number)
    assert [process.done for process in processes] == [["start", "terminate"], ["start", "terminate"], []]


def test_a_second_signal_brings_the_end_nearer_and_a_third_does_not_put_it_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("taut.gateway.workers.time.monotonic", lambda: clock[0])
    worker = Started()
    one = supervisor(monkeypatch, [worker], drain_s=30)
    one._start(0)
    killed_at_s = []
    for clock[0] in (100.0, 110.0, 112.0):
        one._heard(signal.SIGTERM, None)
        killed_at_s.append(one._kill_at_s)
    # 100 + 30 + 5, 110 + 5, and that again.
    assert killed_at_s == [135.0, 115.0, 115.0]
    for clock[0] in (114.9, 115.1):
        one._kill_late()
    assert worker.done == ["start", *["terminate"] * 3, "kill"]


def test_a_system_without_room_for_a_worker_ends_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_room() -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    processes = [Started(), Started(no_room), Started()]
    one = supervisor(monkeypatch, processes)
    assert [one._start(number) for number in range(3)] == [0, 1, 0]
    assert [process.done for process in processes] == [["start", "terminate"], ["start"], []]
    assert "worker 1 cannot be started" in capsys.readouterr().err


def test_more_workers_than_are_of_use_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    check_count(16)
    with pytest.raises(UsageError, match="workers is 17: at most 16 are started here, 8 for each of 2 cores"):
        check_count(17)


def test_a_port_that_others_share_is_refused() -> None:
    port = free_port()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(UsageError, match="choose another --port"):
            check_free(read_settings({}, {"port": port}, "test"))
    check_free(read_settings({}, {"port": port}, "test"))
