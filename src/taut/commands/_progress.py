"""Live progress of a sweep: rate, time left, and the tokens saved so far against the baseline."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from taut.bench import Plan, sweep
from taut.core import Engine, Trace
from taut.meter import Meter


class Progress:
    """Counts what is done, and shows it."""

    def __init__(self, plan: Plan, baseline: str) -> None:
        self.done = 0
        self._plan = plan
        self._baseline = baseline
        self._tokens: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
        self._saved: dict[str, int] = defaultdict(int)
        self._judged: dict[str, int] = defaultdict(int)
        self._right: dict[str, int] = defaultdict(int)
        self._failed = self._new_tokens = 0
        self.meter = Meter(plan.size)

    def __call__(self, trace: Trace) -> None:
        """Take a trace that has just ended into account."""
        self._count(trace)
        self._new_tokens += trace.completion_tokens
        self.meter.show(self.done, self.note())

    def found(self, trace: Trace) -> None:
        """Take a trace of an earlier run into account: it counts as done, but took none of this run's time."""
        self._count(trace)
        self.meter.begin(self.done)

    def _count(self, trace: Trace) -> None:
        self.done += 1
        if trace.error is not None:
            self._failed += 1
            return
        if trace.score is not None and trace.score.value is not None:
            self._judged[trace.preset] += 1
            self._right[trace.preset] += trace.score.value
        self._compare(trace, trace.completion_tokens)

    @property
    def answered(self) -> int:
        """Traces that did not end in an error."""
        return self.done - self._failed

    def _compare(self, trace: Trace, tokens: int) -> None:
        """Keep the sum of savings over questions that both presets have answered."""
        answered = self._tokens[trace.task.id, trace.seed]
        answered[trace.preset] = tokens
        if trace.preset == self._baseline:
            for name, spent in answered.items():
                self._saved[name] += tokens - spent
        elif self._baseline in answered:
            self._saved[trace.preset] += answered[self._baseline] - tokens

    def note(self) -> str:
        """Speed, the baseline's accuracy so far, and that of the preset that has saved most with its savings."""
        speed = self._new_tokens / self.meter.elapsed_s
        parts = [f"{speed:,.0f} tok/s", self._accuracy(self._baseline)]
        best = max(self._saved, key=lambda name: self._saved[name], default=self._baseline)
        # The baseline saves 0, so whatever saves more is another preset.
        if self._saved[best] > 0:
            parts.append(f"{self._accuracy(best) or best}, {self._saved[best]:,} tokens saved")
        if self._failed:
            parts.append(f"{self._failed} failed")
        return "  ".join(part for part in parts if part)

    def _accuracy(self, preset: str) -> str:
        judged = self._judged[preset]
        return f"{preset} {self._right[preset]}/{judged} right" if judged else ""


async def interruptible(
    plan: Plan, engines: Mapping[str, Engine], traces: Path, progress: Progress
) -> BaseException | None:
    """Sweep until done, a failure, or the first Ctrl-C. Returns what stopped it, `None` if it went to the end."""
    work = asyncio.ensure_future(sweep(plan, engines, traces, progress, progress.found))
    loop = asyncio.get_running_loop()
    # Signals reach the main thread only: a program that runs the command in another one cancels by itself.
    with contextlib.suppress(RuntimeError, NotImplementedError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError as error:
        sys.stderr.write("taut: stopped; writing the report of what is done (--resume goes on from here)\n")
        return error
    except Exception as error:  # noqa: BLE001 - raised by the caller, after the report of what is done
        return error
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return None
