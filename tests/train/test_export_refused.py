"""What cannot be exported is refused in one sentence, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taut.cli import main
from taut.errors import UsageError
from taut.train.export import export
from taut.train.gguf.exporting import licence_of
from tests.train.tiny_gguf import make_folder

pytestmark = pytest.mark.transformers

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("made") / "model")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "model"))


def edit(file: Path, change: Edit) -> None:
    document = json.loads(file.read_text(encoding="utf-8"))
    change(document)
    file.write_text(json.dumps(document), encoding="utf-8")


def refusal(folder: Path, **options: Any) -> str:
    out = folder.parent / "out" / "model.gguf"
    with pytest.raises(UsageError) as caught:
        export(folder, out, **options)
    assert not out.parent.exists() or not list(out.parent.iterdir())
    return str(caught.value)


CONFIGS: dict[str, tuple[Edit, str]] = {
    "an unknown architecture": (
        lambda c: c.update(architectures=["LamaForCausalLM"]),
        "did you mean 'llamaforcausallm'",
    ),
    "no architecture": (lambda c: c.pop("architectures"), "(none) cannot be exported"),
    "an unknown rope": (lambda c: c["rope_parameters"].update(rope_type="dynamic"), "known: default, linear"),
    "half a rope": (lambda c: c["rope_parameters"].update(rope_type="linear"), "rope type 'linear' without factor"),
    "another activation": (lambda c: c.update(hidden_act="gelu"), "with 'silu'"),
    "a sliding window": (lambda c: c.update(use_sliding_window=True), "no sliding window"),
    "partly rotated heads": (lambda c: c.update(partial_rotary_factor=0.5), "must be 1"),
    "no size": (lambda c: c.pop("hidden_size"), "config.json has no hidden_size"),
    "an untied head that is not there": (
        lambda c: c.update(tie_word_embeddings=False),
        "lack the tensor lm_head.weight",
    ),
    "more layers than weights": (lambda c: c.update(num_hidden_layers=3), "lack the tensor model.layers.2"),
    "another number of heads": (lambda c: c.update(num_key_value_heads=1), "k_proj has 32 rows"),
    "another vocabulary": (lambda c: c.update(vocab_size=999), "a vocab_size of 999"),
}


@pytest.mark.parametrize(("change", "words"), CONFIGS.values(), ids=CONFIGS)
def test_settings_that_llama_cpp_has_not_are_refused(folder: Path, change: Edit, words: str) -> None:
    edit(folder / "config.json", change)
    assert words in refusal(folder)


TOKENIZERS: dict[str, tuple[Edit, str]] = {
    "another kind": (lambda t: t["model"].update(type="Unigram"), "of kind 'Unigram'"),
    "no model": (lambda t: t.pop("model"), "of kind None"),
    "bytes as a fallback": (lambda t: t["model"].update(byte_fallback=True), "byte_fallback to True"),
    "small letters": (lambda t: t.update(normalizer={"type": "Lowercase"}), "normalizes text with 'Lowercase'"),
    "unknown cuts": (
        lambda t: t["pre_tokenizer"]["pretokenizers"][0].update(individual_digits=False),
        "known: gpt-2, smollm, llama-bpe, smaug-bpe, qwen2",
    ),
    "a space before every text": (
        lambda t: t["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True),
        "llama.cpp is not known to cut text",
    ),
    "no cuts at all": (lambda t: t.update(pre_tokenizer=None), "llama.cpp is not known to cut text"),
    "merges ignored": (lambda t: t["model"].update(ignore_merges=True), "ignore_merges set to true"),
    "a token beyond the embedding": (
        lambda t: t["added_tokens"].append({"id": 402, "content": "<more>", "special": False}),
        "'<more>' has number 402 and the embedding only 402 rows",
    ),
    "a token twice": (lambda t: t["added_tokens"][-1].update(content="<think>"), "'<think>' under two numbers"),
}


@pytest.mark.parametrize(("change", "words"), TOKENIZERS.values(), ids=TOKENIZERS)
def test_tokenizers_that_llama_cpp_has_not_are_refused(folder: Path, change: Edit, words: str) -> None:
    edit(folder / "tokenizer.json", change)
    assert words in refusal(folder)


def test_a_template_is_needed_and_can_be_given(folder: Path) -> None:
    template = (folder / "chat_template.jinja").rename(folder.parent / "mine.jinja")
    assert "--chat-template FILE" in refusal(folder)
    assert export(folder, folder.parent / "model.gguf", chat_template=template).size_bytes


def test_a_reply_must_have_an_end(folder: Path) -> None:
    for name in ("config.json", "generation_config.json"):
        edit(folder / name, lambda document: document.pop("eos_token_id", None))
    edit(folder / "tokenizer_config.json", lambda document: document.pop("eos_token"))
    assert "name a token that ends a reply" in refusal(folder)


def test_an_adapter_is_told_to_be_merged(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    assert "taut adapter merge" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer.json"),
        ("model.safetensors", "no model.safetensors"),
    ],
)
def test_a_missing_file_is_named(folder: Path, name: str, words: str) -> None:
    (folder / name).unlink()
    assert words in refusal(folder)


@pytest.mark.parametrize("kept", [0, 5, 2000, 200_000])
def test_a_weight_file_that_is_cut_short_is_refused(folder: Path, kept: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    assert "cut short" in (words := refusal(folder)) or "not a whole safetensors file" in words


def test_a_part_of_the_weights_that_is_missing_is_named(folder: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.safetensors").unlink()
    assert "names model-00002-of-00002.safetensors, which is not there" in refusal(folder)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def test_a_diverged_model_is_refused_by_the_tensor(folder: Path) -> None:
    rewrite(folder, lambda weights: weights["model.norm.weight"].__setitem__(3, np.nan))
    assert "model.norm.weight holds numbers that are not finite" in refusal(folder)


def test_numbers_too_large_for_f16_are_refused_and_fit_bf16(folder: Path) -> None:
    rewrite(folder, lambda weights: weights["model.embed_tokens.weight"].__setitem__((0, 0), 1e6))
    assert "too large for f16; use bf16" in refusal(folder)
    assert export(folder, folder.parent / "model.gguf", level="bf16").size_bytes


def test_a_tensor_without_a_place_is_refused(folder: Path) -> None:
    rewrite(folder, lambda weights: weights.update({"model.layers.0.extra.weight": np.ones(3, np.float32)}))
    assert "model.layers.0.extra.weight has no place" in refusal(folder)


def test_weights_that_are_quantised_already_are_refused(folder: Path) -> None:
    rewrite(folder, lambda weights: weights.update({"model.norm.weight": np.ones(64, np.int8)}))
    assert "stored as I8; F32, F16, BF16 are read" in refusal(folder)


def test_the_command_says_what_it_wrote_and_refuses_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.gguf"
    assert main(["export", str(folder), "--out", str(out), "--type", "q8_0"]) == 0
    assert f"{out}: 0.1 MB, 0.1 M parameters" in capsys.readouterr().out
    assert main(["export", str(folder), "--out", str(tmp_path / "small.bin")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: []\n---\n# A model", "apache-2.0"),
        ("---\ntags: []\nlicense: 'mit'\n---\n", "mit"),
        ("# A model\nlicense: mit\n", ""),
    ],
)
def test_the_licence_is_that_of_the_card(tmp_path: Path, card: str, licence: str) -> None:
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert licence_of(tmp_path) == licence


def test_the_licence_is_empty_without_a_card(tmp_path: Path) -> None:
    assert licence_of(tmp_path) == ""


def test_settings_that_do_not_fit_the_weights_are_refused(folder: Path) -> None:
    edit(folder / "config.json", lambda settings: settings.update(intermediate_size=9))
    assert "columns, and by config.json it must have 9" in refusal(folder)


def test_an_empty_chat_template_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(" \n", encoding="utf-8")
    assert "chat_template.jinja is empty" in refusal(folder)


def test_a_full_disk_is_called_that_and_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gguf import GGUFWriter

    def full(*_: object, **__: object) -> None:
        raise OSError("36864 requested and 1584 written")

    monkeypatch.setattr(GGUFWriter, "write_tensor_data", full)
    out = folder.parent / "full.gguf"
    with pytest.raises(UsageError, match=r"cannot write .*full\.gguf \(36864 requested .*\): is the disk full\?"):
        export(folder, out)
    assert not list(folder.parent.glob("*full.gguf*"))
