"""Requests, outcomes and streams made up for the tests of the wire formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from taut.core import Finish, Sampling, Task, Trace
from taut.gateway.nouns import Ask, Head, Outcome, ProtocolName, Spent, Wish

HEAD = Head(id="abc", created_s=1_700_000_000, model="concise(512)")
SPENT = Spent(prompt=11, cached=4, completion=30, reasoning=20)
RECEIPT = {"preset": "concise", "kept": True}
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def make_ask(protocol: ProtocolName = "chat", *, stream: bool = True, **changes: Any) -> Ask:
    fields: dict[str, Any] = {"messages": ({"role": "user", "content": "hi"},), "sampling": Sampling(), **changes}
    return Ask(protocol=protocol, model=HEAD.model, stream=stream, **fields)


def make_outcome(
    index: int = 0, *, thinking: str = "hmm", answer: str = "4", finish: Finish | None = "stop", **changes: Any
) -> Outcome:
    trace = Trace(task=Task("q", ()), preset="concise", thinking=thinking, answer=answer, finish=finish, **changes)
    return Outcome(index, trace)


def hidden() -> Ask:
    return make_ask(wish=Wish(exclude=True))


def events(stream: bytes) -> list[Mapping[str, Any]]:
    """The documents of an event stream; its end mark has to be there."""
    *blocks, mark, rest = stream.decode().split("\n\n")
    assert (mark, rest) == ("data: [DONE]", "")
    return [msgspec.json.decode(block.removeprefix("data: ")) for block in blocks if not block.startswith(":")]
