"""Which HTTP server, HTTP client and JSON library the gateway is built on: the smallest possible proxy on each.

    pip install aiohttp uvloop starlette uvicorn httptools httpx granian msgspec orjson psutil
    python benchmarks/gateway/libraries.py

In an environment of its own: Taut is not needed. Every proxy takes a chat request, sends its body on to a fake upstream
(one event a token, one write an event) and passes the bytes of the reply on as they come. Each runs in a process of its
own; the rows take turns in rounds.

    raw               asyncio protocols that copy bytes between two sockets and read nothing: no proxy can be cheaper
    aiohttp           aiohttp.web in front, aiohttp's client behind, asyncio's own loop
    aiohttp+uvloop    the same on uvloop
    starlette+httpx   uvicorn (httptools, uvloop) and starlette in front, httpx behind
    starlette+aiohttp the same in front, aiohttp's client behind
    granian+aiohttp   granian (its own server in Rust, uvloop) and starlette in front, aiohttp's client behind

Measured at ``--streams`` streams at once: the proxy's own CPU time for each token, and the time to the first token,
steady (requests come one by one) and burst (all in the same instant), beside that of direct calls.

JSON: microseconds to decode one chat chunk and to encode one, by library; and to decode a request of 20 messages.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from _common import machine, print_table, write_result  # noqa: E402

LIBRARIES = ("aiohttp", "uvloop", "starlette", "uvicorn", "httptools", "httpx", "granian", "msgspec", "orjson")
PROXIES = ("raw", "raw+uvloop", "aiohttp", "aiohttp+uvloop", "starlette+httpx", "starlette+aiohttp", "granian+aiohttp")
START_S = 20.0
PATH = "/v1/chat/completions"


def raw(upstream: str, port: int) -> None:
    """Bytes from socket to socket."""
    address = urlsplit(upstream)

    class Back(asyncio.Protocol):
        def __init__(self, front: asyncio.Transport) -> None:
            self.front = front

        def data_received(self, data: bytes) -> None:
            self.front.write(data)

    class Front(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.back: Any = None

        def connection_lost(self, exception: Exception | None) -> None:
            if self.back is not None:
                self.back.close()

        def data_received(self, data: bytes) -> None:
            asyncio.get_running_loop().create_task(self.forward(data))

        async def forward(self, data: bytes) -> None:
            if self.back is None:
                loop = asyncio.get_running_loop()
                host, back_port = str(address.hostname), int(address.port or 80)
                self.back, _ = await loop.create_connection(lambda: Back(self.transport), host, back_port)
            self.back.write(data)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Front, "127.0.0.1", port, backlog=2048)
        await server.serve_forever()

    asyncio.run(serve())


def aiohttp_web(upstream: str, port: int) -> None:
    """aiohttp on both sides."""
    import aiohttp
    from aiohttp import web

    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with request.app[client].post(upstream + PATH, data=body) as reply:
            response = web.StreamResponse(status=reply.status, headers={"Content-Type": reply.headers["Content-Type"]})
            await response.prepare(request)
            async for data in reply.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response

    async def lifetime(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        ) as session:
            app[client] = session
            yield

    client = web.AppKey("client", aiohttp.ClientSession)
    app = web.Application()
    app.cleanup_ctx.append(lifetime)
    app.router.add_post(PATH, chat)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, backlog=2048)


def starlette_app(upstream: str, *, with_httpx: bool) -> Any:
    """An ASGI proxy."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    clients: list[Any] = []

    @contextlib.asynccontextmanager
    async def lifetime(app: Starlette) -> AsyncIterator[None]:
        if with_httpx:
            import httpx

            async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=None) as client:
                clients.append(client)
                yield
            return
        import aiohttp

        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
            clients.append(session)
            yield

    async def by_httpx(request: Request) -> StreamingResponse:
        client = clients[0]
        reply = await client.send(
            client.build_request("POST", upstream + PATH, content=await request.body()), stream=True
        )
        return StreamingResponse(reply.aiter_raw(), reply.status_code, media_type=reply.headers["content-type"])

    async def by_aiohttp(request: Request) -> StreamingResponse:
        reply = await clients[0].post(upstream + PATH, data=await request.body())
        return StreamingResponse(reply.content.iter_any(), reply.status, media_type=reply.headers["Content-Type"])

    return Starlette(routes=[Route(PATH, by_httpx if with_httpx else by_aiohttp, methods=["POST"])], lifespan=lifetime)


