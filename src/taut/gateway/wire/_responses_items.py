"""The items of a Responses reply, and how each kind of block is written as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from taut.gateway.wire._blocks import Block, BlockKind


@dataclass(frozen=True, slots=True)
class Form:
    """How one kind of block is written."""

    type: str
    """Of the item."""
    prefix: str
    """Of the item's id."""
    text_event: str
    """The events of the text are this and ``.delta`` or ``.done``."""
    part_event: str = ""
    """The events of the item's only part are this and ``.added`` or ``.done``; empty for a call, which has none."""
    part: str = ""
    """Type of that part."""
    part_fields: Mapping[str, Any] = field(default_factory=dict)
    place: Mapping[str, int] = field(default_factory=dict)
    """Which part of the item an event is about."""
    text_fields: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the text's events."""
    lists: tuple[str, ...] = ()
    """The item's fields that hold parts; the first has ours, the others stay empty."""
    item_fields: Mapping[str, Any] = field(default_factory=dict)

    def part_of(self, text: str) -> dict[str, Any]:
        """The part."""
        return {"type": self.part, "text": text, **self.part_fields}


ANSWER = Form(
    type="message",
    prefix="msg",
    text_event="response.output_text",
    part_event="response.content_part",
    part="output_text",
    part_fields={"annotations": [], "logprobs": []},
    place={"content_index": 0},
    text_fields={"logprobs": []},
    lists=("content",),
    item_fields={"role": "assistant"},
)
CALL = Form(type="function_call", prefix="fc", text_event="response.function_call_arguments")
THINKING = Form(
    type="reasoning",
    prefix="rs",
    text_event="response.reasoning_text",
    part_event="response.content_part",
    part="reasoning_text",
    place={"content_index": 0},
    lists=("content", "summary"),
)
SUMMARY = Form(
    type="reasoning",
    prefix="rs",
    text_event="response.reasoning_summary_text",
    part_event="response.reasoning_summary_part",
    part="summary_text",
    place={"summary_index": 0},
    lists=("summary",),
)
"""Thinking in the place of its summary, for clients that asked for one: many of them show nothing else."""

Forms = Mapping[BlockKind, Form]


def forms(document: Mapping[str, Any]) -> Forms:
    """The forms that a request's reply is written in."""
    reasoning = document.get("reasoning") or {}
    is_summary_asked = bool(reasoning.get("summary") or reasoning.get("generate_summary"))
    return {"answer": ANSWER, "call": CALL, "thinking": SUMMARY if is_summary_asked else THINKING}


def item_id(form: Form, block: Block, reply_id: str) -> str:
    """The id of a block's item."""
    return f"{form.prefix}_{reply_id}_{block.number}"


def item(form: Form, block: Block, reply_id: str, status: str) -> dict[str, Any]:
    """A block as an item; empty while its ``status`` is ``in_progress``."""
    is_empty = status == "in_progress"
    fields: dict[str, Any] = {**form.item_fields}
    if block.kind == "call":
        # A call is known by this id in the tool's result, so there has to be one.
        fields = {"call_id": block.id or f"call_{reply_id}_{block.number}", "name": block.name}
        fields["arguments"] = "" if is_empty else block.text
    for position, name in enumerate(form.lists):
        fields[name] = [] if is_empty or position else [form.part_of(block.text)]
    return {"id": item_id(form, block, reply_id), "type": form.type, **fields, "status": status}
