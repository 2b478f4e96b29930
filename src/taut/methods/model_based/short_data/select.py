"""Few good questions out of many: quality, difficulty, diversity (LIMO, arXiv:2502.03387; s1, arXiv:2501.19393).

Quality leaves out chains that are too long, that say the same over and over, and that ended without an answer.
Difficulty is the model's own: LIMO keeps questions it solves sometimes but not always, s1 those with long chains.
Diversity draws as s1 does: a category, each as likely as the others, and in it a question, the longer the likelier: its
chance halves with each place in the order of lengths. Categories come from a field of the questions' metadata, or from
n-grams that they share. Unverified: the rates and weights are recalled; 817 examples are LIMO's count, 1,000 are s1's.
Differs from them: no other model judges quality or tells categories, and the shortest right chain of a question is
taught by default, since these data are to teach short thinking.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from taut.methods.model_based.short_data._chains import (
    as_it_is,
    chain_of,
    check,
    draw_of,
    pick,
    steps_of,
)
from taut.methods.model_based.short_data._ngrams import clusters
from taut.methods.model_based.short_data._nouns import Dropped, Example, Form, Question, Sample, Take, Tools


@dataclass(frozen=True, slots=True)
class Select:
    """Pick n questions that are hard, clean and unlike each other."""

    n: int = 817
    """Examples that are kept."""
    least_solve_rate: float = 0.0
    """Share of a question's samples that must be right; one must be in any case."""
    most_solve_rate: float = 1.0
    """Share of a question's samples that may be right: below 1 it leaves out what is always solved."""
    max_tokens: int | None = None
    """Longer responses, in tokens, are left out."""
    most_repeated: float = 0.3
    """Share of a chain's steps that may stand there before, word for word."""
    category: str = ""
    """The field of the questions' metadata that names their category; empty for n-grams."""
    least_overlap: float = 0.5
    """Of n-grams, from which two questions are of one category."""
    longer: Literal["likelier", "alike"] = "likelier"
    """Whether questions with longer chains are drawn first."""
    take: Take = "shortest"
    """Which right answer is taught: the ``shortest``, the ``longest`` or the ``first`` drawn."""
    seed: int = 0

    makes: ClassVar[Form] = "sft"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check(self.n >= 1, f"select: n is {self.n}, it must be at least 1")
        check(
            0 <= self.least_solve_rate <= self.most_solve_rate <= 1,
            f"select: least_solve_rate ({self.least_solve_rate}) and most_solve_rate ({self.most_solve_rate}) must be "
            "shares from 0 to 1, the first not above the second",
        )

    def __call__(self, questions: Sequence[Question], tools: Tools) -> Iterator[Example | Dropped]:
        """One example for each of the n that are picked; a reason for each of the others."""
        good: list[tuple[Question, Sample]] = []
        for question in questions:
            clean = [sample for sample in question.right if self._is_clean(sample)]
            why = self._why_not(question) or ("" if clean else "its right answers are too long, or repeat themselves")
            if why:
                yield Dropped(question, why)
            else:
                good.append((question, pick(clean, self.take)))
        categories = self._categories([question for question, _ in good])
        picked = self._picked([sample.tokens() for _, sample in good], categories)
        for place, (question, sample) in enumerate(good):
            if place in picked:
                yield Example(question, as_it_is(sample), columns={"category": categories[place]})
            else:
                yield Dropped(question, f"not among the {self.n} that were picked")

    def _why_not(self, question: Question) -> str:
        if question.solve_rate > self.most_solve_rate:
            return "solved too often"
        return "solved too seldom" if question.solve_rate < self.least_solve_rate else ""

    def _is_clean(self, sample: Sample) -> bool:
        steps = [step.strip() for step in steps_of(chain_of(sample))]
        is_short = self.max_tokens is None or sample.tokens() <= self.max_tokens
        return is_short and len(steps) - len(set(steps)) <= self.most_repeated * len(steps)

    def _categories(self, questions: Sequence[Question]) -> list[str]:
        if self.category:
            return [str(question.task.metadata.get(self.category, "")) for question in questions]
        numbers = clusters([question.task.question for question in questions], self.least_overlap)
        return [f"group {number + 1}" for number in numbers]

    def _picked(self, tokens: Sequence[int], categories: Sequence[str]) -> set[int]:
        """Places of those drawn: a category first, then one in it."""
        left: dict[str, list[int]] = defaultdict(list)
        for place in sorted(range(len(tokens)), key=lambda place: -tokens[place]):
            left[categories[place]].append(place)
        draw = draw_of(self.seed, "select")
        picked: set[int] = set()
        while left and len(picked) < self.n:
            category = draw.choice(sorted(left))
            picked.add(self._drawn(left, category, draw))
            if not left[category]:
                del left[category]
        return picked

    def _drawn(self, left: Mapping[str, list[int]], category: str, draw: random.Random) -> int:
        """Take one out of its category; the longest stand first there."""
        places = left[category]
        if self.longer == "alike":
            return places.pop(draw.randrange(len(places)))
        chances = [2.0**-place for place in range(min(len(places), 50))]
        return places.pop(draw.choices(range(len(chances)), chances)[0])
