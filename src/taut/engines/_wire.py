"""What OpenAI-compatible servers send, as typed structs, and a decoder that survives what some of them really send."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from taut.core import TokenLogprob
from taut.errors import EngineError


class Alternative(msgspec.Struct):
    """One of the most likely tokens at a position."""

    token: str = ""
    logprob: float | None = None


class ChatLogprob(msgspec.Struct):
    """One token in the form of the chat route; llama.cpp uses it for raw completions too."""

    token: str = ""
    logprob: float | None = None
    top_logprobs: list[Alternative] | None = None


class Logprobs(msgspec.Struct):
    """Log-probabilities in either form: ``content`` (chat) or the three parallel lists (completions)."""

    content: list[ChatLogprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


class Delta(msgspec.Struct):
    """New text of a chat message. The reasoning field has two names in the wild."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None


class Choice(msgspec.Struct):
    """One candidate; ``message`` where a server answers in one piece though asked to stream."""

    index: int = 0
    text: str | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class PromptDetails(msgspec.Struct):
    """Of the prompt tokens, those that came from a cache."""

    cached_tokens: int | None = None


class CompletionDetails(msgspec.Struct):
    """Of the completion tokens, those that were reasoning."""

    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """Token counts, so far or final."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's name for cached prompt tokens."""
    reasoning_tokens: int | None = None
    """SGLang puts it here."""


class Timings(msgspec.Struct):
    """llama.cpp's counts: ``prompt_n`` were computed, ``cache_n`` came from the cache, ``predicted_n`` are new."""

    prompt_n: int = 0
    cache_n: int = 0
    predicted_n: int = 0


class Chunk(msgspec.Struct):
    """One event of a stream, chat or completions."""

    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    timings: Timings | None = None
    model: str | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(Chunk)


def decode_chunk(payload: bytes) -> Chunk:
    """One event. Raises `EngineError` (garbled) when it is not the protocol at all."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _decode_leniently(payload)


def _decode_leniently(payload: bytes) -> Chunk:
    """Invalid UTF-8 becomes U+FFFD, NaN and Infinity are read; side information that does not fit is dropped."""
    text = payload.decode("utf-8", "replace")
    try:
        document = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        raise EngineError(f"the server sent an event that is not JSON: {text[:80]!r}") from None
    if isinstance(document, dict) and document.get("error"):
        return Chunk(error=document["error"])
    try:
        return msgspec.convert(document, Chunk)
    except msgspec.ValidationError:
        return _convert_without_extras(document, text)


def _convert_without_extras(document: Any, text: str) -> Chunk:
    bare = document
    if isinstance(document, dict) and isinstance(document.get("choices"), list):
        choices = [dict(choice, logprobs=None) for choice in document["choices"] if isinstance(choice, dict)]
        bare = {**document, "choices": choices, "usage": None, "timings": None}
    try:
        return msgspec.convert(bare, Chunk)
    except msgspec.ValidationError as error:
        raise EngineError(f"the server sent an event of unknown form ({error}): {text[:80]!r}") from None


def content_text(content: Any) -> str:
    """The text of a ``content`` field: a string, null, or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_part_text(part) for part in content)
    return ""


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""


def token_logprobs(logprobs: Logprobs | None) -> tuple[TokenLogprob, ...]:
    """Both forms in ours. Log-probabilities that are not finite are left out, with their token."""
    if logprobs is None:
        return ()
    if logprobs.content is not None:
        return tuple(
            TokenLogprob(entry.token, entry.logprob, _chat_top(entry.top_logprobs))
            for entry in logprobs.content
            if entry.logprob is not None and math.isfinite(entry.logprob)
        )
    return _completion_logprobs(logprobs)


def _chat_top(entries: list[Alternative] | None) -> tuple[tuple[str, float], ...]:
    return tuple(
        (entry.token, entry.logprob)
        for entry in entries or ()
        if entry.logprob is not None and math.isfinite(entry.logprob)
    )


def _completion_logprobs(logprobs: Logprobs) -> tuple[TokenLogprob, ...]:
    tokens, values, tops = logprobs.tokens or [], logprobs.token_logprobs or [], logprobs.top_logprobs or []
    found = []
    for index, (token, value) in enumerate(zip(tokens, values, strict=False)):
        if value is not None and math.isfinite(value):
            top = tops[index] if index < len(tops) else None
            found.append(TokenLogprob(token, value, _completion_top(top)))
    return tuple(found)


def _completion_top(top: dict[str, float | None] | None) -> tuple[tuple[str, float], ...]:
    pairs = [(token, value) for token, value in (top or {}).items() if value is not None and math.isfinite(value)]
    # Most likely first, as in the chat form: vLLM puts the sampled token first whatever its rank.
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))
