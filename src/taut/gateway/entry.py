"""One request under way: what passes through it is counted, and the ends of its texts are kept, for the live page.

`Entry.piece` is called once a token and must cost next to nothing: nothing is joined until somebody looks, or until
so many pieces lie about that they would take memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taut.core import TOKEN_ROLES, Finish, Kind, Piece, Trace
from taut.gateway.nouns import Grant
from taut.session import CHARS_PER_TOKEN

TAIL_CHARS = 4000
"""Of the thinking and of the answer of a running request, each."""
JOIN_AFTER = 512
"""Pieces that may lie about before they are made one text, so that a long answer does not hold a million of them."""
BY_GRAVITY: tuple[Finish, ...] = ("error", "cancelled", "length", "stop")

Shown = dict[str, Any]
"""JSON-able."""


class Tail:
    """The end of a text that grows, and the tokens behind all of it."""

    __slots__ = ("_chars_dropped", "other_chars", "parts", "tokens")

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.tokens = 0
        self.other_chars = 0
        """Characters that are counted and not shown: those of further candidates."""
        self._chars_dropped = 0

    def shorten(self) -> str:
        """Join what has come, let go of all but the last `TAIL_CHARS` characters, and return them."""
        text = "".join(self.parts)
        kept = text[-TAIL_CHARS:]
        self._chars_dropped += len(text) - len(kept)
        self.parts = [kept] if kept else []
        return kept

    @property
    def chars(self) -> int:
        """Characters that have come, dropped ones included."""
        return self._chars_dropped + sum(map(len, self.parts))

    @property
    def estimated_tokens(self) -> int:
        """By the length of the text, for an engine that does not count while it streams."""
        return -(-(self.chars + self.other_chars) // CHARS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a request ended, where its traces do not tell or there are none."""

    finish: Finish = "stop"
    tokens: Mapping[str, int] | None = None
    """By role (`TOKEN_ROLES`); ``None``: as counted while they passed."""
    estimated: bool = False
    """Some of the counts are estimated."""
    decision: str = ""
    """What the method decided last, and why."""
    error: str | None = None
    """One sentence; a request with an error counts as failed."""


def ending_of(traces: Sequence[Trace]) -> Ending:
    """How a request with these traces, one a candidate, has ended."""
    tallies = [trace.tokens_by_role() for trace in traces]
    tokens = {role: sum(tally[role].total for tally in tallies) for role in TOKEN_ROLES}
    decisions = [decision for trace in traces for decision in trace.decisions]
    finishes = [trace.finish for trace in traces if trace.finish is not None]
    return Ending(
        # A run that nobody has closed was left in the middle.
        finish=min(finishes, key=BY_GRAVITY.index, default="cancelled"),
        tokens={role: count for role, count in tokens.items() if count},
        estimated=any(tally[role].estimated for tally in tallies for role in TOKEN_ROLES),
        decision=_sentence(decisions[-1]) if decisions else "",
        error=next((trace.error for trace in traces if trace.error), None),
    )


def _sentence(decision: Mapping[str, Any]) -> str:
    """Only the event and its reason: other facts of a decision may be somebody's text."""
    event, why = str(decision.get("event", "")), decision.get("why")
    return f"{event}: {why}" if isinstance(why, str) and why else event


@dataclass(slots=True, eq=False)
class Entry:
    """One request under way. It is an onlooker of its runs (`taut.run.Onlooker`)."""

    id: str
    preset: str
    engine: str
    protocol: str
    key_name: str
    can_answer_now: bool
    entered_s: float
    _remove: Callable[[Entry, Ending], None]
    _answer_now: Callable[[], None]
    grant: Grant | None = None
    """What is in force; set when it is known."""
    why_not: str = ""
    """Why it cannot be asked to answer now, in a few words."""
    asked: bool = False
    """Somebody has asked for the answer now."""
    _traces: list[Trace] = field(default_factory=list)
    _tails: dict[Kind, Tail] = field(default_factory=lambda: {"thinking": Tail(), "answer": Tail()})

    def began(self, trace: Trace) -> None:
        """A run for this request begins: its further calls (probes, drafts …) are counted as they end."""
        self._traces.append(trace)

    def is_answer_wanted(self) -> bool:
        """Somebody pressed *Answer now*."""
        return self.asked

    def piece(self, piece: Piece, index: int = 0) -> None:
        """A piece of candidate ``index`` has come; only the first candidate's text is shown."""
        tail = self._tails[piece.kind]
        tail.tokens += piece.tokens
        if index:
            tail.other_chars += len(piece.text)
            return
        tail.parts.append(piece.text)
        if len(tail.parts) > JOIN_AFTER:
            tail.shorten()

    def leave(self, ending: Ending | None = None) -> None:
        """It is over; without an ``ending`` its traces tell how. A second call changes nothing."""
        self._remove(self, ending or (ending_of(self._traces) if self._traces else Ending()))

    def ask(self) -> bool:
        """Ask for the answer now; ``False`` where that is not possible."""
        if not self.can_answer_now:
            return False
        self.asked = True
        self._answer_now()
        return True

    def tokens(self) -> tuple[dict[str, int], bool]:
        """Tokens so far by role, and whether some are estimated."""
        counts = {kind: tail.tokens or tail.estimated_tokens for kind, tail in self._tails.items()}
        estimated = any(counts[kind] and not tail.tokens for kind, tail in self._tails.items())
        found: dict[str, int] = {kind: count for kind, count in counts.items() if count}
        for trace in self._traces:
            for role, tally in trace.tokens_by_role().items():
                if tally.total and role not in counts:
                    found[role] = found.get(role, 0) + tally.total
        return found, estimated

    @property
    def state(self) -> str:
        """``waiting``, ``thinking`` or ``answering``."""
        if self._tails["answer"].parts:
            return "answering"
        return "thinking" if self._tails["thinking"].parts else "waiting"

    def who(self) -> Shown:
        """What stays the same while it runs."""
        return {
            "id": self.id,
            "preset": self.preset,
            "engine": self.engine,
            "protocol": self.protocol,
            "who": self.key_name,
            "budget_tokens": self.grant.budget_tokens if self.grant else None,
            "mechanism": self.grant.mechanism if self.grant else "none",
        }

    def texts(self, limit: int = TAIL_CHARS) -> Shown:
        """The ends of both texts, each with the number of characters that have come in all."""
        return {kind: {"text": tail.shorten()[-limit:], "chars": tail.chars} for kind, tail in self._tails.items()}

    def show(self, now_s: float, with_texts: bool) -> Shown:
        """What is known, JSON-able; ``now_s`` on the clock of ``entered_s``."""
        tokens, estimated = self.tokens()
        shown = {
            **self.who(),
            "seconds": round(now_s - self.entered_s, 2),
            "state": self.state,
            "asked": self.asked,
            "can_answer_now": self.can_answer_now,
            "why_not": self.why_not or ("" if self.can_answer_now else "its preset cannot end its thinking early"),
            "tokens": tokens,
            "estimated": estimated,
        }
        return {**shown, **self.texts()} if with_texts else shown
