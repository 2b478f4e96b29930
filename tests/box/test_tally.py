"""The model in the box, on the real engine: it needs its thinking, overthinks, and keeps the ceilings it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from taut import box
from taut.audit import ReadOptions, load, report
from taut.bench import Plan, sweep
from taut.cli import main, model_folder
from taut.config import Config, open_engine
from taut.core import Engine, Sampling, Task, Trace
from taut.methods.output_based.stop_rules.budget_forcing import BudgetForcing
from taut.methods.output_based.thinking import Thinking
from taut.methods.prompt_based.direct import Direct
from taut.methods.prompt_based.no_thinking import NoThinking
from taut.run import Preset, run
from taut.tasks import LoadOptions, load_tasks
from taut.traces import read_all

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(300)]
PRESETS = (Preset("direct", Direct()), Preset("no_thinking", NoThinking()))
LARGER = Task("larger", ({"role": "user", "content": "Which is larger, 0.9 or 0.11?"},), "0.9", "number")


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    pytest.importorskip("xllamacpp")
    opened = await open_engine("embedded", Config(Path("taut.toml"), {}))
    yield opened
    await opened.close()


def share_right(traces: list[Trace]) -> float:
    return sum(trace.score is not None and bool(trace.score.value) for trace in traces) / len(traces)


async def test_it_needs_its_thinking_and_goes_on_after_the_answer_stands(engine: Engine, tmp_path: Path) -> None:
    tasks = tuple(load_tasks("tally", LoadOptions(limit=60)))
    path = tmp_path / "traces.jsonl"
    await sweep(Plan(PRESETS, tasks, Sampling(900, temperature=0.6)), {"main": engine}, path)
    traces = list(read_all(path))
    thinking = [trace for trace in traces if trace.preset == "direct"]
    without = [trace for trace in traces if trace.preset == "no_thinking"]
    # Measured: 95 and 16 % of 600 questions; these bounds are those that it must keep.
    assert share_right(thinking) >= 0.8
    assert share_right(without) <= share_right(thinking) / 2
    loaded = load(path, ReadOptions())
    assert len(loaded.thoughts) >= 60
    after = report(loaded, "traces").totals.measures["share_after"]
    assert after is not None
    assert after.value >= 0.4


@pytest.mark.parametrize("ceiling", [2, 3, 4, 7, 40])
async def test_no_ceiling_is_overrun_however_low(engine: Engine, ceiling: int) -> None:
    preset = Preset("capped", Thinking(BudgetForcing(512)))
    trace = await run(preset, LARGER, {"main": engine}, sampling=Sampling(ceiling, temperature=0.0, seed=1))
    assert 0 < trace.completion_tokens <= ceiling
    assert trace.answer


async def test_the_engine_can_be_closed_as_soon_as_it_is_open() -> None:
    pytest.importorskip("xllamacpp")
    for _ in range(12):
        opened = await open_engine("embedded", Config(Path("taut.toml"), {}))
        await opened.close()


def test_it_is_small() -> None:
    files = [path for path in box.FOLDER.iterdir() if path.is_file()]
    assert {"tally.gguf", "model.safetensors", "tokenizer.json", "README.md"} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) < 10_000_000


def test_only_its_own_name_opens_it() -> None:
    assert box.folder_or("tally") == str(box.FOLDER)
    assert box.folder_or("./tally") == "./tally"


def test_commands_take_its_name_for_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gguf")
    assert main(["export", "tally", "--out", str(tmp_path / "t.gguf")]) == 0
    assert "2.0 M parameters" in capsys.readouterr().out
    assert model_folder("tally") == box.FOLDER
    assert model_folder("./tally") == Path("tally")
