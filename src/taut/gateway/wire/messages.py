"""Anthropic's ``/v1/messages``.

``thinking.budget_tokens`` has to be below ``max_tokens``, as it is there; the minimum of 1024 does not hold here. A
thinking block has an empty ``signature``, because nobody checks it. Arguments of a tool call that are no JSON object
(a call that was cut, for instance) become ``{"_raw": "…"}`` in a whole reply; in a stream they go out as they come.
``stop_reason`` is ``end_turn`` where a stop sequence ended the answer: engines do not tell which one it was.

Fields that are about Anthropic's own service (``cache_control``, ``context_management``, ``service_tier`` …) are
accepted and have no effect. ``mcp_servers`` and ``container`` are refused: no tools are run here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from taut.gateway.nouns import Ask, Problem
from taut.gateway.settings import EFFORT
from taut.gateway.wire import _fields, _messages_input
from taut.gateway.wire._fields import MOST_TOKENS, Document
from taut.gateway.wire._messages_writer import Writer as Writer
from taut.gateway.wire._messages_writer import problem as problem
from taut.gateway.wire._named import refuse_candidates
from taut.gateway.wishes import read_wish, split_suffix

PATH = "/v1/messages"

_TAKEN = (
    *("max_completion_tokens", "max_tokens", "messages", "metadata", "model", "n", "output_config", "output_format"),
    *("stop", "stop_sequences", "stream", "stream_options", "system", "taut", "thinking", "tool_choice", "tools"),
    *("cache_control", "container", "context_management", "diagnostics", "inference_geo", "mcp_servers"),
    *("service_tier", "speed", "user_profile_id", "workspace_id"),
)
"""Fields that a chat request does not have, or has in another form; all others pass through untouched."""


def read(document: Document, *, efforts: Collection[str] = EFFORT) -> Ask:
    """Understand a request. ``efforts`` are the names of the operator's map. Raises `Problem`."""
    _refuse(document)
    model = _fields.read_model(document)
    wish, wish_fields = read_wish(document, split_suffix(model, efforts)[1], efforts)
    sampling = _fields.read_sampling(
        document, max_tokens=_max_tokens(document), stop=_stop(document), taken=(*_TAKEN, *wish_fields)
    )
    own_forms = {**_messages_input.read_tools(document), **_format(document), **_user(document)}
    return Ask(
        protocol="messages",
        model=model,
        messages=_messages_input.read_messages(document),
        sampling=replace(sampling, extra={**sampling.extra, **own_forms}),
        wish=wish,
        stream=_fields.boolean(document, "stream") or False,
        include_usage=True,
        options=_fields.read_options(document),
        document=document,
    )


def _refuse(document: Document) -> None:
    for name in ("mcp_servers", "container"):
        if document.get(name):
            raise Problem(f"{name} is not possible, as no tools are run here: leave it out", param=name)
    refuse_candidates(document)


def _max_tokens(document: Document) -> int:
    tokens = _fields.integer(document, "max_tokens", least=1, most=MOST_TOKENS)
    if tokens is None:
        raise _fields.wrong("max_tokens", "a whole number of at least 1, as this protocol needs it", None)
    thinking = _fields.mapping(document, "thinking") or {}
    budget = _fields.integer(thinking, "budget_tokens", within="thinking")
    if budget is not None and budget >= tokens:
        raise Problem(
            f"thinking.budget_tokens is {budget} and has to be below max_tokens, which is {tokens}",
            param="thinking.budget_tokens",
        )
    return tokens


def _stop(document: Document) -> tuple[str, ...]:
    """``stop_sequences``; chat's name is read where it is missing."""
    return _fields.read_stop(document, "stop_sequences") or _fields.read_stop(document)


def _format(document: Document) -> dict[str, Any]:
    """``output_config.format``, or ``output_format`` as it was called before, as ``response_format``."""
    config = _fields.mapping(document, "output_config") or {}
    name = "output_config.format" if config.get("format") else "output_format"
    form = _fields.mapping(config, "format", within="output_config") or _fields.mapping(document, "output_format")
    if form is None:
        return {}
    _fields.choice({"type": form.get("type") or ""}, "type", ("json_schema",), within=name)
    schema = _fields.mapping(form, "schema", within=name)
    if schema is None:
        raise _fields.wrong(f"{name}.schema", "an object", None)
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}


def _user(document: Document) -> dict[str, str]:
    metadata = _fields.mapping(document, "metadata") or {}
    user = _fields.text(metadata, "user_id", within="metadata")
    return {"user": user} if user else {}