def uvicorn_proxy(upstream: str, port: int, *, with_httpx: bool) -> None:
    """starlette on uvicorn."""
    import uvicorn

    app = starlette_app(upstream, with_httpx=with_httpx)
    uvicorn.run(app, host="127.0.0.1", port=port, http="httptools", loop="uvloop", access_log=False, log_level="error")


def granian_proxy(upstream: str, port: int) -> None:
    """starlette on granian."""
    from granian import Granian
    from granian.constants import Interfaces, Loops

    os.environ["BENCHMARK_UPSTREAM"] = upstream
    Granian(
        f"{Path(__file__).stem}:granian_app",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        log_enabled=False,
        factory=True,
        workers=1,
    ).serve()


def granian_app() -> Any:
    """What granian's worker loads."""
    return starlette_app(os.environ["BENCHMARK_UPSTREAM"], with_httpx=False)


def proxy(name: str, upstream: str, port: int) -> None:
    """Be the proxy called ``name``."""
    if name.startswith(("raw+uvloop", "aiohttp+uvloop")):
        import uvloop

        uvloop.install()
    front, _, behind = name.partition("+")
    makers: dict[str, Callable[[], None]] = {
        "raw": lambda: raw(upstream, port),
        "aiohttp": lambda: aiohttp_web(upstream, port),
        "starlette": lambda: uvicorn_proxy(upstream, port, with_httpx=behind == "httpx"),
        "granian": lambda: granian_proxy(upstream, port),
    }
    makers[front]()


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that is ended at the end."""
    command = [sys.executable, *arguments]
    # Clients leave in the middle of a stream at the end of each measurement, and every server has something to say.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=HERE)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_for(port: int) -> None:
    """Until somebody listens."""
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port} after {START_S:.0f} s")


def free_port() -> int:
    """One that nobody uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def load(url: str, watch: int | None, *arguments: str) -> dict[str, Any]:
    """Run the load client and read what it measured."""
    watched = [] if watch is None else ["--watch", str(watch)]
    command = [sys.executable, str(HERE / "load.py"), "--url", url + PATH, *watched, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"the load client failed: {done.stderr[-1000:]}")
    return dict(json.loads(done.stdout))


