"""Throwing the thinking switch: in the family's way, or the server's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from taut.core import Prompt, Turn
from taut.dialects import Dialect, Switch
from taut.engines._render import Messages
from taut.engines._servers import Server
from taut.errors import EngineError


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt with the switch thrown."""

    messages: Messages
    turn: Turn
    variables: Mapping[str, Any] = field(default_factory=dict)
    """For the chat template."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """For the body of a chat request."""


def throw(prompt: Prompt, dialect: Dialect, server: Server, *, can_prefill: bool, may_chat: bool) -> Asked:
    """The prompt as it is to be sent. Models without tags have nothing to switch.

    A family without an off switch gets a thought that is given as closed. Raises `EngineError` (refused) where that
    cannot be given either.
    """
    if prompt.think is None or not dialect.thinks:
        return Asked(prompt.messages, prompt.turn)
    fields = server.think_on if prompt.think else server.think_off
    if fields and may_chat:
        return Asked(prompt.messages, prompt.turn, fields=fields)
    switch = dialect.on if prompt.think else dialect.off
    if switch.kind not in ("prefill", "none"):
        return _thrown(prompt, switch)
    if prompt.think or not prompt.turn.is_empty:
        # Thinking is what such a model does anyway, and a turn already says what comes next.
        return Asked(prompt.messages, prompt.turn)
    if not can_prefill:
        raise EngineError(
            f"the family {dialect.name!r} has no switch that turns thinking off, and this server cannot continue a "
            "turn whose thinking is already closed",
            kind="refused",
        )
    return Asked(prompt.messages, Turn(closed=True))


def _thrown(prompt: Prompt, switch: Switch) -> Asked:
    if switch.kind == "system":
        return Asked(_with_system(prompt.messages, str(switch.value)), prompt.turn)
    if switch.kind == "user_suffix":
        return Asked(_with_suffix(prompt.messages, str(switch.value)), prompt.turn)
    variables = {switch.key or "reasoning_effort": switch.value}
    return Asked(prompt.messages, prompt.turn, variables, variables if switch.kind == "effort" else {})


def _with_system(messages: Messages, text: str) -> Messages:
    for index, message in enumerate(messages):
        if message.get("role") in ("system", "developer") and isinstance(message.get("content"), str):
            changed = {**message, "content": f"{message['content']}\n{text}".strip()}
            return (*messages[:index], changed, *messages[index + 1 :])
    return ({"role": "system", "content": text}, *messages)


def _with_suffix(messages: Messages, text: str) -> Messages:
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):
                changed = {**message, "content": [*content, {"type": "text", "text": text}]}
            else:
                changed = {**message, "content": f"{content or ''} {text.strip()}"}
            return (*messages[:index], changed, *messages[index + 1 :])
    return messages
