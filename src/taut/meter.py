"""How far a long job is: a bar on a terminal, a line now and then elsewhere. Goes to stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET_EVERY_S = 15.0
"""Where nobody watches (a log file), one line this often."""


class Meter:
    """Shows ``done`` of ``total``, the time it took and will take, and a note; ``shown=False`` keeps it silent."""

    def __init__(self, total: int | None = None, *, unit: str = "", shown: bool = True) -> None:
        self._console = Console(stderr=True)
        self._shown = shown
        self._live = shown and self._console.is_terminal
        self._bar = Progress(
            BarColumn(20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("", total=total, note="")
        self._unit = f" {unit}" if unit else ""
        self._total = total or 0
        self._done_before = 0
        self._began = self._told = time.monotonic()
        self._is_ended = False

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._bar.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began, or began anew; never 0."""
        return max(time.monotonic() - self._began, 1e-9)

    def begin(self, done: int, total: int | None = None) -> None:
        """Begin anew with ``done`` behind: that took none of the time from here on."""
        self._total = self._total if total is None else total
        self._done_before, self._is_ended, self._began = done, False, time.monotonic()
        # Not an update: the bar would take what is behind for its speed and promise an end much too soon.
        self._bar.reset(self._task, total=self._total, completed=done)

    def show(self, done: int, note: str) -> None:
        """So far it has come."""
        self._bar.update(self._task, completed=done, note=note)
        now = time.monotonic()
        ends = done == self._total and not self._is_ended
        if self._shown and not self._live and (now - self._told > QUIET_EVERY_S or ends):
            self._told, self._is_ended = now, ends
            left_s = self.elapsed_s / max(done - self._done_before, 1) * (self._total - done)
            times = f"{self.elapsed_s:.0f} s, about {left_s:.0f} s left"
            sys.stderr.write(f"{done}/{self._total}{self._unit}  {times}  {note}\n")

    def say(self, text: str) -> None:
        """A sentence above the bar."""
        if self._live:
            self._console.print(text, highlight=False, markup=False)
        elif self._shown:
            sys.stderr.write(f"{text}\n")
