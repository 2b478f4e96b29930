"""NoThinking: skip the thinking (Ma et al. 2025, arXiv:2504.09858).

``prefill`` is the paper's way: the thinking block is given as "Okay, I think I have finished thinking." and closed.
``switch`` is the family's own off switch, which the model was trained with. Differs from the paper: ``auto`` takes the
switch where the family has one, and the prefill where it has none. On a model that has no thinking block, the answer is
asked for at once, without room for reasoning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from taut.core import Method, Prompt, Reply, Turn
from taut.methods.prompt_based.direct import Direct
from taut.session import Session

FINISHED = "Okay, I think I have finished thinking."


@dataclass(frozen=True, slots=True)
class NoThinking:
    """Answer at once."""

    how: Literal["auto", "switch", "prefill"] = "auto"
    """By the family's off switch, or by a thinking block that is given as finished."""
    inner: Method = Direct()

    @property
    def needs(self) -> frozenset[str]:
        """One of the two ways."""
        ways = {"auto": "thinking_switch|prefill", "switch": "thinking_switch", "prefill": "prefill"}
        return frozenset({ways[self.how]})

    async def __call__(self, session: Session) -> Reply:
        """Answer the prompt without thinking."""
        return await self.inner(session.derive(prompt=self.rewrite(session)))

    def rewrite(self, session: Session) -> Prompt:
        """The prompt with thinking ruled out. Raises `MethodError` where the engine can do it in neither way."""
        engine = session.engine()
        if self.how != "prefill" and "thinking_switch" in engine.offers:
            return replace(session.prompt, think=False)
        thinking = FINISHED if engine.dialect.thinks else ""
        return replace(session.prompt, turn=Turn(thinking=thinking, closed=True))
