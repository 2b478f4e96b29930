"""The bodies of requests, for the OpenAPI description: what ``wire/*.read`` accepts, as JSON schemas.

What is asked about thinking comes from the table that reads it (`taut.gateway.wishes.FIELDS`), so that the two cannot
drift apart; a test holds the rest to what ``read`` does. Further fields are always allowed: they pass through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from taut.gateway import wishes
from taut.gateway.settings import Settings
from taut.gateway.wire import _fields, _messages_input, _responses_input

Schema = dict[str, Any]

TEXT: Schema = {"type": ["string", "null"]}
FLAG: Schema = {"type": ["boolean", "null"]}
OBJECT: Schema = {"type": ["object", "null"]}
SEED: Schema = {"type": ["integer", "null"], "minimum": -(2**63), "maximum": 2**63 - 1}
MODEL: Schema = {
    "type": "string",
    "minLength": 1,
    "description": (
        "A name of GET /v1/models: a preset, an engine's own model, or preset@engine. A thinking budget may follow in "
        "brackets, as a number of tokens or an effort: name(512), name(high), name(none)."
    ),
}
STOP: Schema = {"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}, {"$ref": "#/components/schemas/Stops"}]}
STOPS: Schema = {"type": "array", "items": {"type": "string", "minLength": 1}}


def tokens(least: int, most: int | None = None) -> Schema:
    """A number of tokens."""
    return {"type": ["integer", "null"], "minimum": least, "maximum": most or _fields.MOST_TOKENS}


def share(most: float = 1) -> Schema:
    """A number from 0 on."""
    return {"type": ["number", "null"], "minimum": 0, "maximum": most}


SAMPLING: Mapping[str, Schema] = {
    "temperature": share(100),
    "top_p": share(),
    "top_k": tokens(-1),
    "min_p": share(),
    "seed": SEED,
}
TAUT: Schema = {
    "type": ["object", "null"],
    "description": "What this request wants of the gateway itself.",
    "properties": {
        "preset": {**TEXT, "description": "Run this preset on the engine that model names."},
        "deadline_s": {"type": ["number", "null"], "exclusiveMinimum": 0, "description": "Seconds."},
        "receipt": {**FLAG, "description": "The receipt in the body even of a reply that passes through."},
    },
    "additionalProperties": False,
}
STREAM_OPTIONS: Schema = {"type": ["object", "null"], "properties": {"include_usage": FLAG}}
BLOCKS = ("text", "image", "document", "tool_result", "thinking", "redacted_thinking", "tool_use")
"""Of Anthropic's messages, whoever sent them."""


def components(settings: Settings) -> dict[str, Schema]:
    """The schemas of all requests, by name."""
    return {
        "Stops": STOPS,
        "ChatPart": _part({"type": "string"}),
        "ChatMessage": _message(_fields.ROLES, "ChatPart", may_be_empty=True),
        "ChatRequest": _chat(settings),
        "CompletionRequest": _completion(settings),
        "ResponseItem": _response_item(),
        "ResponseRequest": _response(settings),
        "MessageBlock": _part({"type": "string", "enum": list(BLOCKS)}),
        "Message": _message(_messages_input.ROLES, "MessageBlock", may_be_empty=False),
        "MessageRequest": _messages(settings),
    }


def thinking_fields(efforts: Iterable[str]) -> dict[str, Schema]:
    """Every place where a budget may be written, nested as it is in a request."""
    found: dict[str, Schema] = {}
    for field in (*wishes.FIELDS, *(field for field, _ in wishes.HIDDEN)):
        *outside, last = field.path.split(".")
        properties = found
        for name in outside:
            properties = properties.setdefault(name, {**OBJECT, "properties": {}})["properties"]
        properties[last] = {"anyOf": [*(_held(kind, efforts) for kind in field.holds), {"type": "null"}]}
    return found


def _held(kind: str, efforts: Iterable[str]) -> Schema:
    """What one kind of field may hold."""
    kinds: Mapping[str, Schema] = {
        wishes.TOKENS: {"type": "integer", "minimum": -1, "maximum": _fields.MOST_TOKENS},
        wishes.SWITCH: {"type": "boolean"},
        wishes.WORD: {"type": "string", "enum": [wishes.OFF, *efforts, *wishes.UNDECIDED]},
        wishes.TYPE: {"type": "string", "enum": list(wishes.TYPES)},
    }
    return kinds.get(kind, {"type": "string"})


def _request(needed: tuple[str, ...], settings: Settings, own: Mapping[str, Schema]) -> Schema:
    """A body of any protocol."""
    thinking = thinking_fields(settings.effort)
    shared = {"stream": FLAG, "taut": TAUT, "best_of": _candidates(settings)}
    properties: dict[str, Schema] = {"model": MODEL, **SAMPLING, **shared, **thinking}
    for name, schema in own.items():
        inner = {**thinking.get(name, {}).get("properties", {}), **schema.get("properties", {})}
        properties[name] = {**schema, "properties": inner} if inner else schema
    return {"type": "object", "required": list(needed), "properties": properties, "additionalProperties": True}


