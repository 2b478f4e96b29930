"""What /v1/chat/completions and /v1/completions have in common: events, counts, finish reasons, errors.

An event is written once per token, so all of it but the text is encoded once per candidate and kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from taut.core import Kind, Piece
from taut.gateway.nouns import Head, Outcome, Problem, Receipt, Spent
from taut.messages import ToolCall

DONE = b"data: [DONE]\n\n"
encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Envelope:
    """The constant fields of a reply: the same in every event, and in the whole."""

    head: Head
    prefix: str
    """Of the id, e.g. ``chatcmpl-``."""
    object: str
    has_usage: bool = False
    """The counts come with the last event; all others say null, as OpenAI's do."""

    @property
    def opening(self) -> bytes:
        """An event up to its list of choices."""
        return b"data: " + encode(self.fields)[:-1] + b',"choices":['

    @property
    def closing(self) -> bytes:
        """An event from the end of its list of choices."""
        return b'],"usage":null}\n\n' if self.has_usage else b"]}\n\n"

    @property
    def fields(self) -> dict[str, Any]:
        """As in the whole reply."""
        return {
            "id": f"{self.prefix}{self.head.id}",
            "object": self.object,
            "created": self.head.created_s,
            "model": self.head.model,
        }

    def event(self, choices: Sequence[Any], **further: Any) -> bytes:
        """One event with further fields on the outside, e.g. ``usage``."""
        usage = {"usage": None} if self.has_usage else {}
        return b"data: " + encode({**self.fields, "choices": choices, **usage, **further}) + b"\n\n"

    def last(self, choices: Sequence[Mapping[str, Any]], spent: Spent, receipt: Receipt) -> bytes:
        """The events that end a good stream: each candidate's last one, the counts if asked for, the end mark.

        The receipt is on the last candidate's event, and on the one with the counts, which some clients drop.
        """
        told: dict[str, Any] = {"taut": dict(receipt)}
        events = [self.event([choice]) for choice in choices[:-1]]
        events.append(self.event(choices[-1:], **told))
        if self.has_usage:
            events.append(self.event([], usage=usage(spent), **told))
        return b"".join((*events, DONE))


class Numbering:
    """Puts the parts of one candidate's tool calls into the form that clients can add up.

    Servers leave ``index`` out, which clients cannot do without, or repeat the name with every part, which clients
    would string together. The parts mean the same to `taut.messages.whole_tool_calls` before and after.
    """

    def __init__(self) -> None:
        self._told: dict[int, set[str]] = {}
        self._last = -1

    def numbered(self, delta: ToolCall) -> ToolCall:
        """The part with its ``index``, and without what was told before."""
        index = delta.get("index")
        if not isinstance(index, int):
            index = len(self._told) if delta.get("id") or self._last < 0 else self._last
        self._last = index
        told = self._told.setdefault(index, set())
        part = {**_news(delta, told, ("id", "type")), "index": index}
        if isinstance(delta.get("function"), Mapping):
            part["function"] = _news(delta["function"], told, ("name",))
        return part


def _news(delta: Mapping[str, Any], told: set[str], once: tuple[str, ...]) -> dict[str, Any]:
    news = {key: value for key, value in delta.items() if key not in told or key not in once}
    told.update(key for key in once if news.get(key))
    return news


def runs(pieces: Sequence[Piece]) -> Iterator[tuple[Kind, str, list[ToolCall]]]:
    """Pieces that came together as few as possible: the texts of one kind joined; tool calls end such a run."""
    kind: Kind = "answer"
    texts: list[str] = []
    for piece in pieces:
        if texts and (piece.kind != kind or piece.tool_calls):
            yield kind, "".join(texts), []
            texts = []
        kind = piece.kind
        if piece.text:
            texts.append(piece.text)
        if piece.tool_calls:
            yield kind, "".join(texts), list(piece.tool_calls)
            texts = []
    if texts:
        yield kind, "".join(texts), []


def reasoning_fields(thinking: str) -> dict[str, str]:
    """Thinking under both names that clients look for; none where there is none."""
    return {"reasoning": thinking, "reasoning_content": thinking} if thinking else {}


def finish_reason(outcome: Outcome) -> str:
    """Why a candidate ended, in OpenAI's words: a cancelled or failed one says ``stop``, and the receipt the rest.

    Tool calls that were cut by the ceiling are ``length``: clients run the calls of ``tool_calls`` unseen.
    """
    trace = outcome.trace
    if trace.finish == "length":
        return "length"
    return "tool_calls" if trace.tool_calls else "stop"


def usage(spent: Spent) -> dict[str, Any]:
    """The counts in OpenAI's form; what is estimated is marked in the details."""
    details: dict[str, Any] = {"reasoning_tokens": spent.reasoning}
    if spent.reasoning_estimated:
        details["reasoning_tokens_estimated"] = True
    if spent.completion_estimated:
        details["completion_tokens_estimated"] = True
    return {
        "prompt_tokens": spent.prompt,
        "completion_tokens": spent.completion,
        "total_tokens": spent.prompt + spent.completion,
        "prompt_tokens_details": {"cached_tokens": spent.cached},
        "completion_tokens_details": details,
    }


def problem(problem: Problem) -> dict[str, Any]:
    """The body of an error in OpenAI's form; ``code`` is the status, which a stream has no other place for."""
    return {
        "error": {
            "message": str(problem),
            "type": problem.code,
            "code": str(problem.status),
            "param": problem.param,
        }
    }


def comment(note: str) -> bytes:
    """A line of an event stream that clients skip."""
    return f": taut {' '.join(note.split())}\n\n".encode(errors="replace")


def failure(what: Problem, spent: Spent, receipt: Receipt) -> bytes:
    """The end of a stream that cannot be finished."""
    told = {**problem(what), "usage": usage(spent), "taut": dict(receipt)}
    return b"data: " + encode(told) + b"\n\n" + DONE
