"""``taut list``: tables, the page of one entry, presets of a file, and names as people write them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from taut import plugins
from taut.cli import main

TOML = """
[presets.short]
method = "concise"
word_limit = 20
inner = { method = "budget_forcing", max_thinking_tokens = 64 }
[presets.chained]
method = "concise"
inner = "short"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["list", *words]) == 0
    return capsys.readouterr().out


def in_one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("words", "group"),
    [
        (["stop", "rules"], "stop rules"),
        (["stop rules"], "stop rules"),
        (["stop", "rule"], "stop rules"),
        (["stop_rules"], "stop rules"),
        (["engine"], "engines"),
        (["method"], "methods"),
        (["task"], "tasks"),
        (["verifier"], "verifiers"),
    ],
)
def test_a_group_is_found_in_the_plural_the_singular_and_without_quotes(
    capsys: pytest.CaptureFixture[str], words: list[str], group: str
) -> None:
    output = listed(capsys, *words)
    assert output.startswith(group)
    assert output == listed(capsys, group)
    assert set(plugins.entries(group)) <= set(output.split())


def test_a_method_shows_its_parameters_with_defaults_and_meanings(capsys: pytest.CaptureFixture[str]) -> None:
    output = in_one_line(listed(capsys, "concise"))
    assert "concise method, methods/prompt_based/concise.py" in output
    assert "arXiv:2401.05618" in output
    assert "word_limit int | None none Words the answer may have; `None` only asks for brevity." in output
    assert "needs: nothing beyond a chat model" in output
    assert "--preset concise:word_limit=none[+METHOD]" in output
    assert "inner" not in output


def test_a_stop_rule_shows_the_parameters_of_its_loop_too(capsys: pytest.CaptureFixture[str]) -> None:
    output = in_one_line(listed(capsys, "budget_forcing"))
    assert "max_thinking_tokens int | None 256 Thinking tokens at most" in output
    assert "answer_room_tokens int 256 Tokens kept free for the answer" in output
    assert "needs: prefill (continue a turn that is already partly written" in output
    assert "[+METHOD]" not in output


@pytest.mark.parametrize("group", ["methods", "stop rules"])
def test_what_a_page_says_to_use_is_a_preset_that_the_command_line_takes(
    capsys: pytest.CaptureFixture[str], group: str
) -> None:
    from taut.config import LOOP, Config

    for name in set(plugins.entries(group)) - {LOOP}:
        output = listed(capsys, name)
        (text,) = shlex.split(output.partition("--preset ")[2].strip().removesuffix("[+METHOD]"))
        assert "|" not in text or "--preset '" in output
        assert Config().preset(text).method == Config().preset(name).method


def test_an_engine_shows_the_keys_of_its_table_with_their_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    output = in_one_line(listed(capsys, "openai"))
    assert "url str | None none" in output
    assert "api_key_env str OPENAI_API_KEY" in output
    assert "route Literal['auto', 'raw', 'chat'] auto" in output
    assert 'kind = "openai"' in output


def test_a_name_of_a_task_and_a_verifier_shows_both(capsys: pytest.CaptureFixture[str]) -> None:
    output = listed(capsys, "reasoning_gym")
    assert "reasoning_gym  task, tasks/reasoning_gym.py" in output
    assert "reasoning_gym  verifier, verify/reasoning_gym.py" in output


@pytest.mark.parametrize("group", list(plugins.FOLDERS))
def test_every_entry_has_a_page(capsys: pytest.CaptureFixture[str], group: str) -> None:
    for name, entry in plugins.entries(group).items():
        if name == "transformers":
            continue  # its options are read from the module, whose packages may be absent
        assert entry.where in listed(capsys, name)


def test_presets_are_those_of_the_file_as_the_command_line_would_have_them(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "taut.toml").write_text(TOML, encoding="utf-8")
    output = in_one_line(listed(capsys, "presets"))
    written = "concise:word_limit=20+budget_forcing:max_thinking_tokens=64"
    assert f"short {written} prefill|thinking_budget" in output
    assert "chained concise+short prefill|thinking_budget" in output
    assert (
        in_one_line(listed(capsys, "short")) == f"presets name what it is needs short {written} prefill|thinking_budget"
    )
    assert "chained" in listed(capsys)


def test_presets_of_another_file_are_those_of_config(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "other.toml").write_text(TOML, encoding="utf-8")
    assert "chained" in listed(capsys, "presets", "--config", "other.toml")
    assert "no presets" in listed(capsys, "presets")


def test_a_broken_file_of_presets_ends_its_own_list_only(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "taut.toml").write_text("[presets.x]\nmethod = 'concize'\n", encoding="utf-8")
    assert "did you mean 'concise'?" in in_one_line(listed(capsys))
    assert "gsm8k" in listed(capsys, "tasks")
    assert main(["list", "presets"]) == 2
    assert "did you mean 'concise'?" in capsys.readouterr().err


def test_without_a_terminal_lines_have_at_most_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    lines = listed(capsys).splitlines()
    assert 80 < max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["concize"], "did you mean 'concise'?"),
        (["enginse"], "did you mean 'engines'?"),
        (["concise", "direct"], "taut list takes one name: 'concise' is one, 'direct' is one too many"),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest(
    capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    assert main(["list", *words]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["sft", "rl", "dpo", "distill"])
def test_every_key_of_a_recipe_is_listed_with_what_it_means(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import fields

    from taut.train.recipe import SECTIONS

    assert main(["list", kind]) == 0
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line for line in shown.splitlines() if line.strip() and not line.startswith(" ")}
    assert {field.name for field in fields(SECTIONS[kind])} <= rows.keys()  # type: ignore[index]
    assert {"[model]", "[data]", "[lora]", "[held_out]", f"[{kind}]"} <= rows.keys()
    assert "AdamW" in rows["learning_rate"]
