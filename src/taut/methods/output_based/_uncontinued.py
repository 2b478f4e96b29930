"""Thinking that cannot be continued once it is cut: a request with tools or images, an engine without prefill.

The server's own budget does it where there is one. Elsewhere the thinking is left at its limit and the question asked
once more with the family's off switch thrown: the thought is lost and paid for, the budget holds, and what is
generated after the thinking (an answer, a tool call) is never cut. A server that thinks on with the switch thrown, or
again behind its answer, is left there: nobody is asked a third time. The same happens where a server does not keep its
own budget, where a reply ends within its thinking, and where the answer is asked for now. A family without such a
switch goes on uncut, and that is written down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from taut.core import Piece, Prompt, Reply
from taut.session import Session, Stream

NATIVE_SLACK_TOKENS = 16
"""What a server may think past its own budget: the words with which it closes the thought count, and some round up."""

THINKS_ALL_THE_SAME = "the server thinks although it was asked not to"
THOUGHT_AGAIN = "it thought again after its answer"


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
        return await _answer_unthought(session, None, uncut.cap_tokens)
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
    answer = _Answer()
    async with session.stream(thinking_budget_tokens=limit if is_native else None) as stream:
        async for piece in stream:
            session.show(piece)
            if not answer.is_over(piece):
                continue
            spent = stream.tokens["thinking"]
            if answer.has_begun:
                if thinks_again(piece, spent, uncut.cap_tokens):
                    break
            elif (limit is not None and spent >= limit + slack) or session.is_answer_wanted():
                break
        reply = stream.reply
    spent = stream.tokens["thinking"]
    if reply.answer.strip() or reply.tool_calls:
        return reply if stream.end else _leave_answered(session, reply, spent)
    session.decide("restart without thinking", thinking_tokens=spent, why=uncut.why)
    left = None if uncut.ceiling_tokens is None else max(uncut.ceiling_tokens - spent, 1)
    second = await _answer_unthought(session, left, uncut.cap_tokens, spent)
    return replace(second, thinking=reply.thinking + second.thinking)


async def _answer_unthought(session: Session, max_tokens: int | None, cap: int | None, spent: int = 0) -> Reply:
    """A call with thinking switched off, left for good where the server thinks all the same, past the cap and slack.

    ``spent`` are the thinking tokens before; of such thinking the client sees no more than they leave of the cap.
    """
    prompt: Prompt = replace(session.prompt, think=False)
    answer, thought = _Answer(), ""
    free = inf if cap is None else max(cap - spent, 0)
    async with session.derive(prompt=prompt).stream(max_tokens=max_tokens) as stream:
        async for piece in stream:
            shown = piece
            if piece.kind == "thinking":
                shown = replace(piece, text="") if stream.tokens["thinking"] > free else piece
                thought += shown.text
            session.show(shown)
            if answer.is_over(piece) and stream.tokens["thinking"] > free + NATIVE_SLACK_TOKENS:
                break
        reply = replace(stream.reply, thinking=thought)
    _say_if_it_thought(session, stream, cap)
    if stream.end is not None:
        return reply
    return replace(reply, finish="stop" if reply.answer.strip() else "length")


def _say_if_it_thought(session: Session, stream: Stream, cap: int | None) -> None:
    """Write down that the switch did not work, where the cap is passed by that or the call had to be left."""
    thinking = [call.usage.thinking.tokens for call in session.trace.calls if call.usage is not None]
    is_past = cap is not None and sum(thinking) > cap
    if stream.text("thinking").strip() and (stream.end is None or is_past):
        session.decide("not enforced", thinking_tokens=stream.tokens["thinking"], why=THINKS_ALL_THE_SAME)


class _Answer:
    """How far the answer of one call has come."""

    __slots__ = ("has_begun", "has_calls")

    def __init__(self) -> None:
        self.has_begun = False
        """There is a word of it."""
        self.has_calls = False

    def is_over(self, piece: Piece) -> bool:
        """The call may be left at this piece: it is thinking, and no tool call has begun."""
        self.has_calls = self.has_calls or bool(piece.tool_calls)
        self.has_begun = self.has_begun or (piece.kind == "answer" and not piece.text.isspace() and bool(piece.text))
        return piece.kind == "thinking" and not self.has_calls


def thinks_again(piece: Piece, thinking_tokens: int, cap_tokens: int | None) -> bool:
    """The model goes back to thinking behind its answer, past the cap and what is allowed for closing words."""
    is_thought = piece.kind == "thinking" and bool(piece.text.strip())
    return is_thought and cap_tokens is not None and thinking_tokens > cap_tokens + NATIVE_SLACK_TOKENS


def _leave_answered(session: Session, reply: Reply, thinking_tokens: int) -> Reply:
    """The reply of a call that is left because it thinks again: the answer stands as it is."""
    session.decide("stop", why=THOUGHT_AGAIN, thinking_tokens=thinking_tokens)
    return replace(reply, finish="stop")
