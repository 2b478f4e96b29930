"""One question to the engine in front of a fake server."""

from __future__ import annotations

from typing import Any

import pytest

from taut.core import Piece, Prompt, Request, Sampling, Streamed
from taut.engines.openai import OpenAIEngine
from taut.errors import EngineError
from tests.engines.fake_upstream import FakeUpstream, Reply, stream_of

QUESTION = ({"role": "user", "content": "What is 2+3?"},)
ASK = Request(Prompt(QUESTION), Sampling(max_tokens=50))
GOOD = Reply(stream_of(["The", " sum", " is 5"]))
BUSY = Reply([b'{"error": {"message": "busy"}}'], status=503, content_type="application/json")


async def collect(engine: OpenAIEngine, request: Request = ASK) -> list[Streamed]:
    return [item async for item in engine.stream(request)]


def text_of(items: list[Streamed]) -> str:
    return "".join(item.text for item in items if isinstance(item, Piece))


async def ask(*replies: Reply, request: Request = ASK, **options: Any) -> tuple[list[Streamed], FakeUpstream]:
    """One question to a fresh server and engine."""
    async with FakeUpstream(replies) as server:
        engine = await OpenAIEngine.open(server.url, **options)
        try:
            return await collect(engine, request), server
        finally:
            await engine.close()


async def fail(*replies: Reply, request: Request = ASK, **options: Any) -> EngineError:
    """The error that one question to a fresh server ends in."""
    with pytest.raises(EngineError) as caught:
        await ask(*replies, request=request, **options)
    return caught.value
