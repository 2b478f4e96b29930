"""``/openapi.json``: what is served, as OpenAPI 3.1. The live page at ``/`` is for people and is left out."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from taut import __version__
from taut.gateway.nouns import Problem
from taut.gateway.openapi_bodies import Schema, components
from taut.gateway.settings import Settings
from taut.gateway.wire import chat, completions, messages, responses

ABOUT = """Taut in front of one or several engines: every preset is a model, and so are the engines' own models, which
pass through untouched. What is below /v1 is served without /v1 too, but for single models and running requests.
Fields that are not listed pass through to the engine."""
STREAM_NOTE = "The reply; with stream: true the same as server-sent events of the protocol."
REQUESTS: tuple[tuple[ModuleType, str, str, str], ...] = (
    (chat, "Chat", "ChatRequest", "OpenAI's chat"),
    (completions, "Completion", "CompletionRequest", "OpenAI's text completion"),
    (responses, "Response", "ResponseRequest", "OpenAI's Responses, without a memory"),
    (messages, "AnthropicMessage", "MessageRequest", "Anthropic's Messages"),
)
"""Wire, schema of the reply, schema of the body, what it is."""
REFUSALS: Mapping[str, str] = {
    "400": "The request is wrong; param names the field.",
    "401": "No key, or a wrong one.",
    "403": "This key, host or web page may not do that.",
    "404": "There is no such model, or nothing at this path.",
    "405": "This path does not take this method.",
    "408": "The body did not come in time.",
    "413": "The body is larger than the limit.",
    "417": "An Expect header other than 100-continue.",
    "429": "Too many requests; Retry-After says when to come again.",
    "500": "A fault of Taut itself; the number stands in its log.",
    "502": "The upstream answered with what is not the protocol, or broke off.",
    "503": "The upstream is overloaded, or a shutdown has begun.",
    "504": "The upstream or the deadline took too long.",
    "4XX": "The upstream refused the request.",
}
LOOKS = ("401", "403", "405", "417", "429", "500")
"""What may go wrong with a path that calls no model."""
RETRY_AFTER: Schema = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}


def description(settings: Settings, *, has_keys: bool) -> dict[str, object]:
    """The document. Limits are the gateway's own: a key may have lower ones."""
    schemas = {**components(settings), **_replies(), "Error": _openai_error(), "MessageError": _anthropic_error()}
    document: dict[str, object] = {
        "openapi": "3.1.0",
        "info": {"title": "Taut", "version": __version__, "description": " ".join(ABOUT.split())},
        "paths": {wire.PATH: {"post": _asking(wire, *rest)} for wire, *rest in REQUESTS} | _looks(),
        "components": {"schemas": schemas},
    }
    if has_keys:
        document["components"] = {"schemas": schemas, "securitySchemes": _schemes()}
        document["security"] = [{"bearer": []}, {"apiKey": []}]
    return document


