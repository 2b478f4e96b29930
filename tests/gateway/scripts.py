"""What the models behind the gateway say in the tests with real clients, and the questions they are asked."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from taut.engines.fake import FakeEngine, Scripted
from taut.engines.openai import OpenAIEngine
from tests.engines.fake_upstream import DONE, MODEL, FakeUpstream, Reply, chat, event, usage

THINKING = "Let me add one and two."
THINKING_TOKENS = 6
"""The fake engine's token is a word."""
ANSWER = "It is 3."
ANSWER_TOKENS = 3
QUESTION: list[dict[str, Any]] = [{"role": "user", "content": "What is 1 + 2?"}]
PICTURE = "data:image/png;base64,iVBORw0KGgo="
LOOKING: list[dict[str, Any]] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PICTURE}},
        ],
    }
]
SUM_SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
SUM_FORMAT = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SUM_SCHEMA}}
NUMBERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
KEY = "taut-of-alice"
KEYS = {"alice": {"hash": f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"}}
ADD_TOOL = {
    "type": "function",
    # OpenAI's stream helper of version 2 takes strict tools only.
    "function": {"name": "add", "description": "Adds.", "parameters": NUMBERS, "strict": True},
}
ARGUMENTS = '{"a": 1, "b": 2}'


def thinker() -> FakeEngine:
    """Thinks `THINKING`, unless it is told not to, and answers `ANSWER`, whatever it is asked."""
    return FakeEngine(script=lambda request: Scripted("" if request.prompt.think is False else THINKING, ANSWER))


def reasoned(*, finish: str = "stop") -> Reply:
    """A stream with thinking in a field of its own: 2 tokens of thinking, 2 of the answer."""
    texts = [chat(role="assistant"), chat(reasoning_content="Let me "), chat(reasoning_content="add.")]
    texts += [chat("It is "), chat("3."), chat(finish=finish)]
    counts = usage(10, 4, completion_tokens_details={"reasoning_tokens": 2})
    return Reply([*map(event, texts), event(counts), DONE])


def tool_called() -> Reply:
    """A stream that calls `ADD_TOOL`, its arguments in three parts."""
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}}
    parts = [ARGUMENTS[:4], ARGUMENTS[4:9], ARGUMENTS[9:]]
    deltas = [[first]] + [[{"index": 0, "function": {"arguments": part}}] for part in parts]
    chunks = [chat(role="assistant")] + [chat(tool_calls=delta) for delta in deltas] + [chat(finish="tool_calls")]
    return Reply([*map(event, chunks), event(usage(10, 8)), DONE])


def whole_tool_call() -> Reply:
    """The same as one document."""
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": ARGUMENTS}}
    return document({"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls")


def document(message: dict[str, Any], finish: str = "stop") -> Reply:
    """A reply that is not streamed: 10 prompt tokens, 4 completion tokens."""
    choice = {"index": 0, "message": message, "finish_reason": finish}
    counts = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice], "usage": counts}
    return Reply([json.dumps(body).encode()], content_type="application/json")


def said(text: str) -> Reply:
    """A stream with one piece of text."""
    return Reply([event(chat(text)), event(chat(finish="stop")), event(usage(10, 1)), DONE])


def endless() -> Reply:
    """Three tokens, and then nothing more for an hour."""
    return Reply([event(chat(text)) for text in ("It ", "is ", "well, ")], then="hang")


def broken_off() -> Reply:
    """Two tokens, then the connection is cut."""
    return Reply([event(chat("It ")), event(chat("is "))], then="cut", pause_s=0.05)


def refused(status: int, message: str = "not today") -> Reply:
    """A refusal with a reason."""
    return Reply([json.dumps({"error": {"message": message}}).encode()], status=status, content_type="application/json")


@asynccontextmanager
async def upstream(*replies: Reply) -> AsyncIterator[tuple[FakeUpstream, OpenAIEngine]]:
    """A server that gives these replies, the last one again and again, and the engine in front of it."""
    async with FakeUpstream(replies) as server:
        engine = await OpenAIEngine.open(server.url, max_retries=0)
        try:
            yield server, engine
        finally:
            await engine.close()


async def until(holds: Callable[[], bool], limit_s: float = 5.0) -> None:
    """Wait until something holds; fails after ``limit_s`` seconds."""
    async with asyncio.timeout(limit_s):
        while not holds():
            await asyncio.sleep(0.005)
