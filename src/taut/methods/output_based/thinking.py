"""The one loop for thinking: stream it, let a stop rule look at checkpoints, close it, take the answer.

A rule says go on, stop or extend, at the checkpoints it asks for (`_lookout`), by trial answers that are probed there
beside the stream. Where it stops, the thinking ends at that checkpoint: what was written behind it meanwhile is
discarded, counted, and was never shown.

A cap that the rule knows beforehand is given to the server as a thinking budget where it keeps one (and watched: a
server that does not keep it is cut), so that one call is enough. Elsewhere it is sent to the engine as ``max_tokens``,
so that nothing is generated past it and the count is exact; an answer cut by that goes on in a second call, which the
engine's prefix cache makes cheap. Thinking may be cut, an empty answer may not happen: room
for it is kept, thinking that ends without an answer is closed and continued, and an empty answer is asked for once
more with a beginning.

An answer that is to have a form (``response_format`` and its like) is a call of its own, once the thinking is closed:
a form holds for every token of a call, so it would bind the thinking too, and an answer that goes on in a second call
would begin anew in the middle.

A model without thinking tags is handled as in two-stage zero-shot chain of thought (Kojima et al. 2022,
arXiv:2205.11916): what it writes after "Let's think step by step." is the thinking, and its dialect's closing words
ask for the answer.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Literal

from taut.checkpoints import Checkpoint, Extend, Stop, StopRule, Verdict
from taut.core import Finish, Piece, Reply, Sampling, Turn
from taut.errors import UsageError
from taut.messages import without_form
from taut.methods.output_based._lookout import Lookout
from taut.methods.output_based._probing import pauses
from taut.methods.output_based._uncontinued import NATIVE_SLACK_TOKENS as NATIVE_SLACK_TOKENS
from taut.methods.output_based._uncontinued import THINKS_ALL_THE_SAME as THINKS_ALL_THE_SAME
from taut.methods.output_based._uncontinued import THOUGHT_AGAIN as THOUGHT_AGAIN
from taut.methods.output_based._uncontinued import Uncut, think_without_continuing, thinks_again
from taut.methods.output_based._written import Written, torn_chars
from taut.session import Session, Stream

ZERO_SHOT_TRIGGER = "Let's think step by step.\n"
ANSWER_BEGINNING = "The final answer is"
AGAIN = Stop(THOUGHT_AGAIN)
FORM = "the form or stop strings asked for hold for the answer alone"
SUPPRESSED = "the words that are held back are held back in the thinking alone"
NOTHING_MORE = Stop("the engine writes nothing more")
OPENING_TOKENS = 8
"""More before a pause where the stretch before brought nothing: what opens a thought is tokens too."""
LIMIT_REACHED = Stop("the limit of thinking tokens is reached")


@dataclass(frozen=True, slots=True)
class Thinking:
    """Think under a stop rule, then answer."""

    rule: StopRule
    answer_room_tokens: int = 256
    """Tokens kept free for the answer below the ceiling of the whole response; fewer under a low ceiling."""
    thinking_ceiling_tokens: int | None = None
    """Thinking tokens at most, whatever the rule says."""
    probing: Literal["auto", "beside", "between"] = "auto"
    """``beside``: the thinking streams on while a probe is asked. ``between``: it pauses, and goes on from the engine's
    prefix cache afterwards. ``auto``: beside, but for engines with a cache that running calls do not share."""

    def __post_init__(self) -> None:
        """Reject a loop that leaves no room to answer."""
        if self.answer_room_tokens < 1:
            raise UsageError(f"answer_room_tokens is {self.answer_room_tokens}, it must be at least 1 token")
        if self.thinking_ceiling_tokens is not None and self.thinking_ceiling_tokens < 0:
            raise UsageError(f"thinking_ceiling_tokens is {self.thinking_ceiling_tokens}, it cannot be below 0")

    @property
    def cap_tokens(self) -> int | None:
        """The hard limit in thinking tokens: the rule's, or the ceiling, whichever is lower."""
        caps = [cap for cap in (self.rule.wants.max_thinking_tokens, self.thinking_ceiling_tokens) if cap is not None]
        return min(caps, default=None)

    @property
    def needs(self) -> frozenset[str]:
        """Prefill, to continue a turn (or a server that caps by itself, where that is all), and what the rule needs."""
        way = "prefill|thinking_budget" if self.rule.wants.only_caps else "prefill"
        return frozenset({way}) | self.rule.wants.needs

    def answer_room(self, ceiling_tokens: int | None) -> int:
        """Tokens kept for the answer under this ceiling.

        Under a low one the room gives way, so that the thinking is not squeezed out without a word: to what the rule's
        cap leaves, but to no less than a quarter of the ceiling; without a cap, to half of it.
        """
        if ceiling_tokens is None:
            return self.answer_room_tokens
        cap = self.cap_tokens
        share = ceiling_tokens // 2 if cap is None else max(ceiling_tokens - cap, ceiling_tokens // 4)
        return max(min(self.answer_room_tokens, share), 1)

    async def __call__(self, session: Session) -> Reply:
        """Answer the prompt."""
        obstacle = session.why_not_continue() or self._why_only_the_server(session)
        if obstacle is None:
            return await _Loop(session, self).run()
        if self.rule.wants.looks or self.rule.wants.suppress:
            session.decide("rule not asked", why=obstacle)
        ceiling = session.sampling.max_tokens
        room = self.answer_room(ceiling)
        return await think_without_continuing(session, Uncut(obstacle, self.cap_tokens, ceiling, room))

    def _why_only_the_server(self, session: Session) -> str | None:
        """Why the thinking cannot be followed from here; ``None`` if it can, or nobody else could."""
        engine = session.engine()
        is_known = engine.dialect.thinks or "thinking_budget" not in engine.offers
        return None if is_known or not self.rule.wants.only_caps else "how this model marks its thinking is not known"


