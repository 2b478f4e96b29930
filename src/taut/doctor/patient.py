"""The endpoint under examination: asks it through the engine protocol, and keeps what was heard."""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from taut.core import End, Engine, Kind, Message, Piece, Prompt, Request, Sampling, TokenLogprob, Usage
from taut.engines._http import Http
from taut.engines.openai import OpenAIEngine
from taut.errors import EngineError

STORY = "Tell a short story about a lighthouse keeper and a storm."
STORY_TOKENS = 48
PUZZLE = "How many prime numbers are there between 20 and 60? Check every number, one after the other."
PUZZLE_TOKENS = 96
CALL_SHARE = 0.9
"""Of the time for a check, what one call may take: its own error says more than the end of the check's time."""


@dataclass(slots=True)
class Heard:
    """One call: its pieces with the seconds after its start at which they came, and its counts."""

    pieces: list[tuple[float, Piece]] = field(default_factory=list)
    early: Usage | None = None
    """Told before the first text."""
    end: End | None = None
    """``None`` if the stream was left or broke off."""
    ended_s: float = 0.0

    def text(self, kind: Kind | None = None) -> str:
        """The text of one kind, or all of it."""
        return "".join(piece.text for _, piece in self.pieces if kind in (None, piece.kind))

    @property
    def streamed_tokens(self) -> int:
        """Completion tokens told with the pieces."""
        return sum(piece.tokens for _, piece in self.pieces)

    @property
    def tokens(self) -> int:
        """Completion tokens, as told at the end if there was one."""
        return self.streamed_tokens if self.end is None else self.end.usage.completion.tokens

    @property
    def thinking_tokens(self) -> int:
        """Tokens of thinking, as told at the end or with the pieces, whichever is more."""
        told = self.end.usage.thinking.tokens if self.end is not None else 0
        return max(told, sum(piece.tokens for _, piece in self.pieces if piece.kind == "thinking"))

    @property
    def logprobs(self) -> list[TokenLogprob]:
        """Of all tokens for which they came."""
        return [entry for _, piece in self.pieces for entry in piece.logprobs]

    @property
    def first_token_s(self) -> float:
        """Seconds until the first text."""
        return next((at_s for at_s, piece in self.pieces if piece.text), self.ended_s)

    @property
    def finish(self) -> str:
        """How it ended; ``cut`` if it did not."""
        return self.end.finish if self.end is not None else "cut"


class Patient:
    """An engine, and all that was heard from it so far."""

    def __init__(self, engine: Engine, deadline_s: float) -> None:
        self.engine = engine
        self.deadline_s = deadline_s
        self.calls: list[Heard] = []
        self.greedy_temperature: float | None = 0.0
        """``None`` for models that refuse a temperature of 0."""
        self.direct_tokens = 0
        """Completion tokens of calls that went past the engine."""
        self._known: dict[str, Heard | EngineError] = {}

    @property
    def wire(self) -> OpenAIEngine | None:
        """The engine's connection to a server, if it has one."""
        inner = getattr(self.engine, "wire", self.engine)
        return inner if isinstance(inner, OpenAIEngine) else None

    @property
    def http(self) -> Http | None:
        """For what the engine protocol does not show. With the engine's own key, which is nowhere else to be had."""
        return None if self.wire is None else self.wire._http

    @property
    def tokens(self) -> int:
        """Completion tokens of all calls so far."""
        return self.direct_tokens + sum(heard.tokens for heard in self.calls)

    def request(self, prompt: Prompt | str, sampling: Sampling) -> Request:
        """A request with the deadline; greedy unless ``sampling`` has a temperature."""
        if isinstance(prompt, str):
            prompt = Prompt(user(prompt))
        if sampling.temperature is None:
            sampling = replace(sampling, temperature=self.greedy_temperature)
        return Request(prompt, sampling, deadline_s=CALL_SHARE * self.deadline_s)

    async def ask(
        self,
        prompt: Prompt | str,
        sampling: Sampling,
        *,
        top_logprobs: int = 0,
        thinking_budget_tokens: int | None = None,
    ) -> Heard:
        """Make a call and hear it to its end. Raises `EngineError`; what had come until then still counts."""
        request = replace(
            self.request(prompt, sampling), top_logprobs=top_logprobs, thinking_budget_tokens=thinking_budget_tokens
        )
        return await self.hear(request)

    async def hear(self, request: Request, leave_after_pieces: int = 0) -> Heard:
        """Like `ask`; leaves the stream after so many pieces, if given."""
        heard = Heard()
        self.calls.append(heard)
        began = time.perf_counter()
        async with aclosing(self.engine.stream(request)) as stream:  # type: ignore[type-var]  # engines yield from generators
            async for item in stream:
                heard.ended_s = time.perf_counter() - began
                if isinstance(item, Piece):
                    heard.pieces.append((heard.ended_s, item))
                elif isinstance(item, End):
                    heard.end = item
                elif not heard.pieces:
                    heard.early = item
                if leave_after_pieces and len(heard.pieces) >= leave_after_pieces:
                    break
        return heard

    async def story(self) -> Heard:
        """A reply of the ordinary kind; asked for once, looked at by several checks."""
        return await self._once(STORY, STORY_TOKENS)

    async def puzzle(self) -> Heard:
        """The model over a puzzle, thinking as it does by default; asked once. A model that cannot tell its thinking
        apart from its answer is not asked: its story shows that as well."""
        story = await self.story()
        thinks = self.engine.dialect.thinks or story.thinking_tokens
        return await self._once(PUZZLE, PUZZLE_TOKENS) if thinks else story

    async def _once(self, question: str, max_tokens: int) -> Heard:
        """Ask, or give what the same question gave before: a failure, too, is not paid for again and again."""
        known = self._known.get(question)
        if isinstance(known, EngineError):
            raise known
        if known is None:
            try:
                known = self._known[question] = await self.ask(question, Sampling(max_tokens=max_tokens))
            except EngineError as error:
                self._known[question] = error
                raise
        return known

    def forget(self) -> None:
        """Ask everything anew."""
        self._known.clear()


def user(text: str) -> tuple[Message, ...]:
    """A conversation of one question."""
    return ({"role": "user", "content": text},)


def quote(text: str, limit_chars: int = 40) -> str:
    """The beginning of a text on one line, in quotation marks."""
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= limit_chars else flat[: limit_chars - 1] + "…")
