"""A fixed token budget in the prompt (Han et al. 2024, "Token-Budget-Aware LLM Reasoning", arXiv:2412.18547).

Only asks: nothing is cut (``budget_forcing`` does that). The paper's *token elasticity* applies: a budget that is far
too small makes answers longer than a moderate one does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taut.core import Method, Reply
from taut.errors import UsageError
from taut.methods.prompt_based.direct import Direct
from taut.session import Session

INSTRUCTION = "Let's think step by step and use less than {budget_tokens} tokens:"


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """Ask the model to keep to a number of tokens."""

    budget_tokens: int = 50
    """Tokens named in the prompt."""
    inner: Method = Direct()

    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Reject a budget that leaves nothing."""
        if self.budget_tokens < 1:
            raise UsageError(f"token_budget: budget_tokens is {self.budget_tokens}, it must be at least 1 token")

    async def __call__(self, session: Session) -> Reply:
        """Answer the prompt with the budget added."""
        return await self.inner(session.instruct(INSTRUCTION.format(budget_tokens=self.budget_tokens)))
