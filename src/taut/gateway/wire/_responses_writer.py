"""Writing a reply as OpenAI's Responses: items, their parts, and numbered events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taut.core import Piece, Trace
from taut.gateway.nouns import Ask, Head, Outcome, Problem, Receipt, Spent
from taut.gateway.wire._blocks import Block, Blocks, Step, blocks_of
from taut.gateway.wire._events import comment, encode
from taut.gateway.wire._named import event
from taut.gateway.wire._responses_items import forms, item, item_id

STATUS = {"length": "incomplete", "cancelled": "incomplete", "error": "failed"}
"""By how the trace ended; ``completed`` otherwise."""
TOO_MANY_REQUESTS = 429


class Writer:
    """Writes one reply; see `taut.gateway.nouns.Writer`. Only the first candidate is written: the protocol has one."""

    def __init__(self, head: Head, ask: Ask) -> None:
        self.content_type = "text/event-stream" if ask.stream else "application/json"
        self._id = head.id
        self._forms = forms(ask.document)
        self._frame = _frame(head, ask.document)
        self._shows_thinking = not ask.wish.exclude
        self._blocks = Blocks(show_thinking=self._shows_thinking)
        self._sequence = 0
        self._delta = b""

    def begin(self) -> bytes:
        """``response.created`` and ``response.in_progress``."""
        names = ("response.created", "response.in_progress")
        return b"".join(self._event(name, response=self._frame) for name in names)

    def pieces(self, index: int, pieces: Sequence[Piece]) -> bytes:
        """New pieces; those of further candidates are left out."""
        return b"" if index else self._write(self._blocks.add(pieces))

    def keep_alive(self, note: str) -> bytes:
        """A comment."""
        return comment(note)

    def end(self, outcomes: Sequence[Outcome], spent: Spent, receipt: Receipt) -> bytes:
        """The items' ends and ``response.completed``, or ``response.incomplete`` where the answer was cut."""
        trace = outcomes[0].trace
        written = self._write(self._blocks.finish(trace), _last_status(trace))
        response = self._ended(trace, self._blocks.told, spent, receipt)
        return written + self._event(f"response.{response['status']}", response=response)

    def fail(self, problem: Problem, spent: Spent, receipt: Receipt) -> bytes:
        """``response.failed`` with what had come so far."""
        # OpenAI's clients know a short list of codes here: being asked to slow down, and everything else.
        code = "rate_limit_exceeded" if problem.status == TOO_MANY_REQUESTS else "server_error"
        told = {"status": "failed", "error": {"code": code, "message": str(problem)}}
        items = self._items(self._blocks.told, "incomplete")
        response = {**self._frame, **told, "output": items, **_paid(spent, receipt)}
        return self._event("response.failed", response=response)

    def whole(self, outcomes: Sequence[Outcome], spent: Spent, receipt: Receipt) -> bytes:
        """The response object."""
        trace = outcomes[0].trace
        return encode(self._ended(trace, blocks_of(trace, show_thinking=self._shows_thinking), spent, receipt))

    def _ended(self, trace: Trace, blocks: Sequence[Block], spent: Spent, receipt: Receipt) -> dict[str, Any]:
        told: dict[str, Any] = {"status": STATUS.get(trace.finish or "stop", "completed")}
        if trace.finish == "length":
            told["incomplete_details"] = {"reason": "max_output_tokens"}
        if trace.finish == "error":
            told["error"] = {"code": "server_error", "message": trace.error or "the request failed"}
        items = self._items(blocks, _last_status(trace))
        return {**self._frame, **told, "output": items, **_paid(spent, receipt)}

    def _items(self, blocks: Sequence[Block], last: str) -> list[dict[str, Any]]:
        statuses = ["completed"] * (len(blocks) - 1) + [last]
        return [
            item(self._forms[block.kind], block, self._id, status)
            for block, status in zip(blocks, statuses, strict=False)
        ]

    def _write(self, steps: Sequence[Step], last: str = "completed") -> bytes:
        written = []
        for position, (what, block, text) in enumerate(steps, start=1):
            if what == "add":
                written.append(self._add(text))
            elif what == "open":
                written.append(self._open(block))
            else:
                written.append(self._close(block, last if position == len(steps) else "completed"))
        return b"".join(written)

    def _open(self, block: Block) -> bytes:
        form = self._forms[block.kind]
        place = {"item_id": item_id(form, block, self._id), "output_index": block.number, **form.place}
        # What is the same in every delta of the block is encoded once: this runs for every token.
        name = f"{form.text_event}.delta"
        fields = encode({"type": name, **place, **form.text_fields})
        self._delta = b"event: %b\ndata: %b" % (name.encode(), fields[:-1])
        opened = self._event(
            "response.output_item.added",
            output_index=block.number,
            item=item(form, block, self._id, "in_progress"),
        )
        if form.part:
            opened += self._event(f"{form.part_event}.added", **place, part=form.part_of(""))
        return opened

    def _add(self, text: str) -> bytes:
        self._sequence += 1
        return b'%b,"sequence_number":%d,"delta":%b}\n\n' % (self._delta, self._sequence - 1, encode(text))

    def _close(self, block: Block, status: str) -> bytes:
        form = self._forms[block.kind]
        place = {"item_id": item_id(form, block, self._id), "output_index": block.number, **form.place}
        whole = {"text" if form.part else "arguments": block.text}
        closed = self._event(f"{form.text_event}.done", **place, **form.text_fields, **whole)
        if form.part:
            closed += self._event(f"{form.part_event}.done", **place, part=form.part_of(block.text))
        done = item(form, block, self._id, status)
        return closed + self._event("response.output_item.done", output_index=block.number, item=done)

    def _event(self, name: str, **fields: Any) -> bytes:
        self._sequence += 1
        return event(name, {"type": name, "sequence_number": self._sequence - 1, **fields})


