"""The question as it is: the baseline that everything else is compared with.

Nothing is added to the prompt, and thinking is left to the model's default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.core import Reply
from taut.session import Session


@dataclass(frozen=True, slots=True)
class Direct:
    """Ask once, pass everything on."""

    needs: ClassVar[frozenset[str]] = frozenset()

    async def __call__(self, session: Session) -> Reply:
        """Answer the prompt with one call."""
        return await session.answer()
