"""Live progress of a training: steps, loss or reward, lengths, speed and held-out accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taut.meter import Meter


class Progress:
    """What a training tells while it runs; ``shown=False`` for the helpers of a distributed one."""

    def __init__(self, *, shown: bool = True) -> None:
        self.meter = Meter(unit="steps", shown=shown)
        self.say = self.meter.say
        self._facts: dict[str, str] = {}
        self._tokens_before = 0

    def begin(self, done: int, total: int, tokens: int) -> None:
        """A stage begins: ``done`` of ``total`` steps are behind, with so many tokens."""
        self._tokens_before = tokens
        self.meter.begin(done, total)

    def step(self, done: int) -> None:
        """A step is done."""
        self.meter.show(done, self.note())

    def log(self, line: Mapping[str, Any]) -> None:
        """Take a line of the log into the note."""
        if "loss" in line:
            self._facts["loss"] = f"loss {line['loss']:.4g}"
        if "reward" in line:
            self._facts["loss"] = f"reward {line['reward']:.3f}"
        if "correct_share" in line:
            self._facts["right"] = f"{line['correct_share']:.0%} right"
        if "completion_tokens" in line:
            cut = f", {share:.0%} cut" if (share := line.get("truncated_share")) else ""
            self._facts["length"] = f"{line['completion_tokens']:,.0f} tokens a rollout{cut}"
        if tokens := line.get("tokens"):
            speed = (tokens - self._tokens_before) / self.meter.elapsed_s
            self._facts["tokens"] = f"{tokens:,} tokens, {speed:,.0f} tok/s"

    def held_out(self, text: str) -> None:
        """How the model does now."""
        self._facts["held out"] = f"held out: {text}"

    def note(self) -> str:
        """Loss or reward, lengths, speed and held-out accuracy so far."""
        order = ("loss", "right", "length", "tokens", "held out")
        return "  ".join(self._facts[key] for key in order if key in self._facts)
