"""Chains that lose their beginning stage by stage (stepwise internalisation, Deng et al. 2024, arXiv:2405.14838).

Stage 0 has the whole chain, stage t has lost its first ``t * per_stage`` words, the last one all of them; the column
``stage`` tells them apart, and each stage is to be trained with a fresh optimiser. Removal smoothing takes o more words
with a probability proportional to exp(-lambda * o).
Differs from it: a stage counts words, or steps, and not tokens of one tokenizer; the paper removes 8 more tokens an
epoch until none is left, which is ``per_stage=8`` with as many stages as that takes (39 tokens on GSM8K, then all).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from taut.methods.model_based.short_data._chains import (
    chain_of,
    check,
    draw_of,
    pick,
    steps_of,
    with_chain,
    with_chains,
    words_of,
)
from taut.methods.model_based.short_data._nouns import Dropped, Example, Form, Question, Take, Tools


@dataclass(frozen=True, slots=True)
class ImplicitCot:
    """Remove chains from the left, in stages."""

    stages: int = 8
    """The number of the last stage, in which nothing is left; there are one more with the whole chain."""
    per_stage: int | None = None
    """Words, or steps, that each stage removes; ``None`` spreads every chain evenly over the stages."""
    unit: Literal["words", "steps"] = "words"
    """What is removed."""
    smoothing_lambda: float = 4.0
    """Of the further removal; larger is less, 0 is none."""
    take: Take = "shortest"
    """Which right answer is shortened: the ``shortest``, the ``longest`` or the ``first`` drawn."""
    seed: int = 0

    makes: ClassVar[Form] = "sft"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check(self.stages >= 1, f"implicit_cot: stages is {self.stages}, it must be at least 1")
        check(
            self.per_stage is None or self.per_stage >= 1,
            f"implicit_cot: per_stage is {self.per_stage}, it must be at least 1",
        )
        check(
            self.smoothing_lambda >= 0,
            f"implicit_cot: smoothing_lambda is {self.smoothing_lambda}, it must not be below 0",
        )

    def __call__(self, questions: Sequence[Question], tools: Tools) -> Iterator[Example | Dropped]:
        """One example a question and stage."""
        for question in questions:
            right = with_chains(question.right)
            if not right:
                yield Dropped(question, "no chain to shorten")
                continue
            sample = pick(right, self.take)
            chain = chain_of(sample)
            parts = steps_of(chain) if self.unit == "steps" else words_of(chain)
            draw = draw_of(self.seed, question.id)
            for stage in range(self.stages + 1):
                removed = self._removed(stage, len(parts), draw)
                kept = "".join(parts[removed:]) if removed else chain
                columns = {"stage": stage, "removed": removed}
                yield Example(question, with_chain(sample, kept, tools), columns=columns)

    def _removed(self, stage: int, parts: int, draw: random.Random) -> int:
        """How many of the parts are gone in this stage."""
        if stage == self.stages:
            return parts
        planned = stage * self.per_stage if self.per_stage else round(stage * parts / self.stages)
        return min(parts, planned + (self._further(draw) if stage else 0))

    def _further(self, draw: random.Random) -> int:
        """Drawn with a probability proportional to exp(-lambda * o)."""
        chance = draw.random()
        return 0 if not self.smoothing_lambda else math.floor(math.log(max(chance, 1e-12)) / -self.smoothing_lambda)
