"""Chat messages in OpenAI's form, tool calls included: plain dictionaries, unknown keys pass through untouched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Message = dict[str, Any]
"""One chat message in OpenAI's form; unknown keys pass through untouched."""
ToolCall = Mapping[str, Any]
"""In OpenAI's form ``{"id", "type", "function": {"name", "arguments"}}``; while streaming, parts of it by ``index``."""

FORM_FIELDS = frozenset(
    {"response_format", "structured_outputs", "json_schema", "grammar", "regex", "ebnf"}
    | {f"guided_{kind}" for kind in ("json", "regex", "choice", "grammar")}
)
"""Request fields that hold every token to a form: OpenAI's, vLLM's new and old ones, llama.cpp's and SGLang's."""

TOOL_FIELDS = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")
"""Fields of a request that let its reply call tools."""


def text_of(message: Message) -> str:
    """The text of a message, whose content may be a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
    return ""


def append_text(message: Message, text: str) -> Message:
    """The message with ``text`` at its end."""
    content = message.get("content")
    if isinstance(content, list):
        return {**message, "content": [*content, {"type": "text", "text": text.strip()}]}
    return {**message, "content": f"{content or ''}{text}"}


def why_not_raw(messages: Iterable[Message], fields: Mapping[str, Any]) -> str | None:
    """What in a conversation has no place in a raw completion; ``None`` if nothing."""
    if fields.get("tools"):
        return "a request with tools"
    for message in messages:
        content = message.get("content")
        if message.get("tool_calls") or message.get("role") == "tool":
            return "a conversation with tool calls"
        if isinstance(content, list) and any(part.get("type") != "text" for part in content):
            return "a message with parts other than text"
    return None


def without_form(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request without those that hold its reply to a form."""
    return {key: value for key, value in fields.items() if key not in FORM_FIELDS or not _is_form(value)}


def for_side_call(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request without those that are for its answer alone: forms and tools."""
    return {key: value for key, value in without_form(fields).items() if key not in TOOL_FIELDS}


def _is_form(value: Any) -> bool:
    return value is not None and not (isinstance(value, Mapping) and value.get("type") == "text")


def whole_tool_calls(deltas: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    """Tool calls put together from their streamed parts: names and identifiers come once, arguments piece by piece.

    A part without an ``index`` belongs to the call begun last, unless it has an ``id`` of its own.
    """
    calls: dict[int, dict[str, Any]] = {}
    last = -1
    for delta in deltas:
        index = delta.get("index")
        if not isinstance(index, int):
            index = len(calls) if delta.get("id") or last < 0 else last
        last = index
        call = calls.setdefault(index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        _add(call, delta)
    return tuple(calls[index] for index in sorted(calls))


def _add(call: dict[str, Any], delta: ToolCall) -> None:
    function = delta.get("function")
    call["id"] = delta.get("id") or call["id"]
    if isinstance(function, Mapping):
        call["function"]["name"] = function.get("name") or call["function"]["name"]
        arguments = function.get("arguments")
        call["function"]["arguments"] += arguments if isinstance(arguments, str) else ""
    for key, value in delta.items():
        if key not in ("index", "id", "type", "function"):
            call[key] = value
