"""What the tests of the wire formats share: replies made by hand, reading events, a server that sends given bytes."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import BaseModel

from taut.core import Finish, Piece, Task, Trace
from taut.gateway.nouns import Ask, Head, Outcome, Problem, Receipt, Spent, Writer
from taut.messages import ToolCall, whole_tool_calls

HEAD = Head(id="r1", created_s=1_700_000_000, model="budget(512)")
SPENT = Spent(prompt=11, cached=4, completion=20, reasoning=7)
RECEIPT: Receipt = {"preset": "budget", "enforced": True}

THINKING = (Piece("thinking", "Two and two"), Piece("thinking", " make four."))
ANSWER = (Piece("answer", "It is "), Piece("answer", "4."))
WEATHER: tuple[ToolCall, ...] = (
    {"index": 0, "id": "call_a", "type": "function", "function": {"name": "weather", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"city":'}},
    {"index": 0, "function": {"arguments": ' "Oslo"}'}},
)
"""One call in three parts, as OpenAI's servers write it."""
CLOCK: tuple[ToolCall, ...] = (
    {"index": 1, "id": "call_b", "type": "function", "function": {"name": "clock", "arguments": "{"}},
    {"index": 1, "function": {"arguments": "}"}},
)


def calling(*deltas: ToolCall) -> tuple[Piece, ...]:
    """One piece a part."""
    return tuple(Piece("answer", "", tool_calls=(delta,)) for delta in deltas)


def outcome_of(pieces: Sequence[Piece], finish: Finish = "stop") -> Outcome:
    """The outcome of a candidate that wrote these pieces."""
    trace = Trace(task=Task("t", ()), preset="budget", finish=finish)
    trace.thinking = "".join(piece.text for piece in pieces if piece.kind == "thinking")
    trace.answer = "".join(piece.text for piece in pieces if piece.kind == "answer")
    trace.tool_calls = whole_tool_calls(delta for piece in pieces for delta in piece.tool_calls)
    return Outcome(0, trace)


def streamed(writer: Writer, pieces: Sequence[Piece], finish: Finish = "stop", *, spent: Spent = SPENT) -> bytes:
    """A whole good stream, one piece at a time."""
    told = [writer.begin(), *(writer.pieces(0, [piece]) for piece in pieces)]
    return b"".join((*told, writer.end([outcome_of(pieces, finish)], spent, RECEIPT)))


def events(stream: bytes) -> list[dict[str, Any]]:
    """The documents of a stream's events; every event is to say its document's type as its name."""
    found = []
    for block in stream.decode().removesuffix("\n\n").split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        if not lines:
            continue
        name, data = lines
        document = json.loads(data.removeprefix("data: "))
        assert name == f"event: {document['type']}"
        found.append(document)
    return found


def unknown_fields(model: Any) -> set[str]:
    """Fields that a package's type does not know, at any depth."""
    return set(_unknown_fields(model))


def _unknown_fields(value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _unknown_fields(one)
    if isinstance(value, BaseModel):
        yield from value.model_extra or ()
        for name in value.model_fields_set:
            yield from _unknown_fields(getattr(value, name, None))


@asynccontextmanager
async def serving(path: str, body: bytes, *, content_type: str, status: int = 200) -> AsyncIterator[str]:
    """A server that answers every POST to ``path`` with ``body`` in small parts; yields its URL."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(status=status, headers={"Content-Type": content_type})
        await response.prepare(request)
        for start in range(0, len(body), 97):
            await response.write(body[start : start + 97])
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_post(path, answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/")).rstrip("/")


ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**30, "", "x", [], [None], [[]], ["x"], {}, [{}], {"a": "b"}),
    *({"type": []}, {"type": {}}, [{"type": []}], [{"name": []}]),
)


def spoilt(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The document with every odd value in every place, one at a time."""
    for path in _paths(document, ()):
        for odd in ODD:
            changed = copy.deepcopy(document)
            at: Any = changed
            for name in path[:-1]:
                at = at[name]
            at[path[-1]] = odd
            yield changed


def read_or_problem(read: Callable[[dict[str, Any]], Ask], document: dict[str, Any]) -> Ask | Problem:
    """What was read, or why it was not; any other exception is a fault."""
    try:
        return read(document)
    except Problem as problem:
        return problem


def _paths(value: Any, above: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if above:
        yield above
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, below in inner:
        yield from _paths(below, (*above, name))


def check_expected(file: str, found: Sequence[dict[str, Any]]) -> None:
    """Compare events with a file written by hand: a line an event, its type and then ``path=value`` of some fields."""
    lines = (Path(__file__).parent / "expected" / file).read_text(encoding="utf-8").splitlines()
    assert [document["type"] for document in found] == [line.split(" ", 1)[0] for line in lines]
    for line, document in zip(lines, found, strict=True):
        # A value may hold spaces: the next path is what ends it.
        for path, value in re.findall(r" ([a-z_.]+)=(.*?)(?=(?: [a-z_.]+=)|$)", line):
            assert str(_at(document, path)) == value, line


def _at(document: dict[str, Any], path: str) -> Any:
    at: Any = document
    for name in path.split("."):
        at = at[name]
    return at
