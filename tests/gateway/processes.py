"""``taut serve`` as a process of its own, over a fake upstream in another one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 60.0
END_LIMIT_S = 30.0


HANGUP = pytest.param(
    signal.SIGHUP,
    marks=pytest.mark.skipif(
        signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,
        reason="hang-ups are ignored here and by what is started here, as under nohup",
    ),
)
"""The signal, for tests that send it."""


@dataclass(slots=True)
class Served:
    """A gateway that runs."""

    url: str
    process: Process
    errors: list[str] = field(default_factory=list)
    """Lines of its stderr."""

    @property
    def workers(self) -> list[int]:
        """Process numbers of the workers."""
        return [pid for pid in children(self.process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to the gateway, or to the parent of its workers."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit code, once it has ended."""
        async with asyncio.timeout(END_LIMIT_S):
            return await self.process.wait()


@asynccontextmanager
async def upstream(*, tokens: int, pause_s: float) -> AsyncIterator[str]:
    """The address of a server that streams so many tokens to every call."""
    options = ["--kind", "hosted", "--route", "chat", "--tokens", str(tokens), "--pause-s", str(pause_s)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.engines.fake_upstream", *options, cwd=ROOT, stdout=PIPE, stderr=DEVNULL
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_LIMIT_S):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def served(engine: str, *options: str) -> AsyncIterator[Served]:
    """``taut serve --engine …``, once it answers; killed at the end if it still runs."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "taut.cli", "serve", "--engine", engine, "--port", str(port), *options),
        cwd=ROOT / "tests",
        env=environment,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    gateway = Served(f"http://127.0.0.1:{port}", process)
    reading = asyncio.create_task(_read(process, gateway.errors))
    try:
        await _answers(gateway)
        yield gateway
    finally:
        if process.returncode is None:
            for pid in (process.pid, *children(process.pid)):
                os.kill(pid, signal.SIGKILL)
        await process.wait()
        await reading


async def _read(process: Process, errors: list[str]) -> None:
    assert process.stderr is not None
    async for line in process.stderr:
        errors.append(line.decode().rstrip())


async def _answers(gateway: Served) -> None:
    async with asyncio.timeout(START_LIMIT_S), aiohttp.ClientSession() as http:
        while True:
            assert gateway.process.returncode is None, gateway.errors
            try:
                async with http.get(f"{gateway.url}/health") as reply:
                    assert reply.status == 200
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


def children(pid: int) -> list[int]:
    """The processes that this one has started, the oldest first; skips the test where the system does not tell."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    if not path.exists():
        pytest.skip("this system does not tell the children of a process")
    return sorted(map(int, path.read_text().split()))


def sockets(pid: int) -> int:
    """How many a process has open."""
    folder = f"/proc/{pid}/fd"
    links = [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]
    return sum(link.startswith("socket:") for link in links)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def body(model: str = "direct", **fields: Any) -> dict[str, Any]:
    """A chat request that is streamed."""
    return {"model": model, "stream": True, "messages": [{"role": "user", "content": "1 + 2?"}], **fields}
