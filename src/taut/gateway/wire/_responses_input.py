"""Reading a Responses request's items, tools and formats: what they are in OpenAI's chat form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from taut.core import Message
from taut.errors import nearest
from taut.gateway.nouns import Problem
from taut.gateway.wire._fields import Document, choice, mapping, shown, text, wrong
from taut.gateway.wire._named import needed

ROLES = ("user", "assistant", "system", "developer")
CHOICES = ("auto", "none", "required")


def read_messages(document: Document) -> tuple[Message, ...]:
    """``instructions`` and ``input`` as a conversation. Raises `Problem`.

    Neighbouring function calls become one assistant message, together with the text before them. Reasoning items are
    left out: most chat templates drop the thinking of earlier turns, and encrypted ones cannot be read here.
    """
    messages: list[Message] = []
    instructions = text(document, "instructions")
    if instructions:
        messages.append({"role": "system", "content": instructions})
    for message in _conversation(document.get("input")):
        calls = message.get("tool_calls")
        if calls and messages and messages[-1]["role"] == "assistant":
            messages[-1]["tool_calls"] = [*messages[-1].get("tool_calls", ()), *calls]
        else:
            messages.append(message)
    return tuple(messages)


def _conversation(given: Any) -> list[Message]:
    if isinstance(given, str) and given:
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise wrong("input", "a string that is not empty, or a list of at least one item", given)
    messages = [_item(item, f"input[{index}]") for index, item in enumerate(given)]
    kept = [message for message in messages if message is not None]
    if not kept:
        raise Problem("input holds reasoning items only: it needs at least one message", param="input")
    return kept


def _item(item: Any, where: str) -> Message | None:
    if not isinstance(item, dict):
        raise wrong(where, "an object such as a message", item)
    kind = item.get("type")
    if kind is None and "role" in item:
        kind = "message"
    if kind == "item_reference":
        raise Problem(f"{where} refers to an item, but nothing is stored here: send the item itself", param=where)
    read = _ITEMS.get(kind) if isinstance(kind, str) else None
    if read is None:
        hint = nearest(kind, _ITEMS) if isinstance(kind, str) else ""
        raise wrong(f"{where}.type", f"one of {', '.join(_ITEMS)}{hint}", kind)
    return read(item, where)


def _message(item: Document, where: str) -> Message:
    role = choice({"role": item.get("role") or ""}, "role", ROLES, within=where) or "user"
    content = _content(item.get("content"), f"{where}.content")
    if role == "assistant" and isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content)
    return {"role": role, "content": content}


def _function_call(item: Document, where: str) -> Message:
    function = {"name": needed(item, "name", where), "arguments": needed(item, "arguments", where, may_be_empty=True)}
    call = {"id": needed(item, "call_id", where), "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _function_call_output(item: Document, where: str) -> Message:
    content = _content(item.get("output"), f"{where}.output")
    return {"role": "tool", "tool_call_id": needed(item, "call_id", where), "content": content}


def _reasoning(item: Document, where: str) -> None:
    return None


_ITEMS: Mapping[str, Callable[[Document, str], Message | None]] = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _function_call_output,
    "reasoning": _reasoning,
}


def _content(given: Any, where: str) -> str | list[dict[str, Any]]:
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise wrong(where, "a string or a list of parts", given)
    parts = [_part(part, f"{where}[{index}]") for index, part in enumerate(given)]
    # A lone text as a string: that is the one form that every chat template can do.
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts or ""


def _part(part: Any, where: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise wrong(where, 'an object such as {"type": "input_text", "text": "…"}', part)
    kind = part.get("type")
    read = _PARTS.get(kind) if isinstance(kind, str) else None
    if read is None:
        hint = nearest(kind, _PARTS) if isinstance(kind, str) else ""
        raise wrong(f"{where}.type", f"one of {', '.join(_PARTS)}{hint}", kind)
    return read(part, where)


def _text(part: Document, where: str) -> dict[str, Any]:
    return {"type": "text", "text": needed(part, "text", where, may_be_empty=True)}


def _refusal(part: Document, where: str) -> dict[str, Any]:
    return {"type": "text", "text": needed(part, "refusal", where, may_be_empty=True)}


def _image(part: Document, where: str) -> dict[str, Any]:
    if part.get("file_id"):
        raise Problem(f"{where}.file_id cannot be read, as no files are stored here: send image_url", param=where)
    image = {"url": needed(part, "image_url", where)}
    detail = text(part, "detail", within=where)
    return {"type": "image_url", "image_url": {**image, "detail": detail} if detail else image}


def _file(part: Document, where: str) -> dict[str, Any]:
    if not part.get("file_data"):
        raise Problem(f"{where} has no file_data, and no files are stored or fetched here: send its data", param=where)
    file = {"file_data": needed(part, "file_data", where)}
    name = text(part, "filename", within=where)
    return {"type": "file", "file": {**file, "filename": name} if name else file}


def _audio(part: Document, where: str) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": mapping(part, "input_audio", within=where)}


_PARTS: Mapping[str, Callable[[Document, str], dict[str, Any]]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


def read_tools(document: Document) -> dict[str, Any]:
    """``tools`` and ``tool_choice`` in chat form, where they are given. Raises `Problem`."""
    given = document.get("tools")
    if given is not None and not isinstance(given, list):
        raise wrong("tools", "a list of functions", given)
    tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(given or ())]
    chosen = document.get("tool_choice")
    if isinstance(chosen, Mapping) and chosen.get("type") == "allowed_tools":
        tools, chosen = _allowed(tools, chosen)
    fields = {"tools": tools, "tool_choice": _tool_choice(chosen)}
    return {name: value for name, value in fields.items() if value}


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise wrong(where, "an object", tool)
    if tool.get("type") != "function":
        raise Problem(
            f"{where}.type is {shown(tool.get('type'))}, but only 'function' is possible: no tools are run here",
            param=f"{where}.type",
        )
    needed(tool, "name", where)
    mapping(tool, "parameters", within=where)
    kept = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {key: tool[key] for key in kept if tool.get(key) is not None}}


def _tool_choice(chosen: Any) -> Any:
    if isinstance(chosen, Mapping) and chosen.get("type") == "function":
        return {"type": "function", "function": {"name": needed(chosen, "name", "tool_choice")}}
    if chosen is None or (isinstance(chosen, str) and chosen in CHOICES):
        return chosen
    right = f'one of {", ".join(CHOICES)}, {{"type": "function", "name": …}} or {{"type": "allowed_tools", …}}'
    raise wrong("tool_choice", right, chosen)


def _allowed(tools: list[dict[str, Any]], chosen: Document) -> tuple[list[dict[str, Any]], str | None]:
    """Only the allowed tools are shown to the model: servers behind the gateway do not know this kind of choice."""
    allowed = chosen.get("tools")
    if not isinstance(allowed, list) or not all(isinstance(one, dict) for one in allowed):
        raise wrong("tool_choice.tools", "a list of objects with a name", allowed)
    names = [one.get("name") for one in allowed]
    mode = choice(chosen, "mode", ("auto", "required"), within="tool_choice")
    return [tool for tool in tools if tool["function"]["name"] in names], mode


def read_text(document: Document) -> dict[str, Any]:
    """``text`` as ``response_format`` and ``verbosity``, where it is given. Raises `Problem`."""
    given = mapping(document, "text") or {}
    verbosity = text(given, "verbosity", within="text")
    fields = {"verbosity": verbosity} if verbosity else {}
    form = mapping(given, "format", within="text") or {"type": "text"}
    kind = choice(form, "type", ("text", "json_object", "json_schema"), within="text.format")
    if kind == "json_object":
        return {**fields, "response_format": {"type": kind}}
    if kind == "json_schema":
        schema = {key: value for key, value in form.items() if key != "type"}
        return {**fields, "response_format": {"type": kind, "json_schema": schema}}
    return dict(fields)