def _ceiling(settings: Settings) -> Schema:
    return tokens(1, settings.limits.max_tokens)


def _candidates(settings: Settings) -> Schema:
    return {"type": ["integer", "null"], "minimum": 1, "maximum": settings.limits.n}


def _listed(item: str, settings: Settings) -> Schema:
    items = {"$ref": f"#/components/schemas/{item}"}
    return {"type": "array", "items": items, "minItems": 1, "maxItems": settings.limits.messages}


def _chat(settings: Settings) -> Schema:
    own: dict[str, Schema] = {
        "messages": _listed("ChatMessage", settings),
        "stream_options": STREAM_OPTIONS,
        "n": _candidates(settings),
        "stop": STOP,
        "max_tokens": _ceiling(settings),
        "max_completion_tokens": _ceiling(settings),
    }
    return _request(("model", "messages"), settings, own)


def _completion(settings: Settings) -> Schema:
    prompt = {
        "description": "A preset takes one text; an engine's own model whatever its server takes.",
        "anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1}],
    }
    own: dict[str, Schema] = {
        "prompt": prompt,
        "stream_options": STREAM_OPTIONS,
        "n": _candidates(settings),
        "stop": STOP,
        "max_tokens": _ceiling(settings),
    }
    return _request(("model", "prompt"), settings, own)


def _response(settings: Settings) -> Schema:
    own: dict[str, Schema] = {
        "input": {"anyOf": [{"type": "string", "minLength": 1}, _listed("ResponseItem", settings)]},
        "instructions": TEXT,
        "max_output_tokens": _ceiling(settings),
        "metadata": OBJECT,
        "parallel_tool_calls": FLAG,
        "include": {"type": ["array", "null"]},
        "text": {"type": ["object", "null"], "properties": {"verbosity": TEXT, "format": OBJECT}},
        "tools": {"type": ["array", "null"], "items": _tool("parameters", {"type": {"const": "function"}})},
        "tool_choice": {"type": ["string", "object", "null"]},
        "stop": STOP,
        "store": {"description": "Nothing is stored, whatever it says."},
        "n": {"enum": [1, None]},
    }
    return _request(("model", "input"), settings, own)


def _messages(settings: Settings) -> Schema:
    text_block = {"type": "object", "required": ["type", "text"], "properties": {"type": {"const": "text"}}}
    own: dict[str, Schema] = {
        "messages": _listed("Message", settings),
        "max_tokens": {**_ceiling(settings), "type": "integer"},
        "system": {"anyOf": [{"type": "string"}, {"type": "null"}, {"type": "array", "items": text_block}]},
        "stop_sequences": STOP,
        "tools": {"type": ["array", "null"], "items": _tool("input_schema", {"type": {"enum": ["custom", None]}})},
        "tool_choice": OBJECT,
        "metadata": {"type": ["object", "null"], "properties": {"user_id": TEXT}},
        "output_config": {"type": ["object", "null"], "properties": {"format": OBJECT}},
        "n": {"enum": [1, None]},
    }
    return _request(("model", "messages", "max_tokens"), settings, own)


def _tool(schema_field: str, kind: Mapping[str, Schema]) -> Schema:
    is_needed = schema_field == "input_schema"
    properties = {
        **kind,
        "name": {"type": "string", "minLength": 1},
        schema_field: {"type": "object"} if is_needed else OBJECT,
    }
    needed = ["name", schema_field] if is_needed else ["type", "name"]
    return {"type": "object", "required": needed, "properties": properties}


def _message(roles: Iterable[str], part: str, *, may_be_empty: bool) -> Schema:
    forms: list[Schema] = [
        {"type": "string"},
        {"type": "array", "items": {"$ref": f"#/components/schemas/{part}"}},
    ]
    content = {"anyOf": [*forms, {"type": "null"}] if may_be_empty else forms}
    return {
        "type": "object",
        "required": ["role"] if may_be_empty else ["role", "content"],
        "properties": {"role": {"type": "string", "enum": list(roles)}, "content": content},
    }


def _part(kind: Schema) -> Schema:
    """A part of a content; types other than text have keys of their own."""
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": kind},
        "if": {"properties": {"type": {"const": "text"}}},
        "then": {"required": ["text"], "properties": {"text": {"type": "string"}}},
    }


def _response_item() -> Schema:
    roles = {"type": "string", "enum": list(_responses_input.ROLES)}
    return {
        "type": "object",
        "properties": {
            "type": {"enum": [*_responses_input._ITEMS, None], "description": "message where there is a role only."}
        },
        "anyOf": [{"required": ["type"]}, {"required": ["role"]}],
        "if": {"properties": {"type": {"enum": ["message", None]}}},
        "then": {
            "required": ["role", "content"],
            "properties": {"role": roles, "content": {"type": ["string", "array"]}},
        },
    }
