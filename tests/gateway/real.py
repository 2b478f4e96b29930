"""Asking real engines, directly and through the gateway, and reading what they have counted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest

openai: Any = pytest.importorskip("openai", reason="the package openai is not installed")

QUESTION: list[dict[str, Any]] = [{"role": "user", "content": "What is 17 + 25?"}]
GREEDY: dict[str, Any] = {"temperature": 0, "seed": 1}
ENDLESS: dict[str, Any] = {"max_tokens": 1500, "temperature": 0, "extra_body": {"ignore_eos": True}}
SUM_SCHEMA = {
    "type": "object",
    "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["sum"],
    "additionalProperties": False,
}
SUM_FORMAT = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SUM_SCHEMA}}
PATIENCE_S = 60.0
"""Real engines share few cores with everything else that runs."""
AWAY_S = 2.0
SEEN_PIECES = 3
"""The first one may be words that Taut itself has put before the thought."""
LOOK_S = 1.3
STILL_S = 0.7
"""A running engine counts at least one token in it."""

_CHANGING = re.compile(rb'"(?:id|created|timings)":\s*(?:"[^"]*"|\d+|\{[^}]*\})')


@dataclass(frozen=True, slots=True)
class Counted:
    """What an engine says it has done since it started, in tokens, and what it is doing."""

    completion: int
    prompt: int
    """Cached ones included."""
    running: int
    """Requests under way."""
    steps: int
    """Grows while anything is generated."""


Look = Callable[[], Awaitable[Counted]]


@asynccontextmanager
async def client(url: str, **options: Any) -> AsyncIterator[Any]:
    """OpenAI's own client; no retries."""
    async with openai.AsyncOpenAI(**{"base_url": f"{url}/v1", "api_key": "none", "max_retries": 0, **options}) as made:
        yield made


async def body(url: str, *, unmasked: bool = False, **request: Any) -> bytes:
    """The body of a reply as it came, streamed or not, without what is different every time."""
    async with client(url) as ours, _bodies(ours, request).create(**request) as response:
        found = b"".join([part async for part in response.iter_bytes()])
    return found if unmasked else _CHANGING.sub(b"", found)


def _bodies(ours: Any, request: dict[str, Any]) -> Any:
    route: Any = ours.completions if "prompt" in request else ours.chat.completions
    return route.with_streaming_response


async def chunks(url: str, model: str, **request: Any) -> list[Any]:
    """All chunks of a streamed chat, with counts."""
    asked = {"messages": QUESTION, "stream_options": {"include_usage": True}, **GREEDY, **request}
    async with client(url) as ours:
        stream: Any = await ours.chat.completions.create(model=model, stream=True, **asked)
        return [chunk async for chunk in stream]


async def whole(url: str, model: str, **request: Any) -> Any:
    """A chat in one piece."""
    async with client(url) as ours:
        return await ours.chat.completions.create(model=model, **{"messages": QUESTION, **GREEDY, **request})


def joined(found: list[Any], name: str) -> str:
    """What all deltas together say under ``name``."""
    deltas = [choice.delta for chunk in found for choice in chunk.choices]
    return "".join(getattr(delta, name, None) or "" for delta in deltas)


async def leave(url: str, model: str, *, stream: bool, after: str = "", **request: Any) -> None:
    """Ask for something endless and go away: after some pieces under the name ``after``, or after `AWAY_S`."""
    asked: dict[str, Any] = {"model": model, "messages": QUESTION, "stream": stream, **ENDLESS, **request}
    async with client(url) as ours:
        if stream:
            running: Any = await ours.chat.completions.create(**asked)
            found: list[Any] = []
            async for chunk in running:
                found += [chunk] if joined([chunk], after) else []
                if len(found) == SEEN_PIECES:
                    break
            await running.close()
            return
        try:
            await ours.with_options(timeout=AWAY_S).chat.completions.create(**asked)
        except openai.APITimeoutError:
            return
    raise AssertionError("the reply came to its end before anybody left")


async def idle(look: Look) -> Counted:
    """Wait until the engine runs nothing."""
    async with asyncio.timeout(PATIENCE_S):
        while (found := await look()).running:
            # llama.cpp looks for clients that have left only when it has had nothing to tell anybody for a second.
            await asyncio.sleep(LOOK_S)
    return found


async def spent(look: Look, before: Counted) -> Counted:
    """What was counted since ``before``, when the engine runs nothing and counts nothing any more."""
    after = await idle(look)
    await asyncio.sleep(STILL_S)
    assert await look() == after
    return replace(after, completion=after.completion - before.completion, prompt=after.prompt - before.prompt)


async def metrics(url: str, *names: str) -> list[int]:
    """The sums of some Prometheus metrics of a server."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        assert response.status == 200
        lines = (await response.text()).splitlines()
    return [sum(int(float(line.split()[-1])) for line in lines if re.match(rf"{name}[ {{]", line)) for name in names]
