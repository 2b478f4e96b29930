"""Presets and engines from text: what is right is built, what is wrong is named with its nearest neighbour."""

from __future__ import annotations

from pathlib import Path

import pytest

from taut.config import Config, build_method, load_config, method_names, open_engine
from taut.engines.fake import FakeEngine
from taut.errors import UsageError
from taut.methods.output_based.stop_rules.budget_forcing import BudgetForcing
from taut.methods.output_based.thinking import Thinking
from taut.methods.prompt_based.concise import Concise


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "taut.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_preset_is_a_method_with_parameters() -> None:
    assert Config().preset("concise:word_limit=50").method == Concise(word_limit=50)


def test_methods_stack_with_the_outermost_first() -> None:
    method = Config().preset("concise:word_limit=9+budget_forcing:max_thinking_tokens=8,answer_room_tokens=5").method
    assert method == Concise(9, Thinking(BudgetForcing(8), answer_room_tokens=5))


def test_a_preset_can_be_given_a_name_of_its_own() -> None:
    preset = Config().preset("short=concise:word_limit=9")
    assert (preset.name, preset.method) == ("short", Concise(9))


def test_none_is_a_value() -> None:
    assert Config().preset("budget_forcing:max_thinking_tokens=none").method == Thinking(BudgetForcing(None))


def test_the_file_and_the_command_line_build_the_same(tmp_path: Path) -> None:
    config = load_config(
        written(
            tmp_path,
            """
            [presets.short]
            method = "concise"
            word_limit = 9
            inner = { method = "budget_forcing", max_thinking_tokens = 8 }
            [presets.outer]
            method = "chain_of_thought"
            inner = "short"
            """,
        )
    )
    assert (
        config.preset("short").method
        == Config().preset("concise:word_limit=9+budget_forcing:max_thinking_tokens=8").method
    )
    assert config.preset("outer").name == "outer"
    assert config.preset("chain_of_thought+short").method == config.preset("outer").method


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("concize", "did you mean 'concise'"),
        ("concise:word_limt=5", "unknown parameter 'word_limt' (did you mean 'word_limit'?)"),
        ("concise:word_limit=five", "concise:word_limit=five': word_limit = 'five' is not right"),
        ("concise:word_limit", "should read parameter=value"),
        ("concise:word_limit=0", "at least 1 word"),
        ("direct+concise", "cannot wrap another method"),
        ("budget_forcing+direct", "cannot wrap another method"),
        ("budget_forcing:max_thinking=4", "did you mean 'max_thinking_tokens'"),
        ("direct:x=1", "it takes none"),
        ("concise=direct", "needs a name of its own"),
        ("short=", "needs a name of its own"),
        ("", "no method or preset named ''"),
        ("no_thinking:how=maybe", "how = 'maybe' is not right"),
    ],
)
def test_a_wrong_preset_is_named_in_one_sentence(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        Config().preset(text)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[preset.x]\nmethod='direct'", "unknown section [preset] (did you mean 'presets'?)"),
        ("[presets]\nx = 1", "presets.x must be a table"),
        ("presets = 1", "presets must be a section"),
        ("[presets.x]\nword_limit=1", "needs a key 'method'"),
        ("[presets.x]\nmethod='concise'\ninner=3", "inner of [presets.x]"),
        (
            "[presets.x]\nmethod='concise'\ninner='y'\n[presets.y]\nmethod='concise'\ninner='x'",
            "wraps itself: x -> y -> x",
        ),
        ("[presets.x", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(written(tmp_path, text))
    assert complaint in str(caught.value)
    assert "taut.toml" in str(caught.value)


def test_a_missing_file_is_an_error_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(None) == Config()
    with pytest.raises(UsageError, match=r"cannot read .*absent\.toml"):
        load_config(tmp_path / "absent.toml")


def test_every_method_is_a_preset_under_its_own_name() -> None:
    names = method_names()
    assert {"direct", "concise", "budget_forcing", "tale"} <= set(names)
    for name in names:
        assert Config().preset(name).method == build_method(name, {}, None, name)


async def test_an_engine_opens_by_kind_by_name_and_with_options(tmp_path: Path) -> None:
    assert isinstance(await open_engine("fake"), FakeEngine)
    assert (await open_engine("fake:slowpoke")).model == "slowpoke"
    config = load_config(written(tmp_path, "[engines.mine]\nkind='fake'\ntoken_s=0.5\nprices={prompt=1.0}"))
    engine = await open_engine("mine", config)
    assert isinstance(engine, FakeEngine)
    assert engine.token_s == 0.5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fak", "did you mean 'fake'"),
        ("nowhere:x", "no engine named 'nowhere'"),
        ("embedded:/no/such.gguf", "there is no model file"),
    ],
)
async def test_a_wrong_engine_is_named(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        await open_engine(text)
    assert complaint in str(caught.value)


async def test_a_wrong_key_of_an_engine_is_named(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "[engines.mine]\nkind='fake'\ntoken=0.5\n[engines.other]\nurl='x'"))
    with pytest.raises(UsageError, match=r"unknown key 'token' \(did you mean 'token_s'\?\)"):
        await open_engine("mine", config)
    with pytest.raises(UsageError, match="needs a key 'kind'"):
        await open_engine("other", config)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("concise:inner=direct", "unknown parameter 'inner'"),
        ("thinking", "no method or preset named 'thinking'"),
        ("+".join(["concise"] * 40), "stacks more than 16 methods"),
        ("conc\udcffise", "characters that cannot be printed"),
    ],
)
def test_a_preset_that_would_break_the_program_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Config().preset(text)


@pytest.mark.parametrize(
    "text",
    [
        "[presets.a]\nmethod='concise'\ninner='concise+a'",
        "[presets.a]\nmethod='concise'\ninner='tale+b'\n[presets.b]\nmethod='concise'\ninner='a'",
    ],
)
def test_presets_that_wrap_each_other_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="wraps itself"):
        load_config(written(tmp_path, text))


def test_a_preset_with_the_name_of_a_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has the name of a method"):
        load_config(written(tmp_path, "[presets.direct]\nmethod='concise'"))
