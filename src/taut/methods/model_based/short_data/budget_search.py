"""The answer under the smallest budget that still gives a right one (TALE-PT, Han et al. 2024, arXiv:2412.18547).

The paper halves the budget in the prompt while the answer stays right, and teaches the last right answer to the prompt
without a budget, by imitation or as a preference over the answer without one. Here the answers come from a sweep over
budgets (``--preset token_budget:budget_tokens=400 --preset token_budget:budget_tokens=200 …``), which is the same
search read from the file.
Differs from it: with several samples under one budget it holds if one of them is right. ``cheaper`` (unverified:
recalled as the paper's greedy variant) also asks that each budget makes the answer shorter, because budgets that are
far too small make it longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from taut.methods.model_based.short_data._chains import as_it_is, in_order
from taut.methods.model_based.short_data._nouns import Dropped, Example, Form, Question, Sample, Tools
from taut.rollouts import Length


@dataclass(frozen=True, slots=True)
class BudgetSearch:
    """Keep the answer of the smallest budget that still works."""

    makes: Form = "sft"
    """``sft``, or ``preference`` over the longest right answer without a budget, or under the largest one."""
    search: Literal["descend", "smallest"] = "descend"
    """``descend`` ends at the first budget that fails, as the paper does; ``smallest`` passes over failures."""
    cheaper: bool = True
    """Each further budget must also make the answer shorter."""
    of: Length = "total"
    """Which length counts: ``total`` (the whole response) or ``thinking``."""

    @property
    def needs(self) -> frozenset[str]:
        """Nothing beyond the traces."""
        return frozenset()

    def __call__(self, questions: Sequence[Question], tools: Tools) -> Iterator[Example | Dropped]:
        """One example a question."""
        for question in questions:
            if all(sample.budget_tokens is None for sample in question.samples):
                yield Dropped(question, "no sample under a budget")
                continue
            target = self._search(question)
            if target is None:
                yield Dropped(question, "not right under its largest budget")
                continue
            yield self._example(question, target)

    def _search(self, question: Question) -> Sample | None:
        """The shortest right answer under the last budget that holds."""
        target: Sample | None = None
        budgets = {sample.budget_tokens for sample in question.samples if sample.budget_tokens is not None}
        for budget_tokens in sorted(budgets, reverse=True):
            right = in_order((s for s in question.right if s.budget_tokens == budget_tokens), self.of)
            is_longer = right and target and self.cheaper and right[0].tokens(self.of) >= target.tokens(self.of)
            if right and not is_longer:
                target = right[0]
            elif self.search == "descend":
                break
        return target

    def _example(self, question: Question, target: Sample) -> Example | Dropped:
        columns = {"budget_tokens": target.budget_tokens}
        if self.makes == "sft":
            return Example(question, as_it_is(target), columns=columns)
        free = [sample for sample in question.right if sample.budget_tokens is None]
        longest = in_order(free or question.right, self.of)[-1]
        if longest.tokens(self.of) <= target.tokens(self.of):
            return Dropped(question, "no longer answer to reject")
        return Example(question, as_it_is(target), as_it_is(longest), columns=columns)
