"""The family's on switch, for models with two modes that think only when told to (Qwen3, arXiv:2505.09388; Granite).

The counterpart of `no_thinking`. A family without a switch thinks or does not, and is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from taut.core import Method, Reply
from taut.methods.prompt_based.direct import Direct
from taut.session import Session


@dataclass(frozen=True, slots=True)
class ThinkingOn:
    """Switch thinking on."""

    inner: Method = Direct()

    needs: ClassVar[frozenset[str]] = frozenset()

    async def __call__(self, session: Session) -> Reply:
        """Answer the prompt with thinking on."""
        return await self.inner(session.derive(prompt=replace(session.prompt, think=True)))