def _last_status(trace: Trace) -> str:
    """Of the last item: what came before it is whole, even in a reply that is not."""
    return "incomplete" if trace.finish in STATUS else "completed"


def _paid(spent: Spent, receipt: Receipt) -> dict[str, Any]:
    details: dict[str, Any] = {"reasoning_tokens": spent.reasoning}
    if spent.reasoning_estimated:
        details["reasoning_tokens_estimated"] = True
    if spent.completion_estimated:
        details["output_tokens_estimated"] = True
    usage = {
        "input_tokens": spent.prompt,
        "input_tokens_details": {"cached_tokens": spent.cached, "cache_write_tokens": 0},
        "output_tokens": spent.completion,
        "output_tokens_details": details,
        "total_tokens": spent.prompt + spent.completion,
    }
    return {"usage": usage, "taut": dict(receipt)}


def _frame(head: Head, document: Mapping[str, Any]) -> dict[str, Any]:
    """What every response object of one reply has: itself, and the request's parameters as they were asked for."""
    asked = document.get
    reasoning = asked("reasoning") or {}
    return {
        "id": f"resp_{head.id}",
        "object": "response",
        "created_at": head.created_s,
        "status": "in_progress",
        "model": head.model,
        "output": [],
        "error": None,
        "incomplete_details": None,
        "usage": None,
        "instructions": asked("instructions"),
        "max_output_tokens": asked("max_output_tokens"),
        "max_tool_calls": asked("max_tool_calls"),
        "metadata": asked("metadata") or {},
        "parallel_tool_calls": asked("parallel_tool_calls") is not False,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "temperature": asked("temperature"),
        "text": {"format": {"type": "text"}, **(asked("text") or {})},
        "tool_choice": asked("tool_choice") or "auto",
        "tools": asked("tools") or [],
        "top_p": asked("top_p"),
        "user": asked("user"),
        # Told as they are here, whatever was asked: nothing is stored, and no conversation is shortened.
        "background": False,
        "previous_response_id": None,
        "store": False,
        "truncation": "disabled",
    }
