"""``taut data``: from a bench's run folder to rows and a report, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taut.cli import main
from taut.core import Task
from tests.train.examples.test_reading import made_trace, written


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three questions of three rollouts; the last question is never answered right."""
    traces = [made_trace(number, seed, right=number < 2 and seed != 1) for number in range(3) for seed in range(3)]
    return written(tmp_path / "run" / "traces.jsonl", *traces).parent


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_and_report_are_written_and_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "train.jsonl"
    assert main(["data", "shortest_correct", str(run), "--out", str(out)]) == 0
    assert [row["id"] for row in rows(out)] == ["q/0", "q/1"]
    report = json.loads((tmp_path / "made" / "train.report.json").read_bytes())
    assert (report["questions_seen"], report["questions_kept"]) == (3, 2)
    told = capsys.readouterr().out
    assert "2 examples of 2 of 3 questions, 132 tokens to learn" in told
    assert "dropped 1: no right answer" in told
    assert "answers: 9 seen; 5 wrong, 2 used, 2 right, not taken" in told
    assert "replaced" not in told


def test_an_earlier_file_is_replaced_with_a_word(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "train.jsonl")
    assert main(["data", "shortest_correct", str(run), "--out", out]) == 0
    assert main(["data", "shortest_correct", str(run), "--out", out, "--set", "keep=2"]) == 0
    assert "an earlier train.jsonl was replaced" in capsys.readouterr().out
    assert len(rows(tmp_path / "train.jsonl")) == 4


def test_a_failure_leaves_the_earlier_file_as_it_was(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "train.jsonl"
    out.write_text("earlier\n")
    assert main(["data", "long_to_short(rejected=right)", str(run), "--out", str(out)]) == 2
    assert out.read_text() == "earlier\n"
    assert not (tmp_path / "train.report.json").exists()


def test_thoughts_are_written_in_the_dialect_that_is_named(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "train.jsonl"
    assert main(["data", "shortest_correct", str(run), "--out", str(out), "--dialect", "magistral"]) == 0
    assert rows(out)[0]["completion"][0]["content"].startswith("[THINK]So 0 + 7 = 7.[/THINK]")


def test_the_compressor_is_any_engine_and_its_work_is_kept(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "train.jsonl"
    arguments = ["data", "c3ot(least_saved=0)", str(run), "--out", str(out)]
    assert main([*arguments, "--engine", "fake"]) == 2
    # The fake engine writes more than these short chains have; what it wrote is there all the same.
    assert (
        "c3ot made no example of 3 questions: 2 its compression is not shorter, 1 no right" in capsys.readouterr().err
    )
    made = rows(tmp_path / "train.compressions.jsonl")
    assert {row["task"]["id"] for row in made} == {"direct/q/0/0", "direct/q/1/0"}
    assert main([*arguments, "--engine", "fake"]) == 2
    assert "goes on with train.compressions.jsonl" in capsys.readouterr().err
    assert rows(tmp_path / "train.compressions.jsonl") == made


def test_compressions_can_be_read_from_a_file(run: Path, tmp_path: Path) -> None:
    compressed = [
        replace(made_trace(), task=Task(f"direct/q/{number}/0", ()), answer=f"{number} + 7") for number in range(2)
    ]
    file = written(tmp_path / "short.jsonl", *compressed)
    out = tmp_path / "train.jsonl"
    assert main(["data", "c3ot", str(run), "--out", str(out), "--compressions", str(file)]) == 0
    assert [(row["length"], row["completion"][0]["content"]) for row in rows(out)[:2]] == [
        ("long", "<think>\nSo 0 + 7 = 7.\n</think>\n\nThe answer is 7."),
        ("short", "<think>\n0 + 7\n</think>\n\nThe answer is 7."),
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["shortst"], "no builder of short data named 'shortst' (did you mean 'shortest_correct'?)"),
        (["shortest_correct", "--set", "keep"], "--set 'keep' should read KEY=VALUE"),
        (["shortest_correct", "--set", "kep=2"], "unknown parameter 'kep' (did you mean 'keep'?)"),
        (["shortest_correct", "--dialect", "thinktags"], "did you mean 'think_tags'?"),
        (["shortest_correct", "--tokenizer", "nowhere"], "there is no tokenizer.json in nowhere"),
        (["shortest_correct", "--engine", "fake"], "compresses nothing: --engine and --compressions are for c3ot"),
        (["token_skip"], "token_skip needs a model that weighs words: give --importance-model FOLDER"),
        (["c3ot"], "c3ot needs compressed chains: give --engine E to have them made"),
        (["shortest_correct", "--preset", "concis"], "there is no trace of the preset 'concis'"),
    ],
)
def test_bad_input_is_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    builder, *more = arguments
    assert main(["data", builder, str(run), "--out", str(tmp_path / "train.jsonl"), *more]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "train.jsonl").exists()


def test_the_traces_are_never_overwritten(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "traces.jsonl").read_bytes()
    assert main(["data", "shortest_correct", str(run), "--out", str(run / "traces.jsonl")]) == 2
    assert "is one of the files that are read" in capsys.readouterr().err
    assert (run / "traces.jsonl").read_bytes() == before


def test_a_bench_of_several_rollouts_becomes_training_data(tmp_path: Path) -> None:
    pytest.importorskip("reasoning_gym", reason="the extra procedural is not installed")
    pytest.importorskip("scipy", reason="the extra bench is not installed")
    bench = ["bench", "--engine", "fake", "--task", "reasoning_gym:chain_sum", "--limit", "6", "--rollouts", "4"]
    options = ["--temperature", "1", "--preset", "direct", "--out", str(tmp_path / "run")]
    assert main([*bench, *options]) == 0
    for builder in ("shortest_correct", "long_to_short(ratio=1.05)", "cut_at_first_correct", "chain_valve(levels=2)"):
        out = tmp_path / f"{builder.partition('(')[0]}.jsonl"
        assert main(["data", builder, str(tmp_path / "run"), "--out", str(out)]) == 0
        assert rows(out)