def measure_proxies(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every row in every round."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ("direct", *PROXIES)}
    interval = ["--interval-ms", str(options.interval_ms)]
    steady = ["--streams", str(options.streams), "--seconds", str(options.seconds), *interval]
    burst = ["--streams", str(options.streams), "--mode", "burst", "--waves", "3", *interval]
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(running(str(HERE / "upstream.py"), *interval))
        assert upstream.stdout is not None
        address = upstream.stdout.readline().strip()
        where: dict[str, tuple[str, int | None]] = {"direct": (address, None)}
        for name in PROXIES:
            port = free_port()
            process = stack.enter_context(running(__file__, "--proxy", name, "--to", address, "--port", str(port)))
            wait_for(port)
            where[name] = (f"http://127.0.0.1:{port}", process.pid)
        for _ in range(options.rounds):
            for name, (url, pid) in where.items():
                measured = load(url, pid, *steady)
                measured["burst_first_ms"] = load(url, pid, *burst)["first_ms"]
                found[name].append(measured)
                print(f"  {name}: {measured}", flush=True)
    return [_row(name, runs, found["direct"]) for name, runs in found.items()]


def _row(name: str, runs: list[dict[str, Any]], direct: list[dict[str, Any]]) -> dict[str, Any]:
    def median(*path: str, less: bool = False) -> float:
        def read(run: dict[str, Any]) -> float:
            value: Any = run
            for key in path:
                value = value[key]
            return float(value)

        differences = [read(run) - (read(d) if less else 0) for run, d in zip(runs, direct, strict=True)]
        return round(statistics.median(differences), 3)

    return {
        "proxy": name,
        "cpu_us_per_token": median("cpu_us_per_token"),
        "first_ms_p50": median("first_ms", "p50"),
        "added_first_ms_p50": median("first_ms", "p50", less=True),
        "first_ms_p99": median("first_ms", "p99"),
        "burst_added_first_ms_p50": median("burst_first_ms", "p50", less=True),
        "added_late_ms_p50": median("late_ms", "p50", less=True),
        "tokens_per_s": median("tokens_per_s"),
        "resident_mb": median("resident_mb"),
        "errors": sum(run["errors"] for run in runs),
    }


def measure_json() -> list[dict[str, Any]]:
    """Microseconds a document, the best of seven runs."""
    from upstream import MODEL

    delta = {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}
    chunk = {"id": "chatcmpl-9d1c1bf2b3ce4e7c9c3f", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    chunk_text = json.dumps({**chunk, "choices": [delta]}).encode()
    message = {"role": "user", "content": "Think about this a little longer, please. " * 20}
    request_text = json.dumps({"model": MODEL, "messages": [message] * 20, "stream": True}).encode()
    return [
        {"library": name, **{what: _us(call) for what, call in calls.items()}}
        for name, calls in _json_calls(chunk_text, request_text).items()
    ]


def _json_calls(chunk: bytes, request: bytes) -> dict[str, dict[str, Callable[[], Any]]]:
    import msgspec
    import orjson

    text = str | None
    delta = msgspec.defstruct("Delta", [("content", text, None), ("reasoning", text, None)])
    choice = msgspec.defstruct("Choice", [("index", int), ("delta", delta), ("finish_reason", text, None)])
    typed = msgspec.json.Decoder(
        msgspec.defstruct("Chunk", [("id", str), ("model", str), ("choices", list[choice])])  # type: ignore[valid-type]
    )
    loose, encoder = msgspec.json.Decoder(), msgspec.json.Encoder()
    known: dict[str, tuple[Callable[[bytes], Any], Callable[[bytes], Any], Callable[[Any], bytes]]] = {
        "msgspec, typed": (typed.decode, loose.decode, encoder.encode),
        "msgspec, dicts": (loose.decode, loose.decode, encoder.encode),
        "orjson, dicts": (orjson.loads, orjson.loads, orjson.dumps),
        "json, dicts": (json.loads, json.loads, lambda document: json.dumps(document).encode()),
    }
    return {name: _calls(chunk, request, *functions) for name, functions in known.items()}


def _calls(
    chunk: bytes,
    request: bytes,
    decode: Callable[[bytes], Any],
    decode_request: Callable[[bytes], Any],
    encode: Callable[[Any], bytes],
) -> dict[str, Callable[[], Any]]:
    document = decode(chunk)
    return {
        "decode_chunk_us": lambda: decode(chunk),
        "encode_chunk_us": lambda: encode(document),
        "decode_request_us": lambda: decode_request(request),
    }


def _us(call: Callable[[], Any]) -> float:
    count = 20_000
    return round(1e6 * min(timeit.repeat(call, number=count, repeat=7)) / count, 2)


def main() -> None:
    """Measure, print, write; or be one of the proxies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=64, help="streams at once")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each steady measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--interval-ms", type=float, default=20.0, help="between two tokens of a stream")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/gateway_libraries.json")
    parser.add_argument("--proxy", choices=PROXIES, help=argparse.SUPPRESS)
    parser.add_argument("--to", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.proxy:
        proxy(options.proxy, options.to, options.port)
        return
    began = machine()
    decoded = measure_json()
    print_table("JSON, microseconds", decoded)
    rows = measure_proxies(options)
    print_table(f"proxies, {options.streams} streams, a token every {options.interval_ms:g} ms", rows)
    kept = {key: vars(options)[key] for key in ("streams", "seconds", "rounds", "interval_ms")}
    kept["libraries"] = {name: version(name) for name in LIBRARIES}
    write_result("gateway_libraries", began, {**kept, "proxies": rows, "json": decoded}, options.out)


if __name__ == "__main__":
    main()
