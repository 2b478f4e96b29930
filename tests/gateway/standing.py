"""A gateway in a thread of its own, and what has to hold when all its requests are over: nothing is left of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from taut.core import Engine
from taut.engines.openai import OpenAIEngine
from taut.gateway.starting import Gateway
from tests.gateway.conftest import running

SETTLE_S = 3.0


async def settled(one: Gateway, tasks_before: int) -> None:
    """Wait until nothing of any request is left: tasks, register, ledger. Fails after `SETTLE_S`."""
    for _ in range(int(SETTLE_S / 0.01)):
        if not left_over(one, tasks_before):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"left behind: {left_over(one, tasks_before)}")


def left_over(one: Gateway, tasks_before: int) -> dict[str, Any]:
    """What is left, by name; empty if there is nothing."""
    ledger: Any = one.serving._ledger
    counts = {
        "replies": len(one.serving),
        "register": len(one.books.under_way),
        "ledger": ledger.use().under_way,
        "shadows": len(one.books.shadow) if one.books.shadow else 0,
        "metrics": _under_way(one.telemetry),
    }
    # Idle connections of clients have a task each, which is the server's own.
    tasks = [task for task in asyncio.all_tasks() if "RequestHandler.start" not in repr(task.get_coro())]
    found = {name: count for name, count in counts.items() if count}
    return found | ({"tasks": tasks} if len(tasks) > tasks_before else {})


def _under_way(telemetry: Any) -> float:
    """What the gauge of requests under way says."""
    gauge = getattr(telemetry, "_under_way", None)
    return 0.0 if gauge is None else sum(sample.value for metric in gauge.collect() for sample in metric.samples)


@dataclass(slots=True)
class Threaded:
    """A gateway in another thread: its address, and a way to look inside once it is quiet."""

    url: str
    one: Gateway
    loop: asyncio.AbstractEventLoop
    tasks_before: int

    def check_quiet(self) -> None:
        """Fail if anything is left of a request."""
        asyncio.run_coroutine_threadsafe(settled(self.one, self.tasks_before), self.loop).result(2 * SETTLE_S)


@asynccontextmanager
async def opened(engine: Engine | str) -> AsyncIterator[Engine]:
    """An engine, or the one at an address, closed at the end."""
    found = await OpenAIEngine.open(engine) if isinstance(engine, str) else engine
    try:
        yield found
    finally:
        await found.close()


@contextmanager
def threaded(engine: Engine | str, **settings: Any) -> Iterator[Threaded]:
    """For clients that block."""
    ready: Future[Threaded] = Future()
    stop = asyncio.Event()

    async def serve() -> None:
        async with opened(engine) as main, running(main, **settings) as (url, one):
            loop = asyncio.get_running_loop()
            # One more: the coroutine that looks.
            ready.set_result(Threaded(url, one, loop, len(asyncio.all_tasks()) + 1))
            await stop.wait()

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    found = ready.result(30)
    try:
        yield found
    finally:
        found.loop.call_soon_threadsafe(stop.set)
        thread.join(30)
