"""The live progress of a sweep: what it says of speed, accuracy and savings."""

from __future__ import annotations

import pytest

from taut import meter
from taut.bench import Plan
from taut.commands._progress import Progress
from taut.config import Config
from taut.core import Sampling, Task
from tests.made_run import made_trace


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        """Seconds, as they are set."""
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(meter, "time", made)
    return made


def progress(questions: int = 4) -> Progress:
    presets = [Config().preset(name) for name in ("direct", "concise", "tale")]
    tasks = [Task(f"q/{i}", ({"role": "user", "content": "?"},)) for i in range(questions)]
    return Progress(Plan(presets, tasks, Sampling()), "direct")


def test_the_baseline_and_the_best_saver_are_shown(clock: Clock) -> None:
    shown = progress()
    for i in range(2):
        shown(made_trace("direct", i, i == 0, 100))
        shown(made_trace("concise", i, True, 30))
        shown(made_trace("tale", i, False, 80))
    clock.now_s = 10.0
    assert shown.note() == "42 tok/s  direct 1/2 right  concise 2/2 right, 140 tokens saved"


def test_nothing_saved_is_not_shown_as_saved(clock: Clock) -> None:
    shown = progress()
    shown(made_trace("direct", 0, True, 100))
    shown(made_trace("tale", 0, True, 333))
    clock.now_s = 1.0
    assert shown.note() == "433 tok/s  direct 1/1 right"


def test_savings_count_once_the_baseline_has_answered_too(clock: Clock) -> None:
    shown = progress()
    shown(made_trace("concise", 0, True, 40))
    clock.now_s = 1.0
    assert shown.note() == "40 tok/s"
    shown(made_trace("direct", 0, True, 100))
    assert shown.note() == "140 tok/s  direct 1/1 right  concise 1/1 right, 60 tokens saved"


def test_found_answers_count_as_done_but_not_for_the_speed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress()
    for i in range(3):
        shown.found(made_trace("direct", i, True, 100_000))
        shown.found(made_trace("concise", i, True, 90_000))
    assert capsys.readouterr().err == ""
    clock.now_s = 20.0
    shown(made_trace("tale", 0, True, 100))
    assert shown.done == 7
    # One answer in 20 s, five to go.
    told = "7/12  20 s, about 100 s left  5 tok/s  direct 3/3 right  tale 1/1 right, 99,900 tokens saved\n"
    assert capsys.readouterr().err == told


def test_failures_are_counted_and_are_no_answers(clock: Clock) -> None:
    shown = progress()
    shown(made_trace("direct", 0, error="cut"))
    clock.now_s = 1.0
    assert shown.note() == "100 tok/s  1 failed"
    assert (shown.done, shown.answered) == (1, 0)
