"""Trainings of the tiny model in this process and in one of their own, which may be killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taut.cli import main

STARTED_WITHIN_S = 140


def train(kind: str, out: Path, *settings: str) -> int:
    """``taut train`` without a recipe file."""
    return main(["train", kind, "--out", str(out), *(part for text in settings for part in ("--set", text))])


def log_of(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, in order of steps and without the time they took."""
    path = out / "log.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    for line in lines:
        line.pop("seconds")
    return sorted(lines, key=lambda line: (line["step"], "held_out" in line))


def begin(kind: str, out: Path, settings: Sequence[str]) -> subprocess.Popen[str]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "taut.cli", "train", kind, "--out", str(out)]
    command += [part for text in settings for part in ("--set", text)]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    )


def signal_at(process: subprocess.Popen[str], out: Path, step: int, number: int) -> str:
    """Send the signal as soon as the log has reached the step; what the process wrote to stderr."""
    until = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        if any(line["step"] >= step for line in log_of(out)):
            process.send_signal(number)
            break
        time.sleep(0.02)
    return process.communicate(timeout=STARTED_WITHIN_S)[1]


def kill_at(kind: str, out: Path, step: int, settings: Sequence[str]) -> None:
    """Train until the log has reached the step, then SIGKILL."""
    process = begin(kind, out, settings)
    told = signal_at(process, out, step, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, told