class _Loop:
    """One question under way: the turn as it grows, and what has been spent on it."""

    def __init__(self, session: Session, method: Thinking) -> None:
        self.session = session
        self.wants = method.rule.wants
        self.cap = method.cap_tokens
        self.pauses = self.wants.has_probes and pauses(method.probing, session.engine().offers)
        self.ceiling = session.sampling.max_tokens
        self.room = method.answer_room(self.ceiling)
        if self.room < method.answer_room_tokens:
            session.decide("answer room", tokens=self.room, why=f"the ceiling is {self.ceiling} tokens")
        free = without_form(session.sampling.extra)
        # A form, or a stop string, is meant for the answer: found in the thinking it would end or spoil that.
        # Words that are held back are so in the thinking: they may belong into the answer.
        has_form = len(free) < len(session.sampling.extra) or bool(session.sampling.stop)
        self.why_apart = FORM if has_form else SUPPRESSED if self.wants.suppress else ""
        self.thinking_sampling = replace(session.sampling, extra=free, stop=())
        turn = session.prompt.turn
        self.written = Written(turn, session.show)
        self.closed = turn.closed
        # The server's own budget is for a thought that nobody else may want to end or extend.
        engine = session.engine()
        thinks = engine.dialect.thinks and turn.is_empty
        self.native_budget: int | None = None
        self.is_native = thinks and self.wants.only_caps and "thinking_budget" in engine.offers
        self.lookout = Lookout(
            session, self.wants, method.rule.watch(), lambda: self.written.text("thinking"), pauses=self.pauses
        )
        self.unseen_tokens = 0
        """Of a call that brought nothing but the tag that opens the thought: they count against the ceiling too."""
        self.left_at: Checkpoint | None = None
        self.outside: Verdict = None
        self.pauses_at_a_count = False
        self.has_stalled = False
        if not engine.dialect.thinks and turn.is_empty:
            self.written.give(ZERO_SHOT_TRIGGER)

    async def run(self) -> Reply:
        """Think until somebody ends it, then answer."""
        finish: Finish | None = None
        try:
            if not self.closed:
                self.lookout.start()
            while not self.closed:
                finish = await self._think()
        finally:
            await self.lookout.drop()
        if finish is None:
            finish = await self._answer(self._answer_limit())
        if not self.written.text("answer").strip():
            finish = await self._insist()
        return Reply(self.turn.thinking, self.turn.answer, finish)

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        return Turn(self.written.text("thinking"), self.closed, self.written.text("answer"))

    async def _think(self) -> Finish | None:
        """One stretch of thinking. Returns how the call finished if it brought the whole answer too."""
        limit = self._thinking_limit()
        if limit == 0:
            self._close(self._limit_reached())
            return None
        if self.pauses and (verdict := await self._decided(wait=True)) is not None:
            # At the very start: nothing is written yet.
            self.left_at = None
            self._settle(verdict)
            return None
        before, chars = self.written.tokens["thinking"], self.written.chars
        self.lookout.go_on(before)
        async with self._stream_thinking(self._until_the_pause(limit)) as stream:
            verdict = await self._follow(stream)
        if (usage := stream.call.usage) is not None:
            # The engine's own count is better than the sum of the pieces.
            self.written.tokens["thinking"] = before + usage.thinking.tokens
            self.unseen_tokens += max(usage.completion.tokens - usage.thinking.tokens - stream.tokens["answer"], 0)
        if verdict is None and self.pauses and not stream.text("answer"):
            verdict = await self._in_the_pause()
            has_paused = stream.finish == ("length" if self.pauses_at_a_count else "cancelled")
            had_stalled, self.has_stalled = self.has_stalled, self.written.chars <= chars
            if verdict is None and has_paused:
                # A server that writes nothing more would be asked for ever.
                if not (had_stalled and self.has_stalled):
                    return None
                verdict = NOTHING_MORE
        self._cut(stream)
        return await self._after(stream, verdict)

    def _until_the_pause(self, limit: int | None) -> int | None:
        """Tokens to ask for: to the next probe, where that is known beforehand, but no more than the limit."""
        pause = self.lookout.tokens_to_next_probe if self.pauses and not self.lookout.is_open else None
        if pause is not None and self.has_stalled:
            pause += OPENING_TOKENS
        self.pauses_at_a_count = pause is not None and (limit is None or pause < limit)
        return pause if self.pauses_at_a_count else limit

    async def _in_the_pause(self) -> Verdict:
        """Have the probes asked that the thinking pauses for, if it does, and wait for what the rule says."""
        self._mend_torn_tag()
        return await self._decided(wait=True)

    def _mend_torn_tag(self) -> None:
        """A pause may fall into a closing tag of several tokens: what there is of it is taken off, and written anew.

        Its tokens stay counted, so that the next pause comes later: at the same token it would tear the tag for ever.
        """
        tags = self.session.engine().dialect.close_tags
        torn = torn_chars(self.written.text("thinking"), tags) if self.pauses_at_a_count else 0
        if torn:
            self.written.cut(self.written.chars - torn, self.written.tokens["thinking"])

    async def _follow(self, stream: Stream) -> Verdict:
        """Take pieces until the stream or the rule ends it."""
        verdict, answering = None, False
        async for piece in stream:
            if piece.kind == "answer" and not answering:
                answering = True
                verdict = await self._at_end()
                if isinstance(verdict, Extend) or self.why_apart:
                    stream.call.discarded_tokens = stream.tokens["answer"]
                    return verdict
            piece = self.written.take(piece)
            if answering:
                self.written.show()
                if self._thinks_again(piece):
                    return AGAIN
                continue
            self.lookout.feed(piece)
            if self.pauses and self.lookout.is_waiting_for_probes:
                if self.pauses_at_a_count:
                    continue  # The call ends here by itself: its place in the cache is free at once.
                return None
            verdict = await self._decided() or self._when_closed(self._from_outside())
            if verdict is not None:
                return verdict
        return verdict

    async def _decided(self, *, wait: bool = False) -> Verdict:
        """What the rule has decided meanwhile; the client sees what no verdict can cut off any more."""
        decided = await self.lookout.verdict(wait=wait)
        if decided is None:
            self.written.show(self.lookout.settled_chars)
            return None
        self.left_at, verdict = decided
        return verdict

    def _when_closed(self, verdict: Verdict) -> Verdict:
        """A verdict given inside a code fence waits until the fence is closed."""
        self.outside = self.outside or verdict
        return None if self.lookout.is_open else self.outside

    async def _at_end(self) -> Verdict:
        """What the rule says to the model's own end of its thinking."""
        self.written.show()
        return await self.lookout.at_end(self.written.tokens["thinking"])

    def _cut(self, stream: Stream) -> None:
        """Where the rule has decided, the thinking ends there: what came behind it is discarded."""
        place, self.left_at = self.left_at, None
        if place is not None:
            stream.call.discarded_tokens = max(self.written.tokens["thinking"] - place.thinking_tokens, 0)
            self.written.cut(min(place.chars, self.written.chars), place.thinking_tokens)

    def _from_outside(self) -> Verdict:
        """A reason to stop that is not the rule's."""
        if self.session.is_answer_wanted():
            return Stop("the answer was asked for now")
        if (
            self.native_budget is not None
            and self.written.tokens["thinking"] > self.native_budget + NATIVE_SLACK_TOKENS
        ):
            return Stop("the server went past the thinking budget it was given")
        return None

    async def _after(self, stream: Stream, verdict: Verdict) -> Finish | None:
        """What follows a stretch that has ended, by whomever."""
        await self.lookout.leave()
        if (stream.tokens["answer"] or stream.text("answer")) and not isinstance(verdict, Extend):
            self.closed = True
            if verdict is AGAIN:
                return self._leave_answered()
            if self.why_apart:
                self.session.decide("answer apart", why=self.why_apart)
                return None
            return None if stream.finish == "length" and self._answer_limit() != 0 else stream.finish
        if verdict is None and stream.finish == "stop":
            verdict = await self._at_end() or Stop("the model stopped without closing its thinking")
        self._settle(verdict or self._limit_reached())
        return None

    def _settle(self, verdict: Stop | Extend) -> None:
        if isinstance(verdict, Extend):
            self._extend(verdict)
        else:
            self._close(verdict)

    def _extend(self, verdict: Extend) -> None:
        self.session.decide(
            "extend", why=verdict.why, text=verdict.text, thinking_tokens=self.written.tokens["thinking"]
        )
        self.written.strip()
        self.written.give(f"\n{verdict.text}" if self.written.chars else verdict.text)

    def _limit_reached(self) -> Stop:
        """Which limit it was: the cap, or what the ceiling of the whole response leaves beside the answer's room."""
        if self.ceiling is None or (self.cap is not None and self.cap <= self.ceiling - self.room):
            return LIMIT_REACHED
        return Stop(f"room for the answer is kept: {self.room} of the {self.ceiling} tokens at most")

    def _close(self, verdict: Stop) -> None:
        self.session.decide("stop", why=verdict.why, thinking_tokens=self.written.tokens["thinking"])
        self.written.show()
        if self.written.text("thinking").count("```") % 2 == 1:
            self.written.give("\n```")
        self.closed = True

    async def _answer(self, limit: int | None) -> Finish:
        """The answer, or the rest of it."""
        async with self._stream(limit) as stream:
            async for piece in stream:
                self.written.take(piece)
                self.written.show()
                if self._thinks_again(piece):
                    return self._leave_answered() or "stop"
        return stream.finish

    def _thinks_again(self, piece: Piece) -> bool:
        return thinks_again(piece, self.written.tokens["thinking"], self.cap)

    def _leave_answered(self) -> Finish | None:
        """The call is left where the answer stands; where none does, it is still to be taken."""
        self.session.decide("stop", why=THOUGHT_AGAIN, thinking_tokens=self.written.tokens["thinking"])
        return "stop" if self.written.text("answer").strip() else None

    async def _insist(self) -> Finish:
        """An empty answer is asked for once more, with its beginning given."""
        self.session.decide("insist", why="the answer was empty")
        if self.why_apart != FORM:
            self.written.take(Piece("answer", ANSWER_BEGINNING))
        return await self._answer(self.room)

    def _stream(self, limit: int | None) -> AbstractAsyncContextManager[Stream]:
        prompt, sampling = replace(self.session.prompt, turn=self.turn), self._sampling()
        return self.session.stream(prompt, max_tokens=limit, sampling=sampling)

    def _sampling(self) -> Sampling:
        """For the next call. A server without a reasoning parser would hold the thinking to the answer's form too."""
        return self.session.sampling if self.closed else self.thinking_sampling

    def _stream_thinking(self, limit: int | None) -> AbstractAsyncContextManager[Stream]:
        """A call that begins in the thinking; under the server's own budget it may bring the whole answer too."""
        if not self.is_native:
            turn = (
                replace(self.turn, thinking=self.written.resumed(whole=self.has_stalled)) if self.pauses else self.turn
            )
            return self.session.stream(
                replace(self.session.prompt, turn=turn),
                max_tokens=limit,
                top_logprobs=self.wants.token_logprobs,
                suppress=self.wants.suppress,
                sampling=self._sampling(),
            )
        # Under a low ceiling the server is given less than the cap, and held to that: room for the answer stays.
        self.native_budget = limit
        self.session.decide("native budget", thinking_tokens=limit)
        prompt, sampling = replace(self.session.prompt, turn=self.turn), self._sampling()
        return self.session.stream(prompt, max_tokens=self.ceiling, thinking_budget_tokens=limit, sampling=sampling)

    def _thinking_limit(self) -> int | None:
        """Thinking tokens that may still be generated; ``None`` if nothing limits them."""
        limits = [] if self.cap is None else [self.cap]
        if self.ceiling is not None:
            limits.append(max(self.ceiling - self.room, 0))
        return max(min(limits) - self.written.tokens["thinking"], 0) if limits else None

    def _answer_limit(self) -> int | None:
        """Answer tokens that may still be generated. Room is always left: the thinking never used it up."""
        if self.ceiling is None:
            return None
        left = self.ceiling - sum(self.written.tokens.values()) - self.unseen_tokens
        return max(left, 0) if self.written.tokens["answer"] else max(left, 1)
