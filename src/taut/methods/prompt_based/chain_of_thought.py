"""Zero-shot chain of thought: "Let's think step by step." (Kojima et al. 2022, arXiv:2205.11916).

Differs from the paper: the trigger stands at the end of the question instead of at the start of the answer, because
chat templates leave no room there, and there is no second call to extract the answer: the verifier reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.core import Method, Reply
from taut.methods.prompt_based.direct import Direct
from taut.session import Session

INSTRUCTION = "Let's think step by step."


@dataclass(frozen=True, slots=True)
class ChainOfThought:
    """Ask for reasoning in the open."""

    inner: Method = Direct()

    needs: ClassVar[frozenset[str]] = frozenset()

    async def __call__(self, session: Session) -> Reply:
        """Answer the prompt with the instruction added."""
        return await self.inner(session.instruct(INSTRUCTION))
