"""Does the gateway grow? 20,000 mixed requests to one process; its memory, tasks and open files before and after.

    python benchmarks/gateway/soak.py

The mix: all four protocols, streamed and not, passing through and under presets with budgets, several candidates,
refused ones, an upstream that breaks off, and clients that leave in the middle. Every tenth of them the gateway's
process is looked at, after a garbage collection, while nothing is under way. Traces are written, and a tenth of the
requests has a shadow.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _common import machine, server_process, write_result

WARM_UP = 2_000
STEPS = 10
QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
ROUTES: tuple[tuple[str, dict[str, Any]], ...] = (
    (CHAT, {"messages": QUESTION}),
    (TEXT, {"prompt": "What is 17 + 25?"}),
    ("/v1/responses", {"input": "What is 17 + 25?"}),
    ("/v1/messages", {"messages": QUESTION, "max_tokens": 200}),
)
KINDS: tuple[tuple[int, dict[str, Any]], ...] = (
    (30, {"model": "Qwen3-fake"}),
    (20, {"model": "direct"}),
    (15, {"model": "direct", "thinking_token_budget": 8}),
    (10, {"model": "direct(low)", "reasoning_effort": "low"}),
    (5, {"model": "budget_forcing", "n": 3}),
    (5, {"model": "concise"}),
    (5, {"model": "no such model"}),
    (5, {"model": "direct", "temperature": "hot"}),
    (5, {"model": "direct", "taut": {"deadline_s": 0.002}}),
)
"""Weight, and fields of the request."""
LEAVES = 0.05
"""Share of streams whose client leaves after the first bytes."""


def request(random_: random.Random) -> tuple[str, dict[str, Any]]:
    """A path and a body."""
    fields = random_.choices([fields for _, fields in KINDS], [weight for weight, _ in KINDS])[0]
    path, body = ROUTES[0] if "n" in fields else random_.choice(ROUTES)
    return path, {**body, **fields, "stream": random_.random() < 0.6}


async def ask(http: aiohttp.ClientSession, url: str, random_: random.Random, seen: Counter[str]) -> None:
    """One request; what came of it."""
    path, body = request(random_)
    async with http.post(f"{url}{path}", json=body) as reply:
        if body["stream"] and random_.random() < LEAVES:
            await reply.content.readany()
            reply.close()
            seen["left by the client"] += 1
            return
        data = await reply.read()
    in_stream = reply.status == 200 and (b'"error":{' in data or b"event: error" in data)
    seen[f"{reply.status}{' with an error in the stream' if in_stream else ''}"] += 1


async def load(url: str, count: int, at_once: int, seed: int, seen: Counter[str]) -> None:
    """So many requests."""
    random_, left = random.Random(seed), iter(range(count))
    connector = aiohttp.TCPConnector(limit=0)

    async def client() -> None:
        for _ in left:
            await ask(http, url, random_, seen)

    async with aiohttp.ClientSession(connector=connector) as http:
        await asyncio.gather(*(client() for _ in range(at_once)))


async def look(url: str) -> dict[str, Any]:
    """The gateway's process, once nothing is under way in it."""
    async with aiohttp.ClientSession() as http:
        for _ in range(100):
            async with http.get(f"{url}/soak") as reply:
                found: dict[str, Any] = await reply.json()
            if not found["under_way"]:
                return found
            await asyncio.sleep(0.05)
    return found


async def soak(url: str, requests: int, at_once: int) -> dict[str, Any]:
    """Figures of a whole run."""
    seen: Counter[str] = Counter()
    before = await look(url)
    await load(url, WARM_UP, at_once, 0, Counter())
    looks, began_s = [await look(url)], time.perf_counter()
    for step in range(STEPS):
        await load(url, requests // STEPS, at_once, step + 1, seen)
        looks.append(await look(url))
        print(f"{(step + 1) * requests // STEPS:7} {looks[-1]}", flush=True)
    return {
        "requests": requests,
        "at_once": at_once,
        "requests_per_s": round(requests / (time.perf_counter() - began_s), 1),
        "replies": dict(sorted(seen.items())),
        "before": before,
        "after_warm_up": looks[0],
        "after": looks[-1],
        "rss_mb_by_step": [item["rss_mb"] for item in looks],
        "rss_growth_mb": round(looks[-1]["rss_mb"] - looks[0]["rss_mb"], 1),
    }


async def serve(upstream: str) -> None:
    """The gateway in this process, with one more route that tells about the process. Prints its address."""
    from taut.config import Config
    from taut.engines.openai import OpenAIEngine
    from taut.gateway.settings import read_settings
    from taut.gateway.starting import gateway

    async with opened(OpenAIEngine, upstream) as engine, folder() as traces:
        settings = read_settings(
            {}, {"traces": traces, "shadow": 0.1, "trace_file_mb": 4, "traces_total_mb": 16}, "soak"
        )
        async with gateway(settings, {"main": engine}, Config()) as one:

            async def tell(request: web.Request) -> web.Response:
                gc.collect()
                return web.json_response(
                    {
                        "rss_mb": rss_mb(),
                        "tasks": len(asyncio.all_tasks()),
                        "open_files": len(os.listdir("/proc/self/fd")),
                        "threads": threading.active_count(),
                        "objects": len(gc.get_objects()),
                        "under_way": len(one.serving) + len(one.books.under_way) + len(one.books.shadow or ()),
                    }
                )

            one.app.router.add_get("/soak", tell)
            runner = web.AppRunner(one.app, access_log=None, handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
            print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            await runner.cleanup()


def rss_mb() -> float:
    """Memory of this process that is really there, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


@asynccontextmanager
async def opened(engine_type: Any, url: str) -> AsyncIterator[Any]:
    """The engine, closed at the end."""
    engine = await engine_type.open(url)
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def folder() -> AsyncIterator[Path]:
    """For traces that nobody reads."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def main() -> None:
    """Run it, print the figures, write them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--out", type=Path, default=None, help="file of the result (default: in benchmarks/results)")
    parser.add_argument("--child", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        asyncio.run(serve(options.child))
        return
    began = machine()
    os.environ["OPENAI_API_KEY"] = ""
    with (
        server_process("gateway/upstream.py", "--thinking", "20", "--answer", "10", "--interval-ms", "1") as upstream,
        server_process("gateway/soak.py", "--child", upstream) as url,
    ):
        figures = asyncio.run(soak(url, options.requests, options.at_once))
    print(json.dumps(figures, indent=1))
    write_result("gateway_soak", began, figures, options.out)


if __name__ == "__main__":
    main()
