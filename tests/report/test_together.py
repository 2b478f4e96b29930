"""Runs of several models put side by side: question by question, and thinking on its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taut.cli import main
from taut.core import Trace
from taut.errors import UsageError
from taut.report.folder import read_run
from taut.report.together import put_together, thinking
from taut.traces import encode
from tests.made_run import made_call, made_trace

CONFIGURATION = {"task": "apples", "questions_digest": "0a", "seed": 0, "max_tokens": 100, "temperature": 0.0}


def made_run(folder: Path, traces: list[Trace], presets: tuple[str, ...] = ("direct",), **configuration: Any) -> Path:
    folder.mkdir()
    manifest = {
        "presets": list(presets),
        "baseline": presets[0],
        "task": "apples",
        "seeds": [0],
        "total_questions": 6,
        "engine": {"name": f"embedded:{folder.name}.gguf"},
        "configuration": {**CONFIGURATION, **configuration},
    }
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    (folder / "traces.jsonl").write_bytes(b"".join(encode(trace) for trace in traces))
    return folder


def answers(thinking_tokens: int, right: int, preset: str = "direct") -> list[Trace]:
    """Six questions of which the first ``right`` are right."""
    return [made_trace(preset, number, number < right, calls=[made_call(thinking_tokens, 10)]) for number in range(6)]


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    return {
        "f16": made_run(tmp_path / "full", answers(100, 5)),
        "q4_0": made_run(tmp_path / "small", answers(150, 4)),
    }


def test_models_are_compared_on_the_same_questions(runs: dict[str, Path], tmp_path: Path) -> None:
    put_together(runs, tmp_path / "both")
    summary = read_run(tmp_path / "both").summary
    assert list(summary.presets) == ["f16", "q4_0"]
    compared = summary.presets["q4_0"].comparison
    assert compared is not None
    assert compared.token_ratio is not None
    assert compared.accuracy_difference is not None
    # 160 tokens against 110, and one question of six lost.
    assert compared.token_ratio.value == pytest.approx(160 / 110)
    assert compared.accuracy_difference.value == pytest.approx(-1 / 6)
    assert (tmp_path / "both" / "report.html").is_file()


def test_thinking_is_told_beside_all_tokens(runs: dict[str, Path], tmp_path: Path) -> None:
    full, small = put_together(runs, tmp_path / "both")
    assert (full.name, full.ratio) == ("f16", None)
    assert full.tokens is not None
    assert full.tokens.value == 100
    assert small.ratio is not None
    assert (small.ratio.value, small.ratio.low, small.ratio.high) == (1.5, 1.5, 1.5)


def test_thinking_leaves_out_answers_that_failed_and_what_has_no_pair() -> None:
    traces = [
        made_trace("a", 1, calls=[made_call(10, 1)]),
        made_trace("a", 2, calls=[made_call(30, 1)]),
        made_trace("b", 1, calls=[made_call(40, 1)]),
        made_trace("b", 2, calls=[made_call(99, 1)], error="cut"),
    ]
    one, other = thinking(traces, ["a", "b"], "a")
    assert one.tokens is not None
    assert other.tokens is not None
    assert other.ratio is not None
    assert (one.tokens.value, other.tokens.value, other.ratio.value) == (20, 40, 4)


def test_a_run_of_several_presets_keeps_their_names(tmp_path: Path) -> None:
    both = ("direct", "concise")
    runs = {
        "f16": made_run(tmp_path / "one", answers(100, 5) + answers(50, 5, "concise"), both),
        "q4_0": made_run(tmp_path / "two", answers(100, 5)),
    }
    found = put_together(runs, tmp_path / "out", baseline="f16 concise")
    assert [one.name for one in found] == ["f16 direct", "f16 concise", "q4_0"]
    assert [one.ratio.value if one.ratio else None for one in found] == [2, None, 2]


@pytest.mark.parametrize(
    ("different", "words"),
    [
        ({"questions_digest": "0b"}, "asked other questions as 'f16' did"),
        ({"temperature": 0.7}, "had temperature 0.7, not 0.0"),
        ({"seed": 1}, "had seed 1, not 0"),
    ],
)
def test_runs_that_asked_differently_are_not_compared(
    runs: dict[str, Path], tmp_path: Path, different: dict[str, Any], words: str
) -> None:
    runs["q5_0"] = made_run(tmp_path / "third", answers(1, 1), **different)
    with pytest.raises(UsageError, match=words):
        put_together(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_name_is_called_as_its_folder(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(folder) for folder in runs.values()]
    assert main(["compare", *folders, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert all(Path(folder).name in shown for folder in folders)
    assert main(["compare", folders[0], folders[0], "--out", str(tmp_path / "new")]) == 2
    assert "name them, as NAME=RUN" in capsys.readouterr().err


def test_the_command_shows_thinking_and_refuses_in_one_line(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [f"{name}={folder}" for name, folder in runs.items()]
    out = ["--out", str(tmp_path / "out")]
    assert main(["compare", *named, *out]) == 0
    assert "1.50 (1.50 to 1.50)" in capsys.readouterr().out
    engine = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["engine"]["name"]
    assert engine == "f16: embedded:full.gguf; q4_0: embedded:small.gguf"
    for arguments, words in (
        ([*named, *out], "is there already"),
        ([named[0], "--out", str(tmp_path / "new")], "has nothing to be compared with"),
        ([named[0], named[0], "--out", str(tmp_path / "new")], "two runs are called 'f16'"),
        ([*named, "--out", str(tmp_path / "new"), "--baseline", "f1"], "did you mean 'f16'"),
        ([named[0], "=nowhere", "--out", str(tmp_path / "new")], "should read RUN or NAME=RUN"),
        ([named[0], "x=nowhere", "--out", str(tmp_path / "new")], "cannot read nowhere/manifest.json"),
    ):
        assert main(["compare", *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
