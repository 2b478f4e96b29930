"""Thinking into labelled segments by the word lists, without a model and in linear time.

Every sentence gets the label of the first cue in it (`taut.audit.words.CUES`); a sentence without one goes on with
what was under way:

- *reading* lasts while sentences at the beginning have its cues, and to the end of that paragraph;
- *checking* and *another approach* last to the end of their paragraph while there is no answer yet, and what follows
  is working again; once the answer stands, work that goes on checks it, or follows another approach to it if one is
  announced, until it is stated again;
- a sentence that was there before, word for word, is *repetition* (`taut.audit.repetition`).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cache

from taut.audit.text import Sentence, words_pattern
from taut.audit.words import CUES, FILLERS, Label

MAX_IDLE = 2
"""Sentences in a row without words of reading, after which the work has begun."""


LIST_MARKS = r"(?:[*•>#\"“(\[_-]|\d{1,2}[.)]|\s){0,8}"
"""Before a sentence's first word: bullets, numbers, quotes, emphasis."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring sentences of one label; ``start`` and ``end`` are characters of the thinking."""

    label: Label
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """A sentence, the label of its own words (``None``: it has none), and what it is part of."""

    sentence: Sentence
    cue: Label | None
    label: Label
    states_answer: bool


@cache
def _patterns() -> tuple[tuple[Label, bool, object], ...]:
    fillers = "|".join(FILLERS)
    before = rf"{LIST_MARKS}(?:(?:{fillers})[\s,.!?:…—-]{{1,4}}){{0,4}}"
    return tuple((cue.label, cue.at_start, words_pattern(cue.words, before if cue.at_start else "")) for cue in CUES)


def cue_of(low: str, sentence: Sentence) -> Label | None:
    """The label of the first list that has words in this sentence; ``low`` is the whole text, `lowered`."""
    for label, at_start, pattern in _patterns():
        find = pattern.match if at_start else pattern.search  # type: ignore[attr-defined]
        if find(low, sentence.start, sentence.end):
            return label
    return None


def label_sentences(
    low: str, found: Sequence[Sentence], stating: Set[int] = frozenset(), repeated: Set[int] = frozenset()
) -> list[Labelled]:
    """Every sentence with its label. ``stating`` and ``repeated`` are positions in ``found``."""
    labelled = []
    state: Label = "reading"
    stands = False
    idle = 0
    for position, sentence in enumerate(found):
        cue = cue_of(low, sentence)
        if state == "reading":
            idle = 0 if cue == "reading" else idle + 1
            calculates = low.find("=", sentence.start, sentence.end) >= 0
            state = "working" if calculates else _reading(cue, sentence, position, idle)
        cue = None if (cue == "reading") != (state == "reading") else cue
        state = _next(state, cue, sentence, stands)
        states = position in stating
        label = "repeated" if position in repeated else _own(state, cue, states)
        labelled.append(Labelled(sentence, cue, label, states))
        if states:
            stands, state = True, "checking"
    return labelled


def _reading(cue: Label | None, sentence: Sentence, position: int, idle: int) -> Label:
    """Whether the question is still being read; a "Hmm" before the work begins doubts nothing yet."""
    is_new = sentence.opens_paragraph and position > 0 and cue != "reading"
    return "working" if is_new or idle > MAX_IDLE or cue == "approach" else "reading"


def _next(state: Label, cue: Label | None, sentence: Sentence, stands: bool) -> Label:
    """What is under way with this sentence."""
    if cue == "approach" or (cue == "checking" and state != "approach"):
        return cue
    if sentence.opens_paragraph and state in ("checking", "approach") and not stands:
        return "working"
    return state


def _own(state: Label, cue: Label | None, states: bool) -> Label:
    if cue in ("checking", "approach"):
        return cue
    return "stated" if states else state


def merge(labelled: Sequence[Labelled], end: int) -> list[Segment]:
    """Segments that cover the text up to ``end`` without gaps: white space belongs to what stands before it."""
    segments: list[Segment] = []
    for item in labelled:
        start = item.sentence.start if segments else 0
        if segments and segments[-1].label == item.label:
            continue
        if segments:
            segments[-1] = Segment(segments[-1].label, segments[-1].start, start)
        segments.append(Segment(item.label, start, end))
    return segments


def count_runs(labelled: Sequence[Labelled], label: Label) -> int:
    """How many times sentences with this cue begin: neighbours, with none but such between them, are one."""
    return sum(
        item.cue == label and item.label != "repeated" and (before is None or before.cue != label)
        for before, item in zip([None, *labelled], labelled, strict=False)
    )
