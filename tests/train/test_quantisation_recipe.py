"""The recipe that compares levels runs as its first lines say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from taut.train.export import export
from tests.train.tiny_gguf import make_folder

pytestmark = [pytest.mark.transformers, pytest.mark.embedded]

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "quantisation.py"


def test_every_level_answers_the_same_questions_and_is_compared(tmp_path: Path) -> None:
    model = export(make_folder(tmp_path / "model"), tmp_path / "tiny-f16.gguf").path
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": str(n + 1)}) + "\n" for n in range(2)))
    asked = ["--task", str(questions), "--max-tokens", "4", "--temperature", "0", "--verifier", "exact"]
    command = [sys.executable, str(RECIPE), str(model), "--to", "q4_0", "--out", str(tmp_path / "run"), "--", *asked]
    # Twice: the second time everything is there already.
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "compared" / "summary.json").read_text(encoding="utf-8"))
    assert {name: preset["n"] for name, preset in summary["presets"].items()} == {"full": 2, "q4_0": 2}
    assert "thinking" in done.stdout


def test_a_model_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(RECIPE), str(tmp_path / "no.gguf"), "--out", str(tmp_path / "run")]
    command += ["--", "--task", "tally"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert "quantisation: there is no model file" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_task_it_says_where_to_put_one(tmp_path: Path) -> None:
    command = [sys.executable, str(RECIPE), str(tmp_path / "no.gguf"), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert "what to ask is missing: put it behind two dashes, -- --task TASK" in done.stderr
