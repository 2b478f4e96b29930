"""Chain of Draft: a few words per step (Xu et al. 2025, arXiv:2502.18600).

The few-shot drafts are part of the method: the paper reports that without them, and with models below 3B, most of the
gain in length or the accuracy is lost. Differs from the official code: the examples are our own (arithmetic word
problems in the same style), given as earlier turns of the conversation, and the answer format is the task's, named
after ``####`` as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.core import Message, Method, Reply
from taut.errors import UsageError
from taut.methods.prompt_based.direct import Direct
from taut.session import Session

INSTRUCTION = (
    "Think step by step, but only keep a minimum draft for each thinking step, with {words_per_step} words at most. "
    "Return the answer at the end of the response after a separator ####."
)
DRAFTS = (
    (
        "A baker has 24 rolls, sells 9 in the morning and bakes 12 more at noon. How many rolls are there now?",
        "24 - 9 = 15; 15 + 12 = 27. #### 27",
    ),
    (
        "Tickets cost $7 each. Nina pays for 4 tickets with a $50 note. How much change does she get?",
        "4 * 7 = 28; 50 - 28 = 22. #### 22",
    ),
    (
        "A train covers 180 km in 3 hours. How far does it go in 5 hours at the same speed?",
        "180 / 3 = 60; 60 * 5 = 300. #### 300",
    ),
)


@dataclass(frozen=True, slots=True)
class ChainOfDraft:
    """Ask for a minimal draft of each step, and show how."""

    words_per_step: int = 5
    """Words a step may have; the paper's value is 5."""
    examples: int = 3
    """How many of the worked drafts are shown (0 to 3)."""
    inner: Method = Direct()

    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        if not 0 <= self.examples <= len(DRAFTS):
            raise UsageError(f"chain_of_draft: examples is {self.examples}, it must be from 0 to {len(DRAFTS)}")
        if self.words_per_step < 1:
            raise UsageError(f"chain_of_draft: words_per_step is {self.words_per_step}, it must be at least 1")

    async def __call__(self, session: Session) -> Reply:
        """Answer the prompt with the instruction added and the drafts before it."""
        instruction = INSTRUCTION.format(words_per_step=self.words_per_step)
        shown: list[Message] = []
        for question, draft in DRAFTS[: self.examples]:
            shown.append({"role": "user", "content": f"{question}\n\n{instruction}"})
            shown.append({"role": "assistant", "content": draft})
        prompt = session.prompt.instruct(instruction).with_examples(tuple(shown))
        return await self.inner(session.derive(prompt=prompt))
