"""A gateway in this process on a real port, over any engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest
from aiohttp import web

from taut.config import Config
from taut.core import Engine
from taut.gateway.listening import BACKLOG, Runner
from taut.gateway.settings import read_settings
from taut.gateway.starting import Gateway, gateway


@asynccontextmanager
async def running(*engines: Engine, config: Config = Config(), **settings: Any) -> AsyncIterator[tuple[str, Gateway]]:
    """A gateway over these engines, the first one ``main``; its address, and its inside."""
    named = {engine_name(position): engine for position, engine in enumerate(engines)}
    async with gateway(read_settings({}, settings, "test"), named, config) as one:
        runner = Runner(one.app, shutdown_timeout_s=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}", one
        finally:
            await runner.cleanup()


def engine_name(position: int) -> str:
    """``main``, ``engine2``, …, as `taut serve` names them."""
    return "main" if position == 0 else f"engine{position + 1}"


class Serve(Protocol):
    """``async with serve(engine, port=0, …) as url``: settings as under ``[serve]``."""

    def __call__(self, *engines: Engine, config: Config = ..., **settings: Any) -> AbstractAsyncContextManager[str]: ...


@pytest.fixture
def serve() -> Serve:
    @asynccontextmanager
    async def start(*engines: Engine, config: Config = Config(), **settings: Any) -> AsyncIterator[str]:
        async with running(*engines, config=config, **settings) as (url, _):
            yield url

    return start
