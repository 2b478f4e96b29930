"""Long and short chains mixed, for small models (Mix Distillation, Li et al. 2025, arXiv:2502.12143).

"Small Models Struggle to Learn from Strong Reasoners": models up to about 3B learn better from a mix of long and short
chains than from long ones alone (unverified: about one long to four short is recalled). Each question is drawn to be a
long or a short example.
Differs from it: the paper's long chains come from a reasoning model and the short ones from an ordinary one; here they
are the longest and the shortest right answer in the traces, whoever wrote them. ``long_preset`` and ``short_preset``
name the presets they must come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from taut.methods.model_based.short_data._chains import as_it_is, check, draw_of, pick
from taut.methods.model_based.short_data._nouns import Dropped, Example, Form, Question, Take, Tools
from taut.rollouts import Length


@dataclass(frozen=True, slots=True)
class MixLengths:
    """A share of long examples among short ones."""

    long_share: float = 0.2
    """Share of the questions that are given with their longest right answer."""
    long_preset: str | None = None
    """Long answers are taken from this preset alone; ``None`` from any."""
    short_preset: str | None = None
    """Short answers are taken from this preset alone; ``None`` from any."""
    of: Length = "total"
    """Which length counts: ``total`` (the whole response) or ``thinking``."""
    seed: int = 0

    makes: ClassVar[Form] = "sft"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check(0 <= self.long_share <= 1, f"mix_lengths: long_share is {self.long_share}, it must be from 0 to 1")

    def __call__(self, questions: Sequence[Question], tools: Tools) -> Iterator[Example | Dropped]:
        """One example a question."""
        for question in questions:
            is_long = draw_of(self.seed, question.id).random() < self.long_share
            preset = self.long_preset if is_long else self.short_preset
            found = [sample for sample in question.right if preset is None or sample.preset == preset]
            if not found:
                yield Dropped(question, f"no right answer of the preset {preset!r}")
                continue
            take: Take = "longest" if is_long else "shortest"
            yield Example(question, as_it_is(pick(found, take, self.of)), columns={"length": take.removesuffix("est")})
