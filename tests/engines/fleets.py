"""Several fake servers as one engine, and what tests ask about them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest

from taut.core import Piece, Request
from taut.engines import _replica, _retry
from taut.engines._replicas import Lease, Replicas
from taut.engines.openai import open_engine
from tests.engines.asking import ASK, text_of
from tests.engines.fake_upstream import FakeUpstream

QUICK: dict[str, Any] = {"health_interval_s": 0.05, "api_key_env": "NONE"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait where another server should be asked at once runs into the test's time limit."""
    monkeypatch.setattr(_retry, "FIRST_DELAY_S", 1000.0)
    monkeypatch.setattr(_replica, "LOOK_GAP_S", 0.01)


@asynccontextmanager
async def fleet(*servers: FakeUpstream, **options: Any) -> AsyncIterator[Replicas]:
    """The servers, started, and the engine over them; a server that has an address already is left alone."""
    async with AsyncExitStack() as stack:
        for server in servers:
            if not server.url:
                await stack.enter_async_context(server)
        engine = await open_engine(urls=tuple(server.url for server in servers), **{**QUICK, **options})
        assert isinstance(engine, Replicas)
        stack.push_async_callback(engine.close)
        async with asyncio.timeout(20):
            yield engine


async def collect(engine: Replicas | Lease, request: Request = ASK) -> str:
    return text_of([item async for item in engine.stream(request)])


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fact():
            await asyncio.sleep(0.005)


async def begun(lease: Lease | Replicas) -> Any:
    """A stream that has given its first piece."""
    stream = cast(Any, lease.stream(ASK))
    assert isinstance(await anext(stream), Piece)
    return stream


async def stopped(server: FakeUpstream) -> FakeUpstream:
    """``server`` killed; the same address may be used again."""
    await server.__aexit__(None, None, None)
    return server


def ups(engine: Replicas) -> list[bool]:
    return [state.is_up for state in engine.state()]


def called(*servers: FakeUpstream) -> list[int]:
    return [len(server.calls) for server in servers]
