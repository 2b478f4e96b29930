"""The chain up to the place where the right answer first stands (Chen et al. 2024, arXiv:2412.21187).

The *first correct solution* of "Do NOT Think That Much for 2+3=?" as a training target, by imitation or as a preference
over the model's longest right answer; ``statements=2`` keeps one check of it (the paper's "FCS + reflection";
unverified: recalled, as is the preference's form).
Differs from it: where the answer stands is read by Taut's audit (the verifier's equality at every place that states an
answer) and not by a model, and the cut is at the end of the sentence that states it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from taut.methods.model_based.short_data._chains import (
    as_it_is,
    chain_of,
    check,
    in_order,
    pick,
    step_at,
    steps_of,
    with_chain,
    with_chains,
)
from taut.methods.model_based.short_data._nouns import Dropped, Example, Form, Question, Sample, Take, Tools

_SENTENCE_END = re.compile(r"[.!?](?=\s)|\n(?!\s*(?:\\\]|\$\$))|$")
"""Also the end of a line, unless a displayed formula is closed in the next one; the text's end in any case."""


@dataclass(frozen=True, slots=True)
class CutAtFirstCorrect:
    """End the chain where the right answer stands."""

    makes: Form = "sft"
    """``sft``, or ``preference`` over the longest right answer as it is."""
    statements: int = 1
    """How many statements of the right answer are kept: 2 keeps one check of it."""
    end: Literal["sentence", "step", "statement"] = "sentence"
    """Where the cut is: behind the sentence or the step that states the answer, or right behind the statement."""
    take: Take = "shortest"
    """Which right answer is cut: the ``shortest``, the ``longest`` or the ``first`` drawn."""

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check(self.statements >= 1, f"cut_at_first_correct: statements is {self.statements}, it must be at least 1")

    @property
    def needs(self) -> frozenset[str]:
        """Where the right answer stands."""
        return frozenset({"audit"})

    def __call__(self, questions: Sequence[Question], tools: Tools) -> Iterator[Example | Dropped]:
        """One example a question; a chain that ends with its answer is kept whole."""
        for question in questions:
            right = with_chains(question.right)
            if not right:
                yield Dropped(question, "no chain to shorten")
                continue
            sample = pick(right, self.take)
            ends = tools.audit(question, sample).right_ends if tools.audit else ()
            if not ends:
                yield Dropped(question, "the right answer was not found in its chain")
                continue
            kept = self._kept(chain_of(sample), ends[min(self.statements, len(ends)) - 1])
            yield self._example(question, sample, kept, tools)

    def _kept(self, chain: str, place: int) -> str:
        if self.end == "statement":
            return chain[:place]
        if self.end == "sentence":
            found = _SENTENCE_END.search(chain, place)
            return chain[: found.end() if found else place].rstrip()
        steps = steps_of(chain)
        return "".join(steps[: step_at(steps, place) + 1]).rstrip()

    def _example(self, question: Question, sample: Sample, kept: str, tools: Tools) -> Example | Dropped:
        whole = chain_of(sample).rstrip()
        written = as_it_is(sample) if kept == whole else with_chain(sample, kept, tools)
        columns = {"share_kept": round(len(kept) / len(whole), 4)}
        if self.makes == "sft":
            return Example(question, written, columns=columns)
        longest = in_order(question.right)[-1]
        if longest == sample and kept == whole:
            return Dropped(question, "no longer answer to reject")
        return Example(question, written, as_it_is(longest), columns=columns)
