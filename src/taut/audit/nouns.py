"""What an audit reads and what it finds. Positions are characters of the thinking; tokens say where they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taut.audit.segments import Segment
from taut.audit.words import Label
from taut.core import Count, Finish, Source
from taut.metrics import Estimate


@dataclass(frozen=True, slots=True)
class Thought:
    """One reply of a model, as far as its source tells."""

    id: str
    thinking: str
    answer: str = ""
    question: str = ""
    reference: Any = None
    verifier: str | None = None
    """``None``: picked from the reference or the answer."""
    options: tuple[str, ...] = ()
    thinking_tokens: Count | None = None
    """As the source has them; ``None`` where it does not tell."""
    finish: Finish | None = None
    is_closed: bool | None = None
    """The thinking ended by itself; ``None`` where its source kept no tags."""
    right: bool | None = None
    """The source's own judgement of the answer."""
    group: str = ""
    """What it is a sample of: answers to one question share it."""
    label: str = ""
    """The preset or the model, where several are in one file."""
    dialect: str = ""
    """By which tags it was told from the answer; empty where the source had it apart."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A line or row that could not be read, and why, in one sentence."""

    place: str
    why: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file, or a run folder, as read."""

    thoughts: tuple[Thought, ...]
    without_thinking: int
    """Replies in which nothing was thought."""
    unread: tuple[Unread, ...]
    left_out: int = 0
    """Beyond ``--limit``."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Which column was taken for what, where the file has columns."""


@dataclass(frozen=True, slots=True)
class Round:
    """A solution round: the thinking up to an answer, and what follows it until something new begins."""

    start: int
    end: int
    answer: str | None
    """What it came to; ``None`` where nothing was stated."""
    is_new: bool
    """The first, or one by another approach: not a check of an earlier one."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found in one trace. Numbers of tokens are positions' shares of ``thinking_tokens``."""

    id: str
    group: str
    label: str
    question: str
    chars: int
    thinking_tokens: int
    tokens_source: Source
    final: str | None
    """The final answer; ``None`` where none could be found."""
    verifier: str | None
    """By whose equality the places were found."""
    final_stands_in: str
    """``answer``, or ``thinking`` where there is no other; empty where there is none at all."""
    right: bool | None
    """``None``: nothing to compare with, or not judged."""
    stands_at: int | None
    """Character behind the earliest statement of the final answer."""
    first_right_at: int | None
    """The same for the reference."""
    tokens_to_answer: int | None
    tokens_after: int | None
    """Of the thinking, behind the place where the answer first stands."""
    rounds: int
    new_rounds: int
    """Rounds that are no mere check of an earlier one."""
    rounds_source: str
    """``words``, or ``judge`` where a model told them."""
    reflections: int
    switches: int
    tokens_by_label: dict[Label, int]
    is_truncated: bool
    is_without_answer: bool
    """There is thinking, and no text behind it."""
    outcome_efficiency: float | None
    """Tokens to the first right answer over all; 0 where none is right, ``None`` without a reference."""
    process_efficiency: float | None
    """Tokens of the rounds that are new over all."""
    underthinking: float | None
    """Of a wrong answer: the share of tokens behind the first right one; ``None`` for others."""
    segments: tuple[Segment, ...]

    @property
    def repeated_tokens(self) -> int:
        """In sentences that were there before."""
        return self.tokens_by_label.get("repeated", 0)

    @property
    def spent_after(self) -> int:
        """Tokens behind the answer; of a trace without one those in loops: what the worst are ranked by."""
        return self.repeated_tokens if self.tokens_after is None else self.tokens_after


@dataclass(frozen=True, slots=True)
class Totals:
    """Over all traces, or those of one label. Estimates are by question where several traces share one."""

    traces: int
    questions: int
    located: int
    """Traces in which the final answer was found in the thinking."""
    estimated_tokens: int
    """Traces whose tokens were estimated from their length."""
    measures: dict[str, Estimate | None]
    """By name, as `taut.audit.totals.MEASURES` explains them."""
    counts: dict[str, int]
    """How many traces each measure is taken over."""
    share_by_label: dict[str, float]
    """Of all thinking tokens."""


@dataclass(frozen=True, slots=True)
class Judging:
    """What the engine was asked for."""

    engine: str
    judged: int
    failed: int
    """Traces whose rounds come from the words, as the model's reply could not be used."""
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that ``audit.json`` holds."""

    source: str
    totals: Totals
    by_label: dict[str, Totals]
    dialects: dict[str, int]
    unread: Sequence[Unread]
    without_thinking: int
    left_out: int
    columns: Mapping[str, str]
    notes: tuple[str, ...]
    judging: Judging | None
    audits: Sequence[Audit]
