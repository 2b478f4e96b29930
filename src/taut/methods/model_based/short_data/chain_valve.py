"""Several lengths of one question in order, long to short (CoT-Valve's MixChain, Ma et al. 2025, arXiv:2502.09601).

A question's right answers make a ladder of ``levels`` rungs. The column ``stage`` counts from 0, the longest: training
stage after stage is the paper's progressive form (CoT-Valve+P). The column ``scale`` is its per-sample strength of the
adapter, ``1 - (m - m_min) / (m_max - m_min)`` for a length of m tokens: 0 for the longest, 1 for the shortest
(CoT-Valve++). The interpolation of the adapter itself is ``taut adapter scale``.
Differs from it: the paper makes the lengths by sweeping the strength of an adapter; here they are whatever right
answers the traces hold, from rollouts, presets or such a sweep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.short_data._chains import as_it_is, check, in_order
from taut.methods.model_based.short_data._nouns import Dropped, Example, Form, Question, Sample, Tools
from taut.rollouts import Length


@dataclass(frozen=True, slots=True)
class ChainValve:
    """A ladder of lengths per question, in stages."""

    levels: int = 3
    """Lengths per question at most; the longest and the shortest are always among them."""
    least_step: float = 0.1
    """Share by which each length must be shorter than the one before."""
    of: Length = "total"
    """Which length counts: ``total`` (the whole response) or ``thinking``."""

    makes: ClassVar[Form] = "sft"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check(self.levels >= 2, f"chain_valve: levels is {self.levels}, it must be at least 2")
        check(0 < self.least_step < 1, f"chain_valve: least_step is {self.least_step}, it must be between 0 and 1")

    def __call__(self, questions: Sequence[Question], tools: Tools) -> Iterator[Example | Dropped]:
        """Two to ``levels`` examples a question."""
        for question in questions:
            ladder = self._ladder(question.right)
            if len(ladder) < 2:
                yield Dropped(question, "right answers of one length only")
                continue
            longest, shortest = ladder[0].tokens(self.of), ladder[-1].tokens(self.of)
            for place, sample in enumerate(ladder):
                # A short ladder leaves out stages in the middle, so that the last one is the shortest everywhere.
                stage = round(place * (self.levels - 1) / (len(ladder) - 1))
                scale = 1 - (sample.tokens(self.of) - shortest) / (longest - shortest)
                yield Example(question, as_it_is(sample), columns={"stage": stage, "scale": round(scale, 4)})

    def _ladder(self, right: Sequence[Sample]) -> list[Sample]:
        """From the longest to the shortest, evenly out of the lengths that differ enough."""
        ordered = in_order(right, self.of)
        apart = [ordered[0]]
        for sample in ordered[1:]:
            if apart[-1].tokens(self.of) <= (1 - self.least_step) * sample.tokens(self.of):
                apart.append(sample)
        apart.reverse()
        if len(apart) <= self.levels:
            return apart
        return [apart[round(rung * (len(apart) - 1) / (self.levels - 1))] for rung in range(self.levels)]
