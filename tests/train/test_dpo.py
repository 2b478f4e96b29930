"""Preference training of a tiny model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.train.made import pair_row, write_rows
from tests.train.running import kill_at, log_of, train

pytestmark = [pytest.mark.transformers, pytest.mark.timeout(300)]


@pytest.fixture
def settings(tiny: Path, tmp_path: Path) -> list[str]:
    rows = write_rows(tmp_path / "pairs.jsonl", [pair_row(index) for index in range(12)])
    return [
        f"model.path={tiny}",
        f"data.train={rows}",
        "dpo.learning_rate=5e-3",
        "dpo.steps=8",
        "dpo.batch_size=4",
        "dpo.checkpoint_every_steps=3",
    ]


def of(out: Path, name: str) -> list[float]:
    return [line[name] for line in log_of(out) if name in line]


@pytest.mark.parametrize("loss", ["sigmoid", "simpo", "ipo"])
def test_the_chosen_answers_pull_away_from_the_rejected(settings: list[str], tmp_path: Path, loss: str) -> None:
    out = tmp_path / "run"
    assert train("dpo", out, *settings, f"dpo.loss={loss}", "dpo.beta=2") == 0
    margins = of(out, "reward_margin")
    assert margins[-1] > margins[0]


def test_the_first_loss_of_dpo_is_that_of_a_coin(settings: list[str], tmp_path: Path) -> None:
    """Before the first step model and reference are the same: -log sigmoid(0) = log 2."""
    out = tmp_path / "run"
    assert train("dpo", out, *settings, "dpo.steps=1") == 0
    assert of(out, "loss") == [pytest.approx(math.log(2), abs=1e-5)]


def test_simpo_is_the_formula_of_its_paper(settings: list[str], tmp_path: Path, tiny: Path) -> None:
    """-log sigmoid(beta (mean log p(chosen) - mean log p(rejected)) - gamma), Meng et al. 2024, equation 6."""
    import torch
    from transformers import AutoModelForCausalLM

    from taut.train.models import open_writer
    from taut.train.recipe import ModelPart
    from taut.train.rows import pairs, read_lines

    row = write_rows(tmp_path / "one.jsonl", [pair_row(12)])
    out = tmp_path / "run"
    one = [f"data.train={row}", "dpo.batch_size=1", "dpo.steps=1", "dpo.loss=simpo", "dpo.beta=2.5", "dpo.margin=1.4"]
    assert train("dpo", out, *settings, *one) == 0
    model = AutoModelForCausalLM.from_pretrained(tiny).eval()
    (ids,) = pairs(read_lines([str(row)]), open_writer(ModelPart(str(tiny))), 1000).rows

    def mean_log_p(name: str) -> float:
        tokens = torch.tensor([ids["prompt_ids"] + ids[name]])
        with torch.no_grad():
            log_p = model(tokens).logits.log_softmax(-1)[0, :-1].gather(1, tokens[0, 1:, None])[:, 0]
        return float(log_p[len(ids["prompt_ids"]) - 1 :].mean())

    argument = 2.5 * (mean_log_p("chosen_ids") - mean_log_p("rejected_ids")) - 1.4
    assert of(out, "loss") == [pytest.approx(math.log1p(math.exp(-argument)), abs=1e-4)]


def test_a_killed_run_on_an_adapter_keeps_the_start_model_for_its_reference(
    settings: list[str], tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    adapter = [*settings, "lora.rank=2", "dpo.learning_rate=5e-2"]
    assert train("dpo", whole, *adapter) == 0
    kill_at("dpo", killed, 5, adapter)
    assert train("dpo", killed, *adapter) == 0
    assert log_of(killed) == log_of(whole)
    assert not (killed / "model" / "ref").exists()


def test_a_row_without_a_rejected_answer_is_told(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row: dict[str, Any] = pair_row(1)
    del row["rejected"]
    rows = write_rows(tmp_path / "broken.jsonl", [pair_row(0), row])
    assert train("dpo", tmp_path / "run", *settings, f"data.train={rows}") == 2
    assert "broken.jsonl, line 2, has no column 'rejected'" in capsys.readouterr().err
