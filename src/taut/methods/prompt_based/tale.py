"""TALE-EP: the model estimates its own token budget first (Han et al. 2024, arXiv:2412.18547).

Call 1 asks for the number of tokens the answer needs, written as ``[[n]]``; call 2 answers under that budget. The
estimate is on the trace with the role ``estimate`` and its tokens are counted, which the paper's table leaves out.
Differs from the paper: an estimate that cannot be read, or lies outside ``min_tokens..max_tokens``, falls back to the
nearest allowed value (``fallback_tokens`` if there is none), because small models often answer the question instead;
the estimate is asked for without thinking where the model family has a switch, and capped at ``estimate_tokens``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar

from taut.core import Method, Prompt, Reply
from taut.errors import UsageError
from taut.messages import for_side_call
from taut.methods.prompt_based.direct import Direct
from taut.methods.prompt_based.token_budget import INSTRUCTION
from taut.session import Session

ESTIMATE = (
    "Task: Analyze the given question and estimate the minimum number of tokens required to generate a complete and "
    "accurate response. Please give the response by strictly following this format: [[budget]], for example, "
    "Budget: [[12]].\n\nQuestion: {question}"
)
BUDGET = re.compile(r"\[\[\s*(\d{1,6})\s*\]\]")
LOOSE_BUDGET = re.compile(r"budget\D{0,20}(\d{1,6})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tale:
    """Estimate a budget, then answer within it."""

    min_tokens: int = 20
    """Smallest budget that is named, in tokens: smaller ones make answers longer (the paper's token elasticity)."""
    max_tokens: int = 4096
    """Largest budget that is named, in tokens."""
    fallback_tokens: int = 100
    """Budget named when the estimate cannot be read, in tokens."""
    estimate_tokens: int = 64
    """Ceiling for the estimating call, in tokens."""
    inner: Method = Direct()

    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Reject limits that exclude each other."""
        if not 1 <= self.min_tokens <= self.max_tokens:
            raise UsageError(
                f"tale: min_tokens ({self.min_tokens}) must be at least 1 and not above max_tokens ({self.max_tokens})"
            )

    async def __call__(self, session: Session) -> Reply:
        """Answer the prompt under the estimated budget."""
        budget_tokens = await self.estimate(session)
        return await self.inner(session.instruct(INSTRUCTION.format(budget_tokens=budget_tokens)))

    async def estimate(self, session: Session) -> int:
        """Ask for the budget, in tokens."""
        ask = ESTIMATE.format(question=session.trace.task.question)
        think = False if "thinking_switch" in session.engine().offers else None
        prompt = Prompt(messages=({"role": "user", "content": ask},), think=think)
        # A sampled estimate is noise on top of noise; tools, forms and stop strings are for the answer.
        sampling = replace(session.sampling, temperature=0.0, stop=(), extra=for_side_call(session.sampling.extra))
        reply = await session.generate(prompt, role="estimate", max_tokens=self.estimate_tokens, sampling=sampling)
        text = reply.answer or reply.thinking
        found = BUDGET.findall(text) or LOOSE_BUDGET.findall(text)
        wanted = int(found[-1]) if found else self.fallback_tokens
        budget_tokens = min(max(wanted, self.min_tokens), self.max_tokens)
        session.decide("budget", tokens=budget_tokens, read=bool(found), asked_for=wanted)
        return budget_tokens
