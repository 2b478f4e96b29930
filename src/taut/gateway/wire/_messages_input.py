"""Reading an Anthropic request's blocks and tools: what they are in OpenAI's chat form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from taut.core import Message
from taut.errors import nearest
from taut.gateway.nouns import Problem
from taut.gateway.wire._events import encode
from taut.gateway.wire._fields import Document, boolean, choice, mapping, shown, text, wrong
from taut.gateway.wire._named import needed

ROLES = ("user", "assistant", "system")
Part = dict[str, Any]
T = TypeVar("T")


def read_messages(document: Document) -> tuple[Message, ...]:
    """``system`` and ``messages`` as a conversation. Raises `Problem`.

    Tool results become messages of the role ``tool`` ahead of the rest of their message, a failed one marked by
    ``Error:``. The thinking of earlier turns becomes ``reasoning_content``; redacted thinking cannot be read and is
    left out, and so are cache marks. A last message of the assistant stays a message: it is not continued.
    """
    given = document.get("messages")
    if not isinstance(given, list) or not given:
        raise wrong("messages", "a list of at least one message", given)
    system = _joined(_optional_blocks(document, "system", "system"), "system")
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    for index, message in enumerate(given):
        messages += _message(message, f"messages[{index}]")
    return tuple(messages)


def _message(message: Any, where: str) -> list[Message]:
    if not isinstance(message, dict):
        raise wrong(where, "an object with role and content", message)
    role = choice({"role": message.get("role") or ""}, "role", ROLES, within=where)
    blocks = _blocks(message.get("content"), f"{where}.content")
    if role == "assistant":
        return [_assistant(blocks, f"{where}.content")]
    if role == "system":
        return [{"role": "system", "content": _joined(blocks, f"{where}.content")}]
    return _user(blocks, f"{where}.content")


def _blocks(content: Any, where: str) -> list[Document]:
    """The blocks of a content, of which a string is the short form."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list):
        raise wrong(where, "a string or a list of blocks", content)
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise wrong(f"{where}[{index}]", 'an object such as {"type": "text", "text": "…"}', block)
    return content


def _optional_blocks(document: Document, name: str, where: str) -> list[Document]:
    """As `_blocks`; none where the field is missing or null."""
    content = document.get(name)
    return [] if content is None else _blocks(content, where)


def _user(blocks: list[Document], where: str) -> list[Message]:
    results: list[Message] = []
    parts: list[Part] = []
    for index, block in enumerate(blocks):
        place = f"{where}[{index}]"
        if block["type"] == "tool_result":
            results.append(_tool_result(block, place))
        else:
            parts += _parts(block, place)
    rest: list[Message] = [{"role": "user", "content": _short(parts)}] if parts or not results else []
    return results + rest


def _tool_result(block: Document, where: str) -> Message:
    parts: list[Part] = []
    for index, inner in enumerate(_optional_blocks(block, "content", f"{where}.content")):
        parts += _parts(inner, f"{where}.content[{index}]")
    if boolean(block, "is_error", within=where):
        # Chat messages have no such mark, and the model has to know.
        parts = [{"type": "text", "text": "Error:"}, *parts]
    content = _short(parts)
    if isinstance(content, list) and all(part["type"] == "text" for part in content):
        content = "\n".join(part["text"] for part in content)
    return {"role": "tool", "tool_call_id": needed(block, "tool_use_id", where), "content": content}


def _assistant(blocks: list[Document], where: str) -> Message:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    places: Mapping[str, Callable[[Document, str], None]] = {
        "text": lambda block, place: texts.append(needed(block, "text", place, may_be_empty=True)),
        "thinking": lambda block, place: thoughts.append(needed(block, "thinking", place, may_be_empty=True)),
        "redacted_thinking": lambda block, place: None,
        "tool_use": lambda block, place: calls.append(_tool_use(block, place)),
    }
    for index, block in enumerate(blocks):
        _known(places, block, f"{where}[{index}]")(block, f"{where}[{index}]")
    message: Message = {"role": "assistant", "content": "".join(texts) or (None if calls else "")}
    thinking = "".join(thoughts)
    return {
        **message,
        **({"reasoning_content": thinking} if thinking else {}),
        **({"tool_calls": calls} if calls else {}),
    }


