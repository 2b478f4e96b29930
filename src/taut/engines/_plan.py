"""From a request to the HTTP body: which route, the off switch, the turn to continue, each in the server's own way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from taut.core import Kind, Message, Prompt, Request, Sampling, Turn
from taut.dialects import Dialect, Switch, render_turn, starts_in
from taut.engines._render import Messages, Render, Room
from taut.engines._servers import Server
from taut.errors import EngineError
from taut.session import estimate_prompt_tokens

Route = Literal["auto", "raw", "chat"]
ROUTES: tuple[Route, ...] = ("auto", "raw", "chat")

MIN_ECHO_CHARS = 4
"""A shorter prefill may as well be repeated by the model itself."""
_SPECIAL = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]|◁[^◁▷]+▷")


@dataclass(frozen=True, slots=True)
class Plan:
    """One HTTP call."""

    path: str
    body: bytes
    start: Kind | None
    """What the reply begins with, as far as the text before it tells."""
    echo: str = ""
    """Text that the reply may repeat before it goes on."""
    prompt_guess_tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A prompt with the thinking switch thrown: changed messages and turn, template variables, body fields."""

    messages: Messages
    turn: Turn
    variables: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Planner:
    """Knows the server, the dialect and the model; plans calls."""

    server: Server
    dialect: Dialect
    model: str
    route: Route
    offers: frozenset[str]
    render: Render | None = None
    """Messages to prompt text, where that can be done."""
    room: Room | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    """Further fields for every request."""

    async def plan(self, request: Request, *, reasons_apart: bool = False) -> Plan:
        """The call for ``request``; ``reasons_apart``: the server is known to send thinking in its own field.

        Raises `EngineError` (refused) when the server cannot do what is asked.
        """
        asked = self._switched(request.prompt)
        render = self._raw_route(asked, request)
        guess = estimate_prompt_tokens(asked.messages, asked.turn)
        if render is not None:
            prompt, start = await self._raw_prompt(asked, render)
            body = self._common(request, "raw") | {"prompt": prompt}
            if body.get("max_tokens") is None and self.server.raw_limit != "none":
                body["max_tokens"] = await self._room(prompt)
            return Plan("/completions", msgspec.json.encode(body), start, prompt_guess_tokens=guess)
        body, start, echo = self._chat(asked, request)
        if reasons_apart and asked.turn.is_empty:
            start = "answer"
        return Plan("/chat/completions", msgspec.json.encode(body), start, echo, guess)

    async def _room(self, prompt: str) -> int:
        if self.room is None:
            raise EngineError(
                f"a raw completion on a server of the kind {self.server.kind!r} needs max_tokens: it would stop after 16",
                kind="refused",
            )
        return await self.room(prompt)

    def _raw_route(self, asked: _Asked, request: Request) -> Render | None:
        wants = self.route == "raw" or (self.route == "auto" and not asked.turn.is_empty)
        if not wants or self.render is None:
            return None
        reason = why_not_raw(asked.messages, {**self.body, **request.sampling.extra})
        if reason is None:
            return self.render
        if self.route == "raw":
            raise EngineError(f"{reason} cannot be sent as a raw completion; set route = 'chat'", kind="refused")
        return None

    def _switched(self, prompt: Prompt) -> _Asked:
        if prompt.think is None or not self.dialect.thinks:
            return _Asked(prompt.messages, prompt.turn)
        fields = self.server.think_on if prompt.think else self.server.think_off
        switch = self.dialect.on if prompt.think else self.dialect.off
        if fields and self.route != "raw":
            return _Asked(prompt.messages, prompt.turn, fields=fields)
        if switch.kind in ("prefill", "none"):
            return self._switched_by_prefill(prompt, switch)
        return self._thrown(prompt, switch)

    def _switched_by_prefill(self, prompt: Prompt, switch: Switch) -> _Asked:
        if prompt.think or not prompt.turn.is_empty:
            # Thinking is what such a model does anyway, and a turn already says what comes next.
            return _Asked(prompt.messages, prompt.turn)
        if "prefill" not in self.offers:
            raise EngineError(
                f"the family {self.dialect.name!r} has no switch that turns thinking off, and this server cannot "
                "continue a turn whose thinking is already closed",
                kind="refused",
            )
        return _Asked(prompt.messages, Turn(closed=True))

    def _thrown(self, prompt: Prompt, switch: Switch) -> _Asked:
        if switch.kind == "system":
            return _Asked(_with_system(prompt.messages, str(switch.value)), prompt.turn)
        if switch.kind == "user_suffix":
            return _Asked(_with_suffix(prompt.messages, str(switch.value)), prompt.turn)
        key = switch.key or "reasoning_effort"
        variables = {key: switch.value}
        if switch.kind == "effort":
            return _Asked(prompt.messages, prompt.turn, variables, {key: switch.value})
        return _Asked(prompt.messages, prompt.turn, variables)

    async def _raw_prompt(self, asked: _Asked, render: Render) -> tuple[str, Kind | None]:
        rendered = await render(asked.messages, asked.variables)
        written = render_turn(self.dialect, asked.turn, rendered)
        return rendered + written, starts_in(self.dialect, rendered + written, asked.turn)

    def _chat(self, asked: _Asked, request: Request) -> tuple[dict[str, Any], Kind | None, str]:
        body = self._common(request, "chat") | dict(asked.fields)
        body["messages"] = list(asked.messages)
        if asked.variables and self.server.template_kwargs:
            given = body.get("chat_template_kwargs")
            body["chat_template_kwargs"] = {**(given if isinstance(given, dict) else {}), **asked.variables}
        if asked.turn.is_empty:
            opens = self.dialect.template_opens and request.prompt.think is not False
            return body, "thinking" if opens else None, ""
        written = self._continued(body, asked.turn)
        start = starts_in(self.dialect, written, asked.turn)
        echo = written if self.server.echoes_prefill and len(written) >= MIN_ECHO_CHARS else ""
        return body, start, echo

    def _continued(self, body: dict[str, Any], turn: Turn) -> str:
        """Put the turn at the end of the messages, in the way this server continues one; return its text."""
        written = render_turn(self.dialect, turn, "")
        if not self.server.continues:
            raise EngineError(
                f"a server of the kind {self.server.kind!r} is not known to continue a turn that is already written",
                kind="refused",
            )
        if self.dialect.thinks and not self.dialect.chat_prefill:
            raise EngineError(
                f"the chat template of the family {self.dialect.name!r} rewrites the thinking of a turn to be "
                "continued; give its file as chat_template so that the turn goes as a raw completion",
                kind="refused",
            )
        message: Message = {"role": "assistant", "content": written}
        if self.server.continues == "prefix":
            message["prefix"] = True
        if self.server.continues == "continue_final_message":
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        body["messages"] = [*body["messages"], message]
        return written

    def _common(self, request: Request, route: Literal["raw", "chat"]) -> dict[str, Any]:
        server = self.server
        body: dict[str, Any] = {"model": self.model, "stream": True, **server.counting}
        if route == "raw":
            body |= server.raw
            body |= self._tags_as_text()
        body |= self.body
        body |= _sampling_fields(request.sampling, server.max_tokens_field if route == "chat" else "max_tokens")
        if request.top_logprobs:
            count = request.top_logprobs
            body |= {"logprobs": count} if route == "raw" else {"logprobs": True, "top_logprobs": count}
        if request.thinking_budget_tokens is not None:
            self._put_budget(body, request.thinking_budget_tokens)
        return body

    def _tags_as_text(self) -> dict[str, Any]:
        tags = {part for tag in (*self.dialect.open_tags, *self.dialect.close_tags) for part in _SPECIAL.findall(tag)}
        if not tags or not self.server.tags_as_text:
            return {}
        field_name = self.server.tags_as_text
        return {field_name: sorted(tags) if field_name == "preserved_tokens" else False}

    def _put_budget(self, body: dict[str, Any], budget_tokens: int) -> None:
        if "thinking_budget" not in self.offers:
            raise EngineError("this engine is not known to enforce a thinking budget", kind="refused")
        for path in self.server.budget_fields or ("thinking_token_budget",):
            *parents, last = path.split(".")
            place = body
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = budget_tokens


def why_not_raw(messages: Messages, fields: Mapping[str, Any]) -> str | None:
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


def _sampling_fields(sampling: Sampling, max_tokens_field: str) -> dict[str, Any]:
    fields = {
        max_tokens_field: sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
    }
    return {key: value for key, value in fields.items() if value is not None} | dict(sampling.extra)


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
