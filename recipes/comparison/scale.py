"""How long the start model's answers are, and the constants of rewards that follow from it.

One rule for all of them, so that no reward gets a stronger hand than another and none is tuned:

- **Slopes.** One standard deviation of the start's right answers to a question moves the reward by `SHARE` of what
  separates right from wrong in that reward.
- **Steps and targets.** Half of the start's mean right answer, which is the aim of the whole comparison.
- **No free constant of that kind**: as published.

Lengths are those of the start model's own answers to training questions; test questions play no part.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from taut.core import Trace
from taut.errors import UsageError
from taut.traces import read_all

SHARE = 0.2
"""Of the distance between right and wrong, for one standard deviation of length."""
RANGE_OF_EIGHT = 2.85
"""Longest minus shortest of eight normal numbers, in standard deviations (mean)."""
NAMES = ("price", "double_price", "target", "kimi_weight", "history_weight", "reference_weight", "first_limit",
         "second_limit")  # fmt: skip
"""What an arm's text may name in braces."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Lengths of the start model's right answers, and what the arms take from them. Tokens of the whole response."""

    mean_tokens: float
    """Mean over questions of the mean length."""
    spread_tokens: float
    """Standard deviation within a question."""
    shortest_tokens: float
    """Mean over questions of the shortest."""

    @property
    def price(self) -> float:
        """Reward lost per token where right and wrong are one point apart."""
        return SHARE / self.spread_tokens

    @property
    def double_price(self) -> float:
        """The same where they are two points apart (shorter_better)."""
        return 2 * self.price

    @property
    def target(self) -> int:
        """Half of the mean."""
        return round(self.mean_tokens / 2)

    @property
    def kimi_weight(self) -> float:
        """For kimi: the weight is spread from the shortest to the longest of eight, and right is 1.5 above wrong."""
        return 1.5 * SHARE * RANGE_OF_EIGHT

    @property
    def history_weight(self) -> float:
        """For hapo: cos(pi/2 L/h) falls by pi/2 / h a token where L is h, the shortest so far."""
        return SHARE * self.shortest_tokens / (math.pi / 2 * self.spread_tokens)

    @property
    def reference_weight(self) -> float:
        """For o1_pruner: mean / L falls by 1 / mean a token where L is the mean, and right is this much above wrong."""
        return self.spread_tokens / self.mean_tokens / SHARE

    @property
    def first_limit(self) -> int:
        """For think_prune's rounds: the mean, three quarters of it, half of it."""
        return round(self.mean_tokens)

    @property
    def second_limit(self) -> int:
        """Three quarters of the mean."""
        return round(0.75 * self.mean_tokens)

    def fill(self, text: str) -> str:
        """``text`` with ``{price}`` and the like as numbers, to three digits where they are not whole."""
        values = {name: getattr(self, name) for name in NAMES}
        return text.format(**{name: str(v) if isinstance(v, int) else f"{v:.3g}" for name, v in values.items()})


def scale_of(traces: Iterable[Trace]) -> Scale:
    """From several answers to each question. Raises `UsageError` where no question has two right answers."""
    lengths: dict[str, list[int]] = {}
    for trace in traces:
        if trace.score is not None and trace.score.value and trace.finish == "stop":
            lengths.setdefault(trace.task.id, []).append(trace.completion_tokens)
    several = [found for found in lengths.values() if len(found) > 1]
    if not several:
        raise UsageError("the start model has no question with two right answers: its lengths cannot be measured")
    means = [sum(found) / len(found) for found in several]
    squares = sum((length - mean) ** 2 for found, mean in zip(several, means, strict=True) for length in found)
    freedom = sum(len(found) - 1 for found in several)
    shortest = sum(min(found) for found in several) / len(several)
    return Scale(sum(means) / len(means), math.sqrt(squares / freedom), shortest)


def scale_from(pool: Path, kept: Path) -> Scale:
    """That of the run folder ``pool``, kept in a file beside it. Raises `UsageError`, as `scale_of` does."""
    if kept.exists():
        return Scale(**json.loads(kept.read_text(encoding="utf-8")))
    found = scale_of(read_all(pool / "traces.jsonl"))
    kept.write_text(json.dumps(asdict(found)), encoding="utf-8")
    return found
