"""Ask for brevity: Concise CoT (Renze & Guven 2024, arXiv:2401.05618), and a fixed word limit (arXiv:2407.19825).

With ``word_limit`` the second paper's sentence is used instead of "Be concise.". Both papers tell of lost accuracy on
mathematics with weaker models: compare before use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.core import Method, Reply
from taut.errors import UsageError
from taut.methods.prompt_based.direct import Direct
from taut.session import Session

INSTRUCTION = "Let's think step by step. Be concise."
WORD_LIMIT = "Let's think step by step and limit the answer length to {word_limit} words."


@dataclass(frozen=True, slots=True)
class Concise:
    """Ask for a short chain of thought."""

    word_limit: int | None = None
    """Words the answer may have; ``None`` only asks for brevity."""
    inner: Method = Direct()

    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Reject a limit that leaves no words."""
        if self.word_limit is not None and self.word_limit < 1:
            raise UsageError(f"concise: word_limit is {self.word_limit}, it must be at least 1 word")

    async def __call__(self, session: Session) -> Reply:
        """Answer the prompt with the instruction added."""
        text = INSTRUCTION if self.word_limit is None else WORD_LIMIT.format(word_limit=self.word_limit)
        return await self.inner(session.instruct(text))
