"""A light client that keeps n streams open at one server and measures what comes back. Prints one line of JSON.

    python benchmarks/gateway/load.py --url http://127.0.0.1:8000/v1/chat/completions --streams 64 --seconds 10

steady   n connections, each asks again as soon as its answer is complete; their starts are spread over the time of one
         answer, so that requests come one by one and not in step. Measured: what ends once everyone has had an answer.
burst    n requests in the same instant on open connections, again and again.

For each request: the time to the first token, and for each token how late it is against the upstream's schedule as seen
from here (token i is due i intervals after the request was sent): what a gateway adds to a token is its lateness less
that of a direct call. Tokens are told by their text, so that nothing is decoded while it counts. A reply with a
status other than 200 or with another number of tokens than expected is an error and no measurement.
``--watch PID`` adds that process's own CPU seconds and memory, children included, over the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psutil
from upstream import THOUGHT, WORD

CONNECT_S = 20.0
TOKEN = re.compile(b"%b|%b" % (THOUGHT.encode(), WORD.encode()))
CARRIED = max(len(THOUGHT), len(WORD)) - 1
"""Bytes of one read that may be the beginning of a token which the next read completes."""
LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(slots=True)
class Answer:
    """One request and what came."""

    sent_s: float
    ended_s: float = 0.0
    seen: list[tuple[float, int, int]] = field(default_factory=list)
    """Time of a read, and the new tokens of thinking and of answer in it."""
    thoughts: int = 0
    words: int = 0
    error: str = ""


class Reader(asyncio.Protocol):
    """One connection; reads one answer after the other."""

    def __init__(self) -> None:
        self.is_lost = False
        self.answer = Answer(0.0)
        self.head: bytes | None = None
        self.is_delimited_by_close = False
        self.done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exception: Exception | None) -> None:
        """A body without a length ends so; anything else is broken off."""
        self.is_lost = True
        if self.done is not None and not self.done.done():
            if not self.is_delimited_by_close:
                self.answer.error = "the connection was closed"
            self._finish()

    def ask(self, request: bytes, answer: Answer) -> asyncio.Future[None]:
        """Send and return what is done when the answer is complete."""
        self.answer = answer
        self.done = asyncio.get_running_loop().create_future()
        self.head = None
        self.data = b""
        self.tail = b""
        self.length: int | None = None
        self.is_delimited_by_close = False
        self.transport.write(request)
        return self.done

    def data_received(self, data: bytes) -> None:
        """Count tokens and look for the end."""
        now_s = time.perf_counter()
        if self.head is None:
            self.data += data
            head, found, data = self.data.partition(b"\r\n\r\n")
            if not found:
                return
            self._begin(head.lower())
        self._count(data, now_s)
        if self.length is not None:
            self.length -= len(data)
        if self.length == 0 or (self.length is None and self.tail.endswith(LAST_CHUNK)):
            self._finish()

    def _begin(self, head: bytes) -> None:
        self.head = head
        length = re.search(rb"\r\ncontent-length: *(\d+)", head)
        self.length = int(length[1]) if length else None
        self.is_delimited_by_close = length is None and b"chunked" not in head
        status = head.split(b" ", 2)[1]
        if status != b"200":
            self.answer.error = f"status {status.decode()}"

    def _count(self, data: bytes, now_s: float) -> None:
        text = self.tail[-CARRIED:] + data
        thoughts = words = 0
        for token in TOKEN.findall(text):
            if token == b" hmm":
                thoughts += 1
            else:
                words += 1
        if thoughts or words:
            self.answer.thoughts += thoughts
            self.answer.words += words
            self.answer.seen.append((now_s, thoughts, words))
        self.tail = (self.tail + data)[-len(LAST_CHUNK) :]

    def _finish(self) -> None:
        self.answer.ended_s = time.perf_counter()
        if self.head is None or b"connection: close" in self.head:
            self.is_lost = True
            self.transport.close()
        if self.done is not None and not self.done.done():
            self.done.set_result(None)


class Client:
    """The streams, and the answers they got."""

    def __init__(self, options: argparse.Namespace) -> None:
        address = urlsplit(options.url)
        self.options = options
        self.host, self.port = address.hostname or "127.0.0.1", address.port or 80
        extra = json.loads(options.body)
        body = {
            "model": options.model,
            "messages": [{"role": "user", "content": "What is 17 + 25?"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            **extra,
        }
        text = json.dumps(body).encode()
        self.request = (
            f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer sk-benchmark\r\nAccept: text/event-stream\r\nContent-Length: {len(text)}\r\n\r\n"
        ).encode() + text
        self.answers: list[Answer] = []
        self.is_over = False
        self.copies = 1
        """How often each token of thinking comes."""
        self.warm = 0
        """Workers that have had an answer."""

    async def connect(self) -> Reader:
        """A new connection."""
        loop = asyncio.get_running_loop()
        _, reader = await asyncio.wait_for(loop.create_connection(Reader, self.host, self.port), CONNECT_S)
        return reader

    async def once(self, reader: Reader | None) -> Reader | None:
        """One request, on ``reader`` if it is still open."""
        answer = Answer(time.perf_counter())
        self.answers.append(answer)
        try:
            if reader is None or reader.is_lost or reader.transport.is_closing():
                reader = await self.connect()
            await asyncio.wait_for(reader.ask(self.request, answer), self.options.timeout)
        except TimeoutError:
            answer.error, answer.ended_s = "timeout", time.perf_counter()
        except OSError as error:
            answer.error, answer.ended_s = type(error).__name__, time.perf_counter()
        else:
            answer.error = answer.error or self._fault(answer)
            return reader
        if reader is not None:
            reader.transport.abort()
        await asyncio.sleep(0.05)
        return None

    def _fault(self, answer: Answer) -> str:
        """What is wrong with the number of tokens, if anything."""
        thinking, words = self.options.thinking, self.options.answer
        # Some gateways send the thinking under two names.
        copies = 2 if answer.thoughts > thinking else 1
        if answer.thoughts == thinking * copies and answer.words == words:
            self.copies = copies
            return ""
        return f"{answer.thoughts}+{answer.words} tokens in place of {thinking}+{words}"

    async def worker(self, wait_s: float) -> None:
        """One stream after the other."""
        await asyncio.sleep(wait_s)
        reader = await self.once(await self.connect())
        self.warm += 1
        while not self.is_over:
            reader = await self.once(reader)


def process_cost(pid: int | None) -> tuple[float, int]:
    """CPU seconds and resident bytes of a process and its children so far."""
    if pid is None:
        return 0.0, 0
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    times = [process.cpu_times() for process in family]
    return sum(t.user + t.system for t in times), sum(process.memory_info().rss for process in family)


async def steady(client: Client) -> tuple[float, float, float, int]:
    """Run; returns beginning, end, CPU seconds and resident bytes."""
    options = client.options
    spread_s = max(0.05, (options.thinking + options.answer) * options.interval_ms / 1000)
    tasks = [asyncio.create_task(client.worker(spread_s * n / options.streams)) for n in range(options.streams)]
    began_s = time.perf_counter()
    while client.warm < options.streams and time.perf_counter() < began_s + spread_s * 2 + options.warm_s:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    began_s, (cpu_s, _) = time.perf_counter(), process_cost(options.watch)
    await asyncio.sleep(options.seconds)
    ended_s, (cpu_after_s, resident) = time.perf_counter(), process_cost(options.watch)
    client.is_over = True
    for task in tasks:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [error for error in done if isinstance(error, OSError)]
    client.answers += [Answer(began_s, ended_s, error=type(error).__name__) for error in failed]
    return began_s, ended_s, cpu_after_s - cpu_s, resident


async def burst(client: Client) -> tuple[float, float, float, int]:
    """Run; returns beginning, end, CPU seconds and resident bytes."""
    options = client.options
    readers: list[Reader | None] = list(await asyncio.gather(*(client.connect() for _ in range(options.streams))))
    began_s, cpu_s = time.perf_counter(), 0.0
    for wave in range(options.waves + 1):
        if wave == 1:  # the first one warms up
            began_s, cpu_s = time.perf_counter(), process_cost(options.watch)[0]
        readers = list(await asyncio.gather(*(client.once(reader) for reader in readers)))
        await asyncio.sleep(random.uniform(0.05, 0.15))
    cpu_after_s, resident = process_cost(options.watch)
    return began_s, time.perf_counter(), cpu_after_s - cpu_s, resident


def figures(client: Client, began_s: float, ended_s: float, cpu_s: float, resident: int) -> dict[str, Any]:
    """What the run says."""
    interval_s = client.options.interval_ms / 1000
    inside = [answer for answer in client.answers if began_s <= answer.ended_s <= ended_s]
    good = [answer for answer in inside if not answer.error]
    errors = sorted({answer.error for answer in inside if answer.error})
    first_ms = [1000 * (answer.seen[0][0] - answer.sent_s) for answer in good]
    tokens = _tokens_between(client, began_s, ended_s)
    window_s = ended_s - began_s
    return {
        "requests": len(good),
        "errors": len(inside) - len(good),
        "error_kinds": errors[:3],
        "requests_per_s": round(len(good) / window_s, 2),
        "tokens_per_s": round(tokens / window_s, 1),
        "first_ms": _spread(first_ms),
        "late_ms": _spread([1000 * late_s for answer in good for late_s in _late_s(client, answer, interval_s)]),
        "per_token_ms": _spread([1000 * _per_token_s(client, answer) for answer in good]),
        "cpu_us_per_token": round(1e6 * cpu_s / tokens, 1) if tokens else None,
        "cpu_share": round(cpu_s / window_s, 3),
        "resident_mb": round(resident / 1e6, 1),
    }


def _tokens(client: Client, answer: Answer) -> list[tuple[float, int]]:
    """Time of a read and the new tokens in it; one that comes under two names is one."""
    return [(at_s, thoughts // client.copies + words) for at_s, thoughts, words in answer.seen]


def _tokens_between(client: Client, began_s: float, ended_s: float) -> int:
    seen = (read for answer in client.answers for read in _tokens(client, answer))
    return sum(count for at_s, count in seen if began_s <= at_s <= ended_s)


def _late_s(client: Client, answer: Answer, interval_s: float) -> list[float]:
    late = []
    position = 0
    for at_s, count in _tokens(client, answer):
        late.append(at_s - answer.sent_s - position * interval_s)
        position += count
    return late


def _per_token_s(client: Client, answer: Answer) -> float:
    tokens = _tokens(client, answer)
    return (tokens[-1][0] - tokens[0][0]) / max(1, sum(count for _, count in tokens) - tokens[-1][1])


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if len(values) < 2:
        return {"p50": round(values[0], 3), "p99": round(values[0], 3)} if values else None
    hundredths = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(hundredths[49], 3), "p99": round(hundredths[98], 3)}


async def _main(options: argparse.Namespace) -> None:
    client = Client(options)
    gc.disable()
    measured = await (burst if options.mode == "burst" else steady)(client)
    print(json.dumps(figures(client, *measured)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="of the route")
    parser.add_argument("--model", default="Qwen3-fake")
    parser.add_argument("--body", default="{}", help="further fields of the request, as JSON")
    parser.add_argument("--mode", choices=("steady", "burst"), default="steady")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0, help="of measurement (steady)")
    parser.add_argument("--warm-s", type=float, default=20.0, help="at most, for everyone's first answer (steady)")
    parser.add_argument("--waves", type=int, default=5, help="counted bursts; one more warms up")
    parser.add_argument("--thinking", type=int, default=30, help="tokens of thinking to expect")
    parser.add_argument("--answer", type=int, default=30, help="tokens of answer to expect")
    parser.add_argument("--interval-ms", type=float, default=20.0, help="the upstream's")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one answer")
    parser.add_argument("--watch", type=int, help="process whose CPU time and memory are measured")
    asyncio.run(_main(parser.parse_args()))
