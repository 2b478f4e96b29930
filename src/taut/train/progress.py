"""Live progress of a training: a bar on a terminal, a line now and then elsewhere. Goes to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

QUIET_EVERY_S = 15.0
"""Where nobody watches (a log file), one line this often."""


class Progress:
    """What a training tells while it runs; ``shown=False`` for the helpers of a distributed one."""

    def __init__(self, *, shown: bool = True) -> None:
        self._console = Console(stderr=True)
        self._shown = shown
        self._live = shown and self._console.is_terminal
        self._bar = Bar(
            BarColumn(20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("train", total=None, note="")
        self._facts: dict[str, str] = {}
        self._began = self._told = time.monotonic()
        self._begun_at = self._tokens_at_start = self._total = 0
        self._is_ended = False

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, done: int, total: int, tokens: int) -> None:
        """A stage begins: ``done`` of ``total`` steps are behind, with so many tokens."""
        self._total, self._is_ended = total, False
        self._began, self._begun_at, self._tokens_at_start = time.monotonic(), done, tokens
        # A new bar's speed is that of this process: steps of an earlier one took none of its time.
        self._bar.reset(self._task, total=total, completed=done)

    def step(self, done: int) -> None:
        """A step is done."""
        self._bar.update(self._task, completed=done, note=self.note())
        now = time.monotonic()
        is_end = done == self._total and not self._is_ended
        if self._shown and not self._live and (now - self._told > QUIET_EVERY_S or is_end):
            self._told, self._is_ended = now, is_end
            elapsed = now - self._began
            left = elapsed / max(done - self._begun_at, 1) * (self._total - done)
            sys.stderr.write(f"{done}/{self._total} steps  {elapsed:.0f} s, about {left:.0f} s left  {self.note()}\n")

    def log(self, line: Mapping[str, Any]) -> None:
        """Take a line of the log into the note."""
        if "loss" in line:
            self._facts["loss"] = f"loss {line['loss']:.4g}"
        if "reward" in line:
            self._facts["loss"] = f"reward {line['reward']:.3f}"
        if "completion_tokens" in line:
            self._facts["length"] = f"{line['completion_tokens']:,.0f} tokens a rollout"
        if tokens := line.get("tokens"):
            speed = (tokens - self._tokens_at_start) / max(time.monotonic() - self._began, 1e-9)
            self._facts["tokens"] = f"{tokens:,} tokens, {speed:,.0f} tok/s"

    def say(self, text: str) -> None:
        """A sentence above the bar."""
        if self._live:
            self._console.print(text, highlight=False, markup=False)
        elif self._shown:
            sys.stderr.write(f"{text}\n")

    def held_out(self, text: str) -> None:
        """How the model does now."""
        self._facts["held out"] = f"held out: {text}"

    def note(self) -> str:
        """Loss or reward, lengths, speed and held-out accuracy so far."""
        order = ("loss", "length", "tokens", "held out")
        return "  ".join(self._facts[key] for key in order if key in self._facts)
