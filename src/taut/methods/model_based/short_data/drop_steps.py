"""Chains without some of their steps: checks, all behind the answer, or any (after Liu et al. 2024, arXiv:2411.01855).

The paper, "Can Language Models Learn to Skip Steps?", trains on chains with fewer steps, which its models write when
asked for so many; here steps are taken out of chains that were written in full, in three ways of our own.

A step is a paragraph; of a chain in one paragraph a line, of one line a sentence. ``checks`` leaves out what an audit
reads as checking or as said before, only behind the first statement of the right answer: checks in front of it may be
what made it right. ``after_answer`` leaves out all steps behind that one. ``random`` draws a share of the steps and is
the honest control; it spares the last step, and the one in which the right answer first stands, where that is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from taut.methods.model_based.short_data._chains import (
    chain_of,
    check,
    draw_of,
    pick,
    step_at,
    steps_of,
    with_chain,
    with_chains,
)
from taut.methods.model_based.short_data._nouns import (
    Dropped,
    Example,
    Form,
    Question,
    Reading,
    Take,
    Tools,
)

NOT_FOUND = "the right answer was not found in its chain"


@dataclass(frozen=True, slots=True)
class DropSteps:
    """Leave out steps of a chain."""

    what: Literal["checks", "after_answer", "random"] = "checks"
    """Which steps are left out."""
    share: float = 0.3
    """Of the steps, for ``random``."""
    take: Take = "shortest"
    """Which right answer is shortened: the ``shortest``, the ``longest`` or the ``first`` drawn."""
    seed: int = 0

    makes: ClassVar[Form] = "sft"

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check(0 < self.share <= 1, f"drop_steps: share is {self.share}, it must be above 0 and at most 1")

    @property
    def needs(self) -> frozenset[str]:
        """Where the right answer stands, but for the random control."""
        return frozenset() if self.what == "random" else frozenset({"audit"})

    def __call__(self, questions: Sequence[Question], tools: Tools) -> Iterator[Example | Dropped]:
        """One example a question."""
        for question in questions:
            right = with_chains(question.right)
            if not right:
                yield Dropped(question, "no chain to shorten")
                continue
            sample = pick(right, self.take)
            steps = steps_of(chain_of(sample))
            reading = tools.audit(question, sample) if tools.audit else Reading()
            if self.what != "random" and not reading.right_ends:
                yield Dropped(question, NOT_FOUND)
                continue
            left_out = self._left_out(question, steps, reading)
            kept = "".join(step for place, step in enumerate(steps) if place not in left_out).rstrip()
            written = with_chain(sample, kept if left_out else chain_of(sample), tools)
            yield Example(question, written, columns={"steps": len(steps), "steps_left_out": len(left_out)})

    def _left_out(self, question: Question, steps: Sequence[str], reading: Reading) -> set[int]:
        stands = step_at(steps, reading.right_ends[0]) if reading.right_ends else len(steps) - 1
        if self.what == "after_answer":
            return set(range(stands + 1, len(steps)))
        if self.what == "checks":
            return {place for place in _checking(steps, reading) if place > stands}
        free = [place for place in range(len(steps) - 1) if place != stands]
        wanted = min(len(free), max(1, round(self.share * len(steps))))
        return set(draw_of(self.seed, question.id).sample(free, wanted))


def _checking(steps: Sequence[str], reading: Reading) -> Iterator[int]:
    """Steps more than half of which is checking."""
    start = 0
    for place, step in enumerate(steps):
        end = start + len(step.rstrip())
        covered = sum(max(0, min(end, until) - max(start, since)) for since, until in reading.checks)
        if covered * 2 > end - start:
            yield place
        start += len(step)
