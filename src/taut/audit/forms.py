"""Logged replies in the forms of the usual protocols: one JSON object in, the replies that it holds out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from taut.core import Finish

Json = Mapping[str, Any]

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts")
BLOCK_FIELDS = ("reasoning_details", "thinking_blocks")
FINISHES: dict[str, Finish] = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "MAX_TOKENS", "incomplete"), "length"),
    **dict.fromkeys(
        ("stop", "eos", "end_turn", "stop_sequence", "STOP", "completed", "tool_calls", "tool_use"), "stop"
    ),
    **dict.fromkeys(("cancelled", "abort", "aborted"), "cancelled"),
}
"""The words of the protocols; others are not known to mean either."""
REQUESTS = ("request", "request_body", "input", "inputs", "body")
RESPONSES = ("response", "response_body", "output", "completion", "result", "body")
ASSISTANT = ("assistant", "gpt", "model", "bot", "ai")
USER = ("user", "human")


@dataclass(frozen=True, slots=True)
class Raw:
    """One reply as logged."""

    text: str
    """What was visible; think tags may stand in it."""
    thinking: str | None = None
    """Where it was logged apart."""
    question: str = ""
    thinking_tokens: int | None = None
    completion_tokens: int | None = None
    finish: Finish | None = None
    model: str = ""


def replies(row: Json) -> list[Raw] | None:
    """The replies that a logged object holds; ``None`` where it is in none of the known forms."""
    request = next((row[key] for key in REQUESTS if _is_request(row.get(key))), row)
    for place in (row, *(row[key] for key in RESPONSES if isinstance(row.get(key), dict))):
        # OpenAI's batch files wrap the response once more.
        for holder in (place, place.get("body")):
            if isinstance(holder, dict) and (found := _response(holder)):
                return [_completed(each, holder, request, len(found) == 1) for each in found]
    return _conversation(row)


def _is_request(value: Any) -> bool:
    return isinstance(value, dict) and any(key in value for key in ("messages", "prompt", "input", "contents"))


def _response(holder: Json) -> list[Raw]:
    for form in FORMS:
        if found := list(form(holder)):
            return found
    return []


def _completed(raw: Raw, holder: Json, request: Any, is_alone: bool) -> Raw:
    """With the question of the request, and the counts where they are of this reply alone."""
    thinking, completion = _usage(holder) if is_alone else (None, None)
    model = holder.get("model") or (request.get("model") if isinstance(request, dict) else "")
    return replace(
        raw,
        question=raw.question or question_of(request),
        thinking_tokens=thinking,
        completion_tokens=completion,
        model=model if isinstance(model, str) else "",
    )


def _choices(holder: Json) -> Iterator[Raw]:
    for choice in _dicts(holder.get("choices")):
        message = choice.get("message")
        if isinstance(message, dict):
            yield replace(message_of(message), finish=finish_of(choice.get("finish_reason")))
        elif isinstance(choice.get("text"), str):
            yield Raw(choice["text"], finish=finish_of(choice.get("finish_reason")))


def _output_items(holder: Json) -> Iterator[Raw]:
    """OpenAI's Responses: reasoning items and messages."""
    items = _dicts(holder.get("output"))
    if not any(item.get("type") in ("message", "reasoning") for item in items):
        return
    thinking = "\n\n".join(_texts(item, "content") or _texts(item, "summary") for item in items if _is_thought(item))
    text = "\n".join(_texts(item, "content") for item in items if item.get("type") == "message")
    yield Raw(text, thinking or None, finish=finish_of(holder.get("status")))


def _single_message(holder: Json) -> Iterator[Raw]:
    """Ollama's reply, or Anthropic's message."""
    message = holder.get("message")
    if isinstance(message, dict) and "content" in message:
        yield replace(message_of(message), finish=finish_of(holder.get("done_reason")))
    elif holder.get("type") == "message" or (holder.get("role") in ASSISTANT and "content" in holder):
        yield replace(message_of(holder), finish=finish_of(holder.get("stop_reason")))


def _candidates(holder: Json) -> Iterator[Raw]:
    """Gemini's."""
    for candidate in _dicts(holder.get("candidates")):
        content = candidate.get("content")
        parts = _dicts(content.get("parts")) if isinstance(content, dict) else []
        thinking = "\n\n".join(_text(part) for part in parts if part.get("thought"))
        text = "".join(_text(part) for part in parts if not part.get("thought"))
        yield Raw(text, thinking or None, finish=finish_of(candidate.get("finishReason")))


FORMS: tuple[Callable[[Json], Iterator[Raw]], ...] = (_choices, _output_items, _single_message, _candidates)


def _conversation(row: Json) -> list[Raw] | None:
    """Every assistant's turn with thinking of its own; else the last one."""
    turns = next((row[key] for key in ("messages", "conversations", "conversation") if _dicts(row.get(key))), None)
    if turns is None:
        return None
    question, found = "", []
    for turn in _dicts(turns):
        role = turn.get("role") or turn.get("from")
        raw = message_of(turn)
        if role in USER:
            question = raw.text
        elif role in ASSISTANT:
            found.append(replace(raw, question=question))
    thoughtful = [raw for raw in found if raw.thinking or "think" in raw.text]
    return thoughtful or found[-1:]


def message_of(message: Json) -> Raw:
    """A chat message: content as text or parts, reasoning in any of its fields."""
    content = message.get("content", message.get("value"))
    parts = _dicts(content)
    text = content if isinstance(content, str) else "\n".join(_text(part) for part in parts if not _is_thought(part))
    thoughts = [_text(part) for part in parts if _is_thought(part)]
    thoughts += [message[key] for key in REASONING_FIELDS if isinstance(message.get(key), str)][:1]
    if not any(thoughts):
        thoughts = [_text(block) for key in BLOCK_FIELDS for block in _dicts(message.get(key))]
    thinking = "\n\n".join(thought for thought in thoughts if thought)
    return Raw(text, thinking or None)


def question_of(request: Any) -> str:
    """The last user message of a request, or its prompt."""
    if not isinstance(request, dict):
        return request if isinstance(request, str) else ""
    for key in ("messages", "input", "contents"):
        for turn in reversed(_dicts(request.get(key))):
            if turn.get("role") in (*USER, None):
                return message_of(turn).text or _texts(turn, "parts")
    return next((request[key] for key in ("prompt", "input", "question") if isinstance(request.get(key), str)), "")


def finish_of(value: Any) -> Finish | None:
    """How a reply ended, of what protocols call it; ``None`` where that says nothing."""
    return FINISHES.get(value) if isinstance(value, str) else None


def _usage(holder: Json) -> tuple[int | None, int | None]:
    """Tokens of the thinking and of the whole reply."""
    usage = holder.get("usage") or holder.get("usageMetadata") or holder
    if not isinstance(usage, dict):
        return None, None
    details = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    thinking = None
    if isinstance(details, dict):
        thinking = details.get("reasoning_tokens") or details.get("thinking_tokens")
    thinking = thinking or usage.get("thoughtsTokenCount") or usage.get("reasoning_tokens")
    completion = next(
        (usage[key] for key in ("completion_tokens", "output_tokens", "eval_count") if key in usage), None
    )
    return _positive(thinking), _positive(completion)


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _is_thought(part: Json) -> bool:
    return part.get("type") in ("thinking", "reasoning", "reasoning.text")


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(part: Json) -> str:
    found = next((part[key] for key in ("text", "thinking", "reasoning", "summary") if part.get(key)), "")
    return found if isinstance(found, str) else ""


def _texts(item: Json, key: str) -> str:
    return "\n".join(_text(part) for part in _dicts(item.get(key)))
