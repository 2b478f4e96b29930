"""Concise worked examples before the question (the few-shot half of FS-BoN, Munkhbat et al. 2025, arXiv:2502.20122).

The paper draws its training samples with eight concise examples in the prompt and keeps the shortest right one (``taut
data shortest_correct``). ``rows`` takes them from a file that this builder has made; the question asked is never among
them. Differs from it: without a file three short examples of our own are shown, and examples are earlier turns of the
conversation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from taut.core import Message, Method, Reply, text_of
from taut.errors import UsageError, one_line
from taut.methods.prompt_based.direct import Direct
from taut.session import Session

Shown = tuple[str, str, str]
"""Identifier of the question, question, reply."""
OWN: tuple[Shown, ...] = (
    (
        "",
        "A baker has 24 rolls, sells 9 in the morning and bakes 12 more at noon. How many rolls are there now?",
        "24 - 9 = 15 rolls are left, and 15 + 12 = 27. The answer is 27.",
    ),
    (
        "",
        "Tickets cost $7 each. Nina pays for 4 tickets with a $50 note. How much change does she get?",
        "The tickets cost 4 * 7 = 28, and 50 - 28 = 22. The answer is 22.",
    ),
    (
        "",
        "A train covers 180 km in 3 hours. How far does it go in 5 hours at the same speed?",
        "180 / 3 = 60 km an hour, and 5 * 60 = 300. The answer is 300.",
    ),
)


@dataclass(frozen=True, slots=True)
class FewShotConcise:
    """Show short replies to other questions first."""

    examples: int = 8
    """How many are shown at most; the paper's value is 8."""
    rows: Path | None = None
    """A file of ``taut data``; ``None`` shows three examples of our own."""
    inner: Method = Direct()

    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Reject values outside their range, and files without examples."""
        if self.examples < 1:
            raise UsageError(f"few_shot_concise: examples is {self.examples}, it must be at least 1")
        if self.rows is not None:
            _read(self.rows)

    async def __call__(self, session: Session) -> Reply:
        """Answer the prompt with the examples before it."""
        task = session.trace.task
        known = _read(self.rows) if self.rows is not None else OWN
        others = [each for each in known if each[0] != task.id and each[1] != task.question]
        turns: list[Message] = []
        for _, question, reply in others[: self.examples]:
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        return await self.inner(session.derive(prompt=session.prompt.with_examples(tuple(turns))))


@lru_cache(maxsize=8)
def _read(path: Path) -> tuple[Shown, ...]:
    """All rows of the file. Raises `UsageError`."""
    try:
        rows = [msgspec.json.decode(line) for line in path.expanduser().read_bytes().splitlines() if line.strip()]
        shown = tuple(_shown(row) for row in rows)
    except OSError as error:
        raise UsageError(f"few_shot_concise: cannot read {path}: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UsageError(
            f"few_shot_concise: {path} is no file of 'taut data' with prompts and completions: {one_line(error, 80)}"
        ) from None
    if not shown:
        raise UsageError(f"few_shot_concise: {path} is empty: at least one example is needed")
    return shown


def _shown(row: Any) -> Shown:
    asked = [message for message in row["prompt"] if message["role"] == "user"]
    return str(row.get("id", "")), text_of(asked[-1]), text_of(row["completion"][-1])