def _schemes() -> Schema:
    return {
        "bearer": {"type": "http", "scheme": "bearer"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }


def _asking(wire: ModuleType, reply: str, body: str, what: str) -> Schema:
    """The operation of one protocol."""
    error = "MessageError" if wire is messages else "Error"
    good = {
        "description": STREAM_NOTE,
        "content": {**_json(reply), "text/event-stream": {"schema": {"description": "Server-sent events."}}},
        "headers": {"x-request-id": {"schema": {"type": "string"}}},
    }
    return {
        "operationId": reply[:1].lower() + reply[1:],
        "summary": what,
        "requestBody": {"required": True, "content": _json(body)},
        "responses": {"200": good, **_refusals(error, tuple(REFUSALS))},
    }


def _looks() -> dict[str, Schema]:
    """Paths that call no model."""
    return {
        "/v1/models": {"get": _get("models", "The names on offer", _json("Models"))},
        "/v1/models/{name}": {
            "parameters": [_in_path("name", "May have slashes in it.")],
            "get": _get("model", "One name on offer", _json("Model"), "400", "404"),
        },
        "/v1/requests/{id}/answer_now": {
            "parameters": [_in_path("id", "The x-request-id of a reply that is streamed.")],
            "post": _get("answerNow", "End the thinking of a running request", _json("AnswerNow"), "404"),
        },
        "/health": {"get": _health()},
        "/metrics": {"get": _get("metrics", "Prometheus metrics", _metrics(), "501")},
        "/openapi.json": {
            "get": _get("openapi", "This document", {"application/json": {"schema": {"type": "object"}}})
        },
    }


def _get(name: str, what: str, content: Schema, *further: str) -> Schema:
    good = {"description": what, "content": content}
    return {
        "operationId": name,
        "summary": what,
        "responses": {"200": good, **_refusals("Error", (*LOOKS, *further))},
    }


def _health() -> Schema:
    said = {"type": "object", "required": ["status"], "properties": {"status": {"enum": ["ok", "draining"]}}}
    content = {"application/json": {"schema": said}}
    return {
        "operationId": "health",
        "summary": "For load balancers, without a key",
        "security": [],
        "responses": {
            "200": {"description": "It serves.", "content": content},
            "503": {"description": "A shutdown has begun.", "content": content},
            **_refusals("Error", ("405", "417", "500")),
        },
    }


def _metrics() -> Schema:
    text = {"schema": {"type": "string"}}
    return {"text/plain": text, "application/openmetrics-text": text}


def _refusals(error: str, statuses: tuple[str, ...]) -> Schema:
    known = {**REFUSALS, "501": "The package prometheus-client is missing."}
    found: Schema = {status: {"description": known[status], "content": _json(error)} for status in statuses}
    if "417" in found:
        # Refused by the HTTP library before anything else has seen the request.
        found["417"] = {"description": known["417"]}
    for status in ("429", "503"):
        if status in found:
            found[status]["headers"] = RETRY_AFTER
    return found


def _in_path(name: str, what: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": what,
        "schema": {"type": "string", "minLength": 1},
    }


def _json(name: str) -> Schema:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _object(needed: Mapping[str, Any], **further: Any) -> Schema:
    return {"type": "object", "required": list(needed), "properties": {**needed, **further}}


def _replies() -> dict[str, Schema]:
    """Replies that are not streamed. One that passes through is the upstream's own, which may leave things out."""
    receipt = {"type": "object", "description": "The receipt: what was asked, what was in force, tokens by role."}
    text, number = {"type": "string"}, {"type": "integer"}
    listed, counts = {"type": "array", "items": {"type": "object"}}, {"type": ["object", "null"]}
    model = _object({"id": text, "object": {"const": "model"}, "created": number, "owned_by": text})
    return {
        "Chat": _object({"choices": listed}, id=text, object=text, model=text, usage=counts, taut=receipt),
        "Completion": _object({"choices": listed}, id=text, object=text, model=text, usage=counts, taut=receipt),
        "Response": _object(
            {"id": text, "object": {"const": "response"}, "status": text, "output": listed, "usage": counts},
            taut=receipt,
        ),
        "AnthropicMessage": _object(
            {"id": text, "type": {"const": "message"}, "role": text, "content": listed, "usage": {"type": "object"}},
            stop_reason={"type": ["string", "null"]},
            taut=receipt,
        ),
        "Model": model,
        "Models": _object({"object": {"const": "list"}, "data": {"type": "array", "items": model}}),
        "AnswerNow": _object({"id": text, "answer_now": {"const": True}}),
    }


def _openai_error() -> Schema:
    """As `taut.gateway.wire._events.problem` writes it."""
    parts = chat.problem(Problem(""))["error"]
    kinds: Mapping[str, Schema] = {"param": {"type": ["string", "null"]}}
    return _object({"error": _object({name: kinds.get(name, {"type": "string"}) for name in parts})})


def _anthropic_error() -> Schema:
    """As `taut.gateway.wire.messages.problem` writes it."""
    parts = messages.problem(Problem(""))["error"]
    return _object({"type": {"const": "error"}, "error": _object({name: {"type": "string"} for name in parts})})
