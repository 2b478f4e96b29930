"""OpenAI's ``/v1/responses``, without a memory: every request brings its whole conversation.

What is stored at OpenAI is refused (``previous_response_id``, ``conversation``, ``prompt``, ``background``, files and
items by their id). ``store`` is accepted, and the response says ``store: false``. ``include``, ``truncation``,
``max_tool_calls`` and ``context_management`` ask for what never happens here and are accepted; the response tells what
is in force.

Thinking is sent as ``reasoning_text``. Nothing is summarised here: a client that asks for ``reasoning.summary`` gets
the thinking itself in the summary's place, which is the only one that many of them show.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from taut.gateway.nouns import Ask, Problem
from taut.gateway.settings import EFFORT
from taut.gateway.wire import _fields, _responses_input
from taut.gateway.wire._events import problem as problem
from taut.gateway.wire._fields import MOST_TOKENS, Document
from taut.gateway.wire._named import refuse_candidates
from taut.gateway.wire._responses_writer import Writer as Writer
from taut.gateway.wishes import read_wish, split_suffix

PATH = "/v1/responses"

_STORED = ("previous_response_id", "conversation", "prompt", "background")
"""Fields that ask for something stored."""
_TAKEN = (
    *("background", "background_options", "context_management", "conversation", "include", "input", "instructions"),
    *("max_completion_tokens", "max_output_tokens", "max_tokens", "max_tool_calls", "metadata", "model", "n"),
    *("previous_response_id", "prompt", "reasoning", "stop", "store", "stream", "stream_options", "taut", "text"),
    *("tool_choice", "tools", "truncation"),
)
"""Fields that a chat request does not have, or has in another form; all others pass through untouched."""


def read(document: Document, *, efforts: Collection[str] = EFFORT) -> Ask:
    """Understand a request. ``efforts`` are the names of the operator's map. Raises `Problem`."""
    _refuse(document)
    model = _fields.read_model(document)
    wish, wish_fields = read_wish(document, split_suffix(model, efforts)[1], efforts)
    sampling = _fields.read_sampling(
        document, max_tokens=_max_tokens(document), stop=_fields.read_stop(document), taken=(*_TAKEN, *wish_fields)
    )
    own_forms = {**_responses_input.read_tools(document), **_responses_input.read_text(document)}
    return Ask(
        protocol="responses",
        model=model,
        messages=_responses_input.read_messages(document),
        sampling=replace(sampling, extra={**sampling.extra, **own_forms}),
        wish=wish,
        stream=_fields.boolean(document, "stream") or False,
        include_usage=True,
        options=_fields.read_options(document),
        document=document,
    )


def _refuse(document: Document) -> None:
    for name in _STORED:
        if document.get(name):
            raise Problem(
                f"{name} is not possible, as nothing is stored here: send the whole conversation as input", param=name
            )
    if "messages" in document:
        raise Problem("messages is no field of /v1/responses: send the conversation as input", param="messages")
    include = document.get("include")
    if include is not None and not isinstance(include, list):
        raise _fields.wrong("include", "a list of strings", include)
    if "message.output_text.logprobs" in (include or ()):
        raise Problem("include cannot ask for logprobs: use /v1/chat/completions for them", param="include")
    refuse_candidates(document)
    _fields.mapping(document, "metadata")
    _fields.boolean(document, "parallel_tool_calls")


def _max_tokens(document: Document) -> int | None:
    """``max_output_tokens``; chat's names are read where it is missing."""
    own = _fields.integer(document, "max_output_tokens", least=1, most=MOST_TOKENS)
    return own or _fields.read_max_tokens(document)
