"""Thinking that cannot be continued once it is cut: a request with tools or images, an engine without prefill.

The server's own budget does it where there is one. Elsewhere the thinking is left at its limit and the question asked
once more with the family's off switch thrown: the thought is lost and paid for, the budget holds, and what is
generated after the thinking (an answer, a tool call) is never cut. The same happens where a server does not keep its
own budget, where a reply ends within its thinking, and where the answer is asked for now. A family without such a
switch goes on uncut, and that is written down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from taut.core import Prompt, Reply
from taut.session import Session

NATIVE_SLACK_TOKENS = 16
"""What a server may think past its own budget: the words with which it closes the thought count, and some round up."""


@dataclass(frozen=True, slots=True)
class Uncut:
    """What is known beforehand."""

    why: str
    """Why it cannot be continued."""
    cap_tokens: int | None
    """Thinking tokens at most."""
    ceiling_tokens: int | None
    """Of the whole response."""
    room_tokens: int
    """Kept for the answer."""

    @property
    def limit_tokens(self) -> int | None:
        """Thinking tokens at most, so that room is left."""
        limits = [] if self.cap_tokens is None else [self.cap_tokens]
        if self.ceiling_tokens is not None:
            limits.append(max(self.ceiling_tokens - self.room_tokens, 0))
        return min(limits, default=None)


async def think_without_continuing(session: Session, uncut: Uncut) -> Reply:
    """Answer in one call, or in two when the thinking has to be left."""
    limit = uncut.limit_tokens
    is_native = "thinking_budget" in session.engine().offers and uncut.cap_tokens is not None
    can_leave = can_switch_off(session)
    if limit == 0 and can_leave:
        if uncut.cap_tokens != 0:
            session.decide("thinking off", why=f"the ceiling of {uncut.ceiling_tokens} tokens leaves no room for it")
        return await _answer_unthought(session, None)
    if is_native:
        session.decide("native budget", thinking_tokens=limit, why=uncut.why)
    if can_leave:
        return await _leave_at(session, uncut, is_native)
    if limit is not None and not is_native:
        session.decide("not enforced", why=f"{uncut.why}, and thinking cannot be switched off")
    return await session.answer(thinking_budget_tokens=limit if is_native else None)


def can_switch_off(session: Session) -> bool:
    """The family has a switch that is no prefill: that one would have to be continued."""
    dialect = session.engine().dialect
    return "thinking_switch" in session.engine().offers and dialect.off.kind not in ("none", "prefill")


async def _leave_at(session: Session, uncut: Uncut, is_native: bool) -> Reply:
    """One call, left when its thinking reaches the limit or the answer is asked for; then one without thinking."""
    limit = uncut.limit_tokens
    slack = NATIVE_SLACK_TOKENS + 1 if is_native else 0
    async with session.stream(thinking_budget_tokens=limit if is_native else None) as stream:
        async for piece in stream:
            session.show(piece)
            if piece.kind == "answer":
                continue
            is_past = limit is not None and stream.tokens["thinking"] >= limit + slack
            is_thinking = not stream.tokens["answer"] and not stream.tool_calls
            if is_thinking and (is_past or session.is_answer_wanted()):
                break
        reply = stream.reply
    if reply.answer.strip() or reply.tool_calls:
        return reply
    spent = stream.tokens["thinking"]
    session.decide("restart without thinking", thinking_tokens=spent, why=uncut.why)
    left = None if uncut.ceiling_tokens is None else max(uncut.ceiling_tokens - spent, 1)
    second = await _answer_unthought(session, left)
    return replace(second, thinking=reply.thinking + second.thinking)


async def _answer_unthought(session: Session, limit: int | None) -> Reply:
    prompt: Prompt = replace(session.prompt, think=False)
    return await session.derive(prompt=prompt).answer(max_tokens=limit)
