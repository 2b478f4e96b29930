"""The shortest right answer of n rollouts (Munkhbat et al. 2025, arXiv:2502.20122).

"Self-Training Elicits Concise Reasoning": the model is fine-tuned on its own shortest right answer to every question.
The paper's better form, few-shot best of n, is the same builder over traces that were drawn with concise exemplars (the
preset ``few_shot_concise``); traces of both presets give the union. Kimi k1.5's *shortest rejection sampling*
(arXiv:2501.12599) is ``of_n=8`` (unverified: the eight is recalled).
Differs from it: length is counted in tokens of the whole response, as there, or of the thinking alone (``of``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.short_data._chains import as_it_is, check, in_order
from taut.methods.model_based.short_data._nouns import Dropped, Example, Form, Question, Tools
from taut.rollouts import Length


@dataclass(frozen=True, slots=True)
class ShortestCorrect:
    """Keep the shortest right answer of every question."""

    of_n: int | None = None
    """How many samples of a question are looked at, in the order drawn; ``None`` takes all. The paper draws 16."""
    keep: int = 1
    """How many of the shortest right answers are kept per question."""
    max_tokens: int | None = None
    """A longest length in tokens, beyond which no answer is kept."""
    of: Length = "total"
    """Which length counts: ``total`` (the whole response) or ``thinking``."""

    makes: ClassVar[Form] = "sft"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check(self.of_n is None or self.of_n >= 1, f"shortest_correct: of_n is {self.of_n}, it must be at least 1")
        check(self.keep >= 1, f"shortest_correct: keep is {self.keep}, it must be at least 1")

    def __call__(self, questions: Sequence[Question], tools: Tools) -> Iterator[Example | Dropped]:
        """One example a question, or ``keep`` of them."""
        for question in questions:
            drawn = question.samples[: self.of_n]
            right = in_order((sample for sample in question.right if sample in drawn), self.of)
            short = [sample for sample in right if self.max_tokens is None or sample.tokens(self.of) <= self.max_tokens]
            if not short:
                yield Dropped(question, "longer than max_tokens" if right else "no right answer among the first of_n")
            for sample in short[: self.keep]:
                yield Example(question, as_it_is(sample))
