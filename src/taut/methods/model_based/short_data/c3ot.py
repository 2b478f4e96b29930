"""Both lengths of a chain under a condition in the prompt (C3oT, Kang et al. 2024, arXiv:2412.11664).

A compressor rewrites the long chain in few words; the model learns both, each with its condition in the prompt, and is
asked with the short condition afterwards. The paper's compressor is GPT-4; here it is any engine, or a file of
compressions that were drawn before. Unverified: the wording of the conditions and of the compressor's prompt is ours,
as no official code was found.
Differs from it: the answer behind the chain stays the model's own, so a compression cannot make it wrong; one that is
not at least ``least_saved`` shorter is dropped with its question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from taut.core import Message, Prompt, Task
from taut.methods.model_based.short_data._chains import (
    as_it_is,
    chain_of,
    check,
    pick,
    with_chain,
    with_chains,
)
from taut.methods.model_based.short_data._nouns import Dropped, Example, Form, Question, Sample, Take, Tools

COMPRESS = (
    "Rewrite the reasoning below in as few words as you can. Keep every number, formula and intermediate result that "
    "is needed, and its result; leave out repetitions, checks and remarks. Write the short reasoning and nothing else."
    "\n\nQuestion:\n{question}\n\nReasoning:\n{chain}"
)


@dataclass(frozen=True, slots=True)
class C3ot:
    """Teach the long and the compressed chain, each under its condition."""

    long_condition: str = "Reason at length."
    """The paragraph at the end of the prompt that asks for the whole chain; empty for none."""
    short_condition: str = "Reason in few words."
    """The paragraph that asks for the compressed one."""
    least_saved: float = 0.1
    """Share of the chain's characters by which a compression must be shorter."""
    both: bool = True
    """The long form too; without it only the compressed chains are taught."""
    take: Take = "first"
    """Which right answer is compressed: ``first`` drawn, ``shortest`` or ``longest``."""

    makes: ClassVar[Form] = "sft"
    needs: ClassVar[frozenset[str]] = frozenset({"compressions"})

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        check(0 <= self.least_saved < 1, f"c3ot: least_saved is {self.least_saved}, it must be from 0 to below 1")
        check(
            not self.both or self.long_condition.strip() != self.short_condition.strip(),
            "c3ot: long_condition and short_condition are the same: the model could not tell which chain is asked for",
        )

    def asks(self, questions: Sequence[Question]) -> Iterator[Task]:
        """What a compressor is to be asked: one task a question, under the key of its sample."""
        for question in questions:
            if right := with_chains(question.right):
                sample = pick(right, self.take)
                text = COMPRESS.format(question=question.task.question, chain=chain_of(sample).strip())
                yield Task(sample.key, ({"role": "user", "content": text},))

    def __call__(self, questions: Sequence[Question], tools: Tools) -> Iterator[Example | Dropped]:
        """Two examples a question, or one without ``both``."""
        for question in questions:
            right = with_chains(question.right)
            if not right:
                yield Dropped(question, "no chain to shorten")
                continue
            yield from self._examples(question, pick(right, self.take), tools)

    def _examples(self, question: Question, sample: Sample, tools: Tools) -> Iterator[Example | Dropped]:
        short = (tools.compressions or {}).get(sample.key, "").strip()
        if not short:
            yield Dropped(question, "no compression of its chain")
            return
        if len(short) > (1 - self.least_saved) * len(chain_of(sample).strip()):
            yield Dropped(question, "its compression is not shorter")
            return
        if self.both:
            messages = _conditioned(question, self.long_condition)
            yield Example(question, as_it_is(sample), messages=messages, columns={"length": "long"})
        messages = _conditioned(question, self.short_condition)
        yield Example(question, with_chain(sample, short, tools), messages=messages, columns={"length": "short"})


def _conditioned(question: Question, condition: str) -> tuple[Message, ...]:
    prompt = Prompt(question.task.messages)
    return prompt.instruct(condition).messages if condition else prompt.messages
