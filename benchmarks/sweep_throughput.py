"""The sweep keeps the engine busy: throughput through the bench over that of a bare load generator on the same server.

    python benchmarks/sweep_throughput.py                     llama.cpp in a process of its own, one thread
    python benchmarks/sweep_throughput.py --server steps      a fake engine at the pace of a fast GPU: 5 ms a step
    python benchmarks/sweep_throughput.py --url http://localhost:8000      a server that is already there

Taut's side is `taut.bench.sweep` as `taut bench` calls it: preset `direct`, every question verified, every trace
written to a file on disk. The other side is a loop of as many workers that post the same question with aiohttp, throw
the bytes away and count the tokens that the server reports at the end; it asks for no running counts, so what those
cost the server counts against Taut. Both sides ask for exactly `--tokens` tokens (`ignore_eos`). They take turns
within each round, the first of a round alternating; every prompt begins with a word of its own, so that no cache
helps the second.

The ratio is that of the median throughputs. Goal: at least 0.95, at 8 and at 32 at once. Opening the engine, loading
the questions and writing the report are not in it; they do not grow with the number of tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from _common import machine, median_and_spread, print_table, server_process, write_result

from taut.bench import Plan, sweep
from taut.core import Sampling, Task
from taut.engines.openai import OpenAIEngine
from taut.methods.prompt_based.direct import Direct
from taut.run import Preset
from taut.traces import read

GOAL = 0.95
STEP_MS = 5


@dataclass(frozen=True, slots=True)
class Load:
    """What both sides do in one turn."""

    url: str
    model: str
    questions: int
    concurrency: int
    tokens: int
    extra: dict[str, Any]
    """Further request fields, for both sides."""

    def tasks(self, nonce: str) -> list[Task]:
        """The questions of one turn; ``nonce`` keeps their prompts apart from those of every other turn."""
        return [
            Task(
                id=f"sum/{index}",
                messages=({"role": "user", "content": f"{nonce}-{index}: What is {index + 17} plus 25? Explain."},),
                reference=str(index + 42),
                verifier="number",
            )
            for index in range(self.questions)
        ]


async def by_taut(load: Load, engine: OpenAIEngine, nonce: str) -> tuple[int, float]:
    """Tokens and seconds through the bench."""
    sampling = Sampling(max_tokens=load.tokens, temperature=0.0, extra=load.extra)
    plan = Plan([Preset("direct", Direct())], load.tasks(nonce), sampling, concurrency=load.concurrency)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traces.jsonl"
        began = time.perf_counter()
        await sweep(plan, {"main": engine}, path)
        took_s = time.perf_counter() - began
        traces = read(path)
    failed = [trace.error for trace in traces if trace.error or trace.score is None]
    if failed or len(traces) != load.questions:
        raise SystemExit(f"{len(traces)} of {load.questions} answered, {len(failed)} failed: {failed[:1]}")
    return sum(trace.completion_tokens for trace in traces), took_s


async def by_bare_loop(load: Load, plain: aiohttp.ClientSession, nonce: str) -> tuple[int, float]:
    """Tokens and seconds of workers that only post and count."""
    tasks = iter(load.tasks(nonce))

    async def worker() -> int:
        return sum([await _post(load, plain, task) for task in tasks])

    began = time.perf_counter()
    totals = await asyncio.gather(*(worker() for _ in range(load.concurrency)))
    return sum(totals), time.perf_counter() - began


async def _post(load: Load, plain: aiohttp.ClientSession, task: Task) -> int:
    body = {
        "model": load.model,
        "messages": list(task.messages),
        "max_tokens": load.tokens,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **load.extra,
    }
    while True:
        try:
            return await _count_tokens(plain, f"{load.url}/v1/chat/completions", body)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # llama.cpp closes a connection after a streamed reply, and others close idle ones: at once on a new one.
            continue


async def _count_tokens(plain: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> int:
    last = b""
    async with plain.post(url, json=body) as response:
        response.raise_for_status()
        async for data in response.content.iter_any():
            last = last[-2000:] + data
    # The counts are in the last event before [DONE].
    event = last.rpartition(b"data: [DONE]")[0].rpartition(b"data: ")[2]
    return int(json.loads(event)["usage"]["completion_tokens"])


async def compare(load: Load, engine: OpenAIEngine, rounds: int) -> dict[str, Any]:
    """Both sides in turns; the first round warms up and is not counted."""
    speeds: dict[str, list[float]] = {"taut": [], "bare": []}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as plain:
        for index in range(rounds + 1):
            order = ("taut", "bare") if index % 2 else ("bare", "taut")
            for side in order:
                nonce = f"{load.concurrency}{side[0]}{index}"
                turn = by_taut(load, engine, nonce) if side == "taut" else by_bare_loop(load, plain, nonce)
                tokens, took_s = await turn
                if tokens != load.questions * load.tokens:
                    print(f"  note: {side} got {tokens} tokens, asked for {load.questions * load.tokens}")
                if index:
                    speeds[side].append(tokens / took_s)
            done = " ".join(f"{side} {values[-1]:.1f}" for side, values in speeds.items() if values)
            print(f"  {load.concurrency} at once, round {index} of {rounds}: {done or 'warm-up'}", flush=True)
    return _row(load, speeds)


def _row(load: Load, speeds: dict[str, list[float]]) -> dict[str, Any]:
    ratio = statistics.median(speeds["taut"]) / statistics.median(speeds["bare"])
    by_round = [taut / bare for taut, bare in zip(speeds["taut"], speeds["bare"], strict=True)]
    return {
        "at_once": load.concurrency,
        "questions": load.questions,
        "tokens_each": load.tokens,
        "taut_tokens_per_s": median_and_spread(speeds["taut"], 1),
        "bare_tokens_per_s": median_and_spread(speeds["bare"], 1),
        "taut_questions_per_s": round(statistics.median(speeds["taut"]) / load.tokens, 3),
        "ratio_of_medians": round(ratio, 4),
        "ratio_by_round": median_and_spread(by_round),
        "reaches_goal": ratio >= GOAL,
    }


@contextlib.contextmanager
def server(options: argparse.Namespace, concurrency: int) -> Iterator[str]:
    """The address of a server that takes ``concurrency`` calls at once."""
    if options.url:
        yield options.url.rstrip("/").removesuffix("/v1")
    elif options.server == "steps":
        with server_process("_upstream.py", "--answer", str(options.tokens), "--interval-ms", str(STEP_MS)) as url:
            yield url
    else:
        arguments = ["--slots", str(concurrency), "--threads", str(options.threads)]
        with server_process("_llamacpp.py", *arguments) as url:
            yield url


async def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for every number of calls at once."""
    rows = []
    for concurrency in options.concurrency:
        with server(options, concurrency) as url:
            engine = await OpenAIEngine.open(url, model=options.model)
            load = Load(
                url=url,
                model=engine.model,
                questions=options.waves * concurrency,
                concurrency=concurrency,
                tokens=options.tokens,
                extra={"ignore_eos": True},
            )
            rows.append(await compare(load, engine, options.rounds))
            await engine.close()
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=["llamacpp", "steps"], default="llamacpp")
    parser.add_argument("--url", help="a running server that knows ignore_eos, such as vLLM, instead of --server")
    parser.add_argument("--model", help="its model, if it has several")
    parser.add_argument("--threads", type=int, default=1, help="of llama.cpp; 1 leaves a core of two to the client")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[8, 32], help="calls at once")
    parser.add_argument("--waves", type=int, default=2, help="questions a turn, in multiples of the concurrency")
    parser.add_argument("--tokens", type=int, help="of every answer (default: 48; with --server steps 256)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds; one more warms up")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/sweep_throughput_SERVER.json")
    options = parser.parse_args()
    options.tokens = options.tokens or (256 if options.server == "steps" else 48)
    began = machine()
    rows = asyncio.run(measure(options))
    medians = [
        {key: value["median"] if isinstance(value, dict) else value for key, value in row.items()} for row in rows
    ]
    print_table(f"through the bench over a bare load generator (goal: {GOAL})", medians)
    name = f"sweep_throughput_{'url' if options.url else options.server}"
    figures = {"server": name.rpartition("_")[2], "threads": options.threads, "rounds": options.rounds, "goal": GOAL}
    write_result(name, began, {**figures, "rows": rows}, options.out)


if __name__ == "__main__":
    main()
