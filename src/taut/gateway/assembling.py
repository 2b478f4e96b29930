"""A stream of chunks put together into the document that the server would have sent in one piece.

For servers that do not notice when the client of an unstreamed call leaves: they are asked to stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from taut.engines._exchange import DONE
from taut.engines._sse import EventParser
from taut.messages import whole_tool_calls

OBJECTS = {"chat.completion.chunk": "chat.completion"}
"""What the whole of a kind of chunk is called; raw completions have one name for both."""


class Gathered:
    """Takes a stream's events in place of a client."""

    has_begun = False
    """Nothing is ever sent on before all of it is here."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._events: list[dict[str, Any]] = []

    async def write(self, data: bytes) -> None:
        """Whole events, known to be readable."""
        for payload in self._parser.feed(data):
            if payload != DONE:
                event = msgspec.json.decode(payload)
                self._events += [event] if isinstance(event, dict) else []

    def document(self) -> bytes:
        """All of it as one document."""
        return msgspec.json.encode(assemble(self._events))


def assemble(chunks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The document of which these are the chunks: texts joined, of everything else the last that was said."""
    whole: dict[str, Any] = {}
    parts: dict[int, list[Mapping[str, Any]]] = {}
    for chunk in chunks:
        whole |= {
            key: value for key, value in chunk.items() if key != "choices" and (value is not None or key not in whole)
        }
        for choice in chunk.get("choices") or ():
            parts.setdefault(choice.get("index", 0), []).append(choice)
    whole["object"] = OBJECTS.get(str(whole.get("object")), whole.get("object"))
    whole["choices"] = [_choice(index, parts[index]) for index in sorted(parts)]
    return whole


def _choice(index: int, parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    known = ("index", "delta", "text", "logprobs")
    rest = {key: value for part in parts for key, value in part.items() if key not in known and value is not None}
    logprobs = [part["logprobs"] for part in parts if part.get("logprobs")]
    if any("delta" in part for part in parts):
        said: dict[str, Any] = {"message": _message([part.get("delta") or {} for part in parts])}
    else:
        said = {"text": "".join(part.get("text") or "" for part in parts), "logprobs": None}
    found = {"logprobs": _joined(logprobs)} if logprobs else {}
    return {"index": index, **said, **found, "finish_reason": None, **rest}


def _message(deltas: list[Mapping[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    for delta in deltas:
        for key, value in delta.items():
            if key == "tool_calls" or value is None:
                continue
            before = message.get(key)
            grows = isinstance(value, str) and isinstance(before, str) and key != "role"
            message[key] = before + value if grows else value
    return {**message, "tool_calls": list(whole_tool_calls(calls))} if calls else message


def _joined(logprobs: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Lists one after the other: tokens come in order."""
    whole: dict[str, Any] = {}
    for entry in logprobs:
        for key, value in entry.items():
            whole[key] = [*whole.get(key, ()), *value] if isinstance(value, list) else whole.get(key, value)
    return whole
