"""A rule in replay stops where it stops live: greedy thinking of the embedded engine, recorded once.

llama.cpp's last bits depend on what else is in a batch, so that now and then a near tie falls the other way and the
model writes another thought. Where it wrote the same one, the stop must be the same; and it must do so mostly.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from taut.checkpoints import StopRule
from taut.config import Config, open_engine
from taut.core import Engine, Sampling, Trace
from taut.methods.output_based._recorder import Recorder
from taut.methods.output_based.stop_rules.answer_convergence import AnswerConvergence
from taut.methods.output_based.stop_rules.any_of import AnyOf
from taut.methods.output_based.stop_rules.budget_forcing import BudgetForcing
from taut.methods.output_based.thinking import Thinking
from taut.replay import read_recording, recording_of, stops, write_recording
from taut.run import Preset, run
from taut.tasks import LoadOptions, load_tasks
from taut.verify import score

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="llama.cpp is not installed"),
]
QUESTIONS = load_tasks("tally", LoadOptions(limit=3, difficulty="medium"))
RULES: tuple[StopRule, ...] = (
    AnswerConvergence(agreeing_probes=2, every_tokens=16),
    AnswerConvergence(agreeing_probes=3, every_tokens=16),
    AnyOf((AnswerConvergence(agreeing_probes=2, every_tokens=32), BudgetForcing(64))),
)
RECORDER = Recorder(every_tokens=16, probe_closes=True, close_probe=False)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    config = Config(Path("taut.toml"), {"one": {"kind": "embedded", "threads": 1, "slots": 4}})
    opened = await open_engine("one", config)
    yield opened
    await opened.close()


async def thought(rule: StopRule, number: int, engine: Engine) -> Trace:
    task = QUESTIONS[number]
    sampling = Sampling(400, temperature=0.0, seed=1)
    trace = await run(Preset("it", Thinking(rule, answer_room_tokens=16)), task, {"main": engine}, sampling=sampling)
    assert trace.error is None
    trace.score = score(trace.answer, task)
    return trace


async def test_a_rule_stops_in_replay_where_it_stops_live(engine: Engine, tmp_path: Path) -> None:
    traces = [await thought(RECORDER, number, engine) for number in range(len(QUESTIONS))]
    write_recording(recording_of(traces, wants=RECORDER.wants), tmp_path / "checkpoints.parquet")
    recording = read_recording(tmp_path)
    same, early = 0, 0
    for rule in RULES:
        for number, row in enumerate(stops(recording, rule).tolist()):
            live = await thought(rule, number, engine)
            if not traces[number].thinking.startswith(live.thinking.rstrip()):
                continue
            same += 1
            early += row != recording.ends[number]
            assert recording.thinking_tokens[row] == live.tokens_by_role()["thinking"].total, (rule, number)
    assert same >= 6
    assert early >= 2


async def test_a_pause_for_a_probe_finds_the_thinking_in_the_prefix_cache(engine: Engine) -> None:
    trace = await thought(RECORDER, 1, engine)
    probes = [call.usage for call in trace.calls if call.role == "probe" and call.usage is not None]
    assert len(probes) >= 3
    for usage in probes[1:]:
        assert usage.cached is not None
        # New are the tokens since the last probe, and the probe's own words.
        assert usage.prompt.tokens - usage.cached.tokens <= 16 + 20
