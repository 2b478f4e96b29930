"""Chains without their unimportant words, at a ratio that the prompt names (TokenSkip, arXiv:2502.12067).

For each question one of the ratios is drawn; the most important words of the chain are kept at that ratio, and the
prompt reads ``question<|eot_id|>0.7<|eot_id|>``, or the bare question at ratio 1. Importance is LLMLingua-2's
probability to keep a word (``llmlingua2``), the word's surprisal under the model itself (``surprisal``), or drawn
(``random``): the honest control, which at least one study found no worse than entropy (unverified: arXiv:2607.28707).
Differs from it: exactly the share ``ratio`` of the words is kept, where the official code keeps tokens above a
percentile; the answer behind the chain is the model's own and stays whole, where there it is rewritten as
"The final answer is"; the ratio's mark is a parameter, since ``<|eot_id|>`` is the end of a turn to some models only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from taut.core import Message
from taut.messages import append_text
from taut.methods.model_based.short_data._chains import (
    chain_of,
    check,
    draw_of,
    pick,
    with_chain,
    with_chains,
    words_of,
)
from taut.methods.model_based.short_data._nouns import Dropped, Example, Form, Question, Sample, Take, Tools, Weighed


@dataclass(frozen=True, slots=True)
class TokenSkip:
    """Keep the important words of a chain, at a drawn ratio."""

    ratios: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    """Shares of words that are kept; each question draws one."""
    all_ratios: bool = False
    """Every ratio of every question, not a drawn one."""
    importance: Literal["llmlingua2", "surprisal", "random"] = "llmlingua2"
    """What tells a word's importance; the first two need a model."""
    keep: tuple[str, ...] = ("Step", ":")
    """Words with this in them are always kept, as the paper does for Llama."""
    keep_digits: bool = True
    """Words with digits are always kept."""
    max_tokens: int | None = 500
    """Longer chains, in tokens, are left out, as in the paper; ``None`` takes all."""
    mark: str = "<|eot_id|>"
    """Stands before and behind the ratio at the end of the question."""
    take: Take = "first"
    """Which right answer is shortened: ``first`` drawn (the paper's is greedy), ``shortest`` or ``longest``."""
    seed: int = 0

    makes: ClassVar[Form] = "sft"

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check(bool(self.ratios), "token_skip: ratios is empty, it must hold shares such as 0.5|0.7|1.0")
        wrong = [ratio for ratio in self.ratios if not 0 < ratio <= 1]
        check(not wrong, f"token_skip: ratios has {wrong[0] if wrong else ''}, each must be above 0 and at most 1")

    @property
    def needs(self) -> frozenset[str]:
        """A model that weighs words, but for the random control."""
        return frozenset() if self.importance == "random" else frozenset({"importance"})

    def __call__(self, questions: Sequence[Question], tools: Tools) -> Iterator[Example | Dropped]:
        """One example a question, or one a ratio."""
        for question in questions:
            right = with_chains(question.right)
            short = [sample for sample in right if self.max_tokens is None or sample.tokens() <= self.max_tokens]
            if not short:
                yield Dropped(question, "longer than max_tokens" if right else "no chain to shorten")
                continue
            yield from self._examples(question, pick(short, self.take), tools)

    def _examples(self, question: Question, sample: Sample, tools: Tools) -> Iterator[Example]:
        draw = draw_of(self.seed, question.id)
        drawn = draw.choice(self.ratios)
        chain = chain_of(sample)
        if self.importance == "random" or tools.importance is None:
            weighed: Weighed = [(word, draw.random()) for word in words_of(chain)]
        else:
            weighed = tools.importance(question.task.question, chain)
        for ratio in self.ratios if self.all_ratios else (drawn,):
            text = chain if ratio == 1 else _kept(self._forced(weighed), ratio)
            messages = self._asking(question, ratio)
            yield Example(question, with_chain(sample, text, tools), messages=messages, columns={"ratio": ratio})

    def _forced(self, weighed: Weighed) -> Weighed:
        """With endless weight for the words that stay in any case."""
        return [(word, math.inf if self._stays(word) else weight) for word, weight in weighed]

    def _stays(self, word: str) -> bool:
        return any(part in word for part in self.keep) or (self.keep_digits and any(map(str.isdigit, word)))

    def _asking(self, question: Question, ratio: float) -> tuple[Message, ...] | None:
        """The prompt that names the ratio; ``None`` (the bare question) where nothing is left out."""
        if ratio == 1:
            return None
        *before, last = question.task.messages
        return (*before, append_text(last, f"{self.mark}{ratio:g}{self.mark}"))


def _kept(weighed: Weighed, ratio: float) -> str:
    """The most important share of the words, of equals the earlier ones, and all that must stay."""
    wanted = max(1, round(ratio * len(weighed)))
    ranked = sorted(range(len(weighed)), key=lambda place: -weighed[place][1])
    places = {*ranked[:wanted], *(place for place in ranked if weighed[place][1] == math.inf)}
    return "".join(weighed[place][0] for place in sorted(places)).strip()
