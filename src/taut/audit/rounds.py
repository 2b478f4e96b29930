"""Solution rounds by the word lists: each runs to an answer, and on until something new begins.

A round ends where the answer has been stated and the next sentence with a cue of checking or another approach begins.
Text behind the last statement is part of the last round, unless another approach or a check of some length follows:
that is a round without an answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from taut.audit.nouns import Round
from taut.audit.segments import Labelled

ANNOUNCED_WITHIN = 3
"""Sentences at the beginning of a round, of which one must announce another approach for the round to be new."""
MIN_CHARS = 60
"""A shorter check ("Wait, is that right? Yes, 18 it is.") belongs to the round that it checks."""


def find_rounds(labelled: Sequence[Labelled], end: int, answer: str | None) -> list[Round]:
    """The rounds, in order, that cover the thinking up to ``end``; ``answer`` is what the statements state."""
    starts = _starts(labelled)
    rounds = []
    for position, first in enumerate(starts):
        following = starts[position + 1] if position + 1 < len(starts) else len(labelled)
        rounds.append(_round(labelled, first, following, end, answer))
    return _joined(rounds)


def _starts(labelled: Sequence[Labelled]) -> list[int]:
    """The sentences with which rounds begin."""
    starts: list[int] = [0] if labelled else []
    has_answer = False
    for position, item in enumerate(labelled):
        if has_answer and item.cue in ("checking", "approach"):
            starts.append(position)
            has_answer = False
        has_answer = has_answer or item.states_answer
    return starts


def _round(labelled: Sequence[Labelled], first: int, following: int, end: int, answer: str | None) -> Round:
    items = labelled[first:following]
    start = items[0].sentence.start if first else 0
    stop = labelled[following].sentence.start if following < len(labelled) else end
    states = any(item.states_answer for item in items)
    is_new = first == 0 or any(item.cue == "approach" for item in items[:ANNOUNCED_WITHIN])
    return Round(start, stop, answer if states else None, is_new)


def _joined(rounds: Sequence[Round]) -> list[Round]:
    """Checks that are too short to be a round go to the one before."""
    kept: list[Round] = []
    for each in rounds:
        if kept and not each.is_new and each.end - each.start < MIN_CHARS:
            kept[-1] = Round(kept[-1].start, each.end, kept[-1].answer or each.answer, kept[-1].is_new)
        else:
            kept.append(each)
    return kept