def _tool_use(block: Document, where: str) -> dict[str, Any]:
    arguments = encode(mapping(block, "input", within=where) or {}).decode()
    function = {"name": needed(block, "name", where), "arguments": arguments}
    return {"id": needed(block, "id", where), "type": "function", "function": function}


def _parts(block: Document, where: str) -> Sequence[Part]:
    return _known(_PARTS, block, where)(block, where)


def _known(table: Mapping[str, T], block: Document, where: str) -> T:
    kind: str = block["type"]
    if kind not in table:
        raise wrong(f"{where}.type", f"one of {', '.join(table)}{nearest(kind, table)}", kind)
    return table[kind]


def _text(block: Document, where: str) -> Sequence[Part]:
    return ({"type": "text", "text": needed(block, "text", where, may_be_empty=True)},)


def _image(block: Document, where: str) -> Sequence[Part]:
    source = mapping(block, "source", within=where) or {}
    place = f"{where}.source"
    if source.get("type") == "base64":
        url = f"data:{needed(source, 'media_type', place)};base64,{needed(source, 'data', place)}"
    elif source.get("type") == "url":
        url = needed(source, "url", place)
    else:
        raise wrong(f"{place}.type", "base64 or url, as no files are stored here", source.get("type"))
    return ({"type": "image_url", "image_url": {"url": url}},)


def _document(block: Document, where: str) -> Sequence[Part]:
    source = mapping(block, "source", within=where) or {}
    place = f"{where}.source"
    if source.get("type") != "text":
        raise wrong(f"{place}.type", "text, as documents are not converted here", source.get("type"))
    title = text(block, "title", within=where)
    data = needed(source, "data", place)
    return ({"type": "text", "text": f"{title}\n\n{data}" if title else data},)


_PARTS: Mapping[str, Callable[[Document, str], Sequence[Part]]] = {
    "text": _text,
    "image": _image,
    "document": _document,
}


def _short(parts: list[Part]) -> str | list[Part]:
    # A lone text as a string: that is the one form that every chat template can do.
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts or ""


def _joined(blocks: list[Document], where: str) -> str:
    texts = {"text": _text}
    parts = [_known(texts, block, f"{where}[{index}]")(block, where)[0] for index, block in enumerate(blocks)]
    return "\n\n".join(part["text"] for part in parts)


def read_tools(document: Document) -> dict[str, Any]:
    """``tools`` and ``tool_choice`` in chat form, where they are given. Raises `Problem`."""
    given = document.get("tools")
    if given is not None and not isinstance(given, list):
        raise wrong("tools", "a list of tools", given)
    tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(given or ())]
    chosen = mapping(document, "tool_choice") or {}
    fields: dict[str, Any] = {"tools": tools, "tool_choice": _tool_choice(chosen) if chosen else None}
    if boolean(chosen, "disable_parallel_tool_use", within="tool_choice"):
        fields["parallel_tool_calls"] = False
    return {name: value for name, value in fields.items() if value or value is False}


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise wrong(where, "an object with name and input_schema", tool)
    if tool.get("type") not in (None, "custom"):
        raise Problem(
            f"{where}.type is {shown(tool.get('type'))}, but only tools with an input_schema of their own are "
            "possible: no tools are run here",
            param=f"{where}.type",
        )
    schema = mapping(tool, "input_schema", within=where)
    if schema is None:
        raise wrong(f"{where}.input_schema", "an object", None)
    kept = {key: tool[key] for key in ("description", "strict") if tool.get(key) is not None}
    return {"type": "function", "function": {"name": needed(tool, "name", where), **kept, "parameters": schema}}


def _tool_choice(chosen: Document) -> Any:
    known = {"auto": "auto", "any": "required", "none": "none", "tool": "tool"}
    kind = choice({"type": chosen.get("type") or ""}, "type", known, within="tool_choice")
    if kind == "tool":
        return {"type": "function", "function": {"name": needed(chosen, "name", "tool_choice")}}
    return known[kind or "auto"]
