"""Pairs of a short right answer and a longer one (Kimi k1.5, "long2short" by DPO, arXiv:2501.12599).

Chosen is the shortest right answer; rejected are longer wrong ones, and right ones that are at least ``ratio`` times as
long. Unverified: the ratio of 1.5 is recalled, and how many pairs a question gives is not told.
Differs from it: a question gives ``most_pairs`` at most, the longest rejected answers first, so that a question with
many rollouts does not outweigh the others; answers that were cut at a limit are no pair, as their text has no end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from taut.methods.model_based.short_data._chains import as_it_is, check, in_order
from taut.methods.model_based.short_data._nouns import Dropped, Example, Form, Question, Sample, Tools
from taut.rollouts import Length


@dataclass(frozen=True, slots=True)
class LongToShort:
    """Prefer the shortest right answer to longer ones."""

    ratio: float = 1.5
    """How many times as long as the chosen one a right answer must be to be rejected."""
    rejected: Literal["both", "wrong", "right"] = "both"
    """Which longer answers are rejected."""
    most_pairs: int = 4
    """Pairs per question."""
    of: Length = "total"
    """Which length counts: ``total`` (the whole response) or ``thinking``."""

    makes: ClassVar[Form] = "preference"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check(self.ratio > 1, f"long_to_short: ratio is {self.ratio}, it must be above 1")
        check(self.most_pairs >= 1, f"long_to_short: most_pairs is {self.most_pairs}, it must be at least 1")

    def __call__(self, questions: Sequence[Question], tools: Tools) -> Iterator[Example | Dropped]:
        """Up to ``most_pairs`` pairs a question."""
        for question in questions:
            shortest = in_order(question.right, self.of)[0]
            rejected = in_order(self._rejected(question, shortest), self.of)[::-1]
            if not rejected:
                yield Dropped(question, "no longer answer to reject")
            for sample in rejected[: self.most_pairs]:
                yield Example(question, as_it_is(shortest), as_it_is(sample), columns=self._columns(sample))

    def _rejected(self, question: Question, shortest: Sample) -> Iterator[Sample]:
        length = shortest.tokens(self.of)
        if self.rejected != "right":
            yield from (sample for sample in question.wrong if sample.tokens(self.of) > length)
        if self.rejected != "wrong":
            bar = max(length * self.ratio, length + 1)
            yield from (sample for sample in question.right if sample.tokens(self.of) >= bar)

    def _columns(self, sample: Sample) -> dict[str, bool]:
        return {"rejected_is_right": bool(sample.right)}
