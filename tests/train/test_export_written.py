"""What stands in the file: names, kinds of tokens, ends, shapes and rope."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, TokenType
from safetensors.numpy import load_file, save_file

from taut.train.export import export
from tests.train.llama import serve
from tests.train.tiny_gguf import TEMPLATE, make_folder

pytestmark = pytest.mark.transformers


def written(folder: Path, **options: Any) -> dict[str, Any]:
    done = export(folder, folder.parent / "model.gguf", **options)
    return {key: field.contents() for key, field in GGUFReader(done.path).fields.items()}


def test_tags_are_shown_and_special_tokens_are_not(tmp_path: Path) -> None:
    fields = written(make_folder(tmp_path / "model", vocab_size=404))
    kinds = dict(zip(fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"], strict=True))
    assert kinds["<|im_end|>"] == TokenType.CONTROL
    assert kinds["<think>"] == kinds["</think>"] == TokenType.USER_DEFINED
    assert kinds["a"] == TokenType.NORMAL
    # The tokenizer has 402 tokens, and the embedding 404 rows.
    assert kinds["[PAD402]"] == kinds["[PAD403]"] == TokenType.UNUSED


def test_the_file_says_what_the_folder_does(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "tiny-thinker")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    fields = written(folder)
    assert fields["general.architecture"] == "llama"
    assert fields["general.name"] == "tiny-thinker"
    assert fields["general.license"] == "apache-2.0"
    assert fields["llama.block_count"] == 2
    assert fields["llama.context_length"] == 256
    assert fields["llama.attention.head_count_kv"] == 2
    assert fields["llama.rope.dimension_count"] == 16
    assert fields["tokenizer.ggml.pre"] == "smollm"
    assert fields["tokenizer.chat_template"] == TEMPLATE
    assert fields["tokenizer.ggml.tokens"][fields["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    assert fields["tokenizer.ggml.add_bos_token"] is False


def test_further_ends_of_a_reply_are_written(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 2]}), encoding="utf-8")
    fields = written(folder)
    assert (fields["tokenizer.ggml.eos_token_id"], fields["tokenizer.ggml.eot_token_id"]) == (2, 0)


def test_a_token_that_the_tokenizer_puts_first_is_put_first(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    first = [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    tokenizer["post_processor"] = {
        "type": "Sequence",
        "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing", "single": first}],
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    fields = written(folder)
    assert fields["tokenizer.ggml.add_bos_token"] is True
    assert fields["tokenizer.ggml.bos_token_id"] == 0


def test_weights_in_several_files_are_the_same_model(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    whole = export(folder, tmp_path / "whole.gguf").path.read_bytes()
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {name: f"model-{number % 3}.safetensors" for number, name in enumerate(weights)}
    for file in set(index.values()):
        save_file({name: value for name, value in weights.items() if index[name] == file}, folder / file)
    # Such a copy in another layout is no part of the model.
    save_file({"tok_embeddings.weight": weights["model.norm.weight"]}, folder / "consolidated.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}), encoding="utf-8")
    tensors = {tensor.name: tensor for tensor in GGUFReader(export(folder, tmp_path / "parts.gguf").path).tensors}
    expected = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "whole.gguf").tensors}
    assert len(whole) == (tmp_path / "parts.gguf").stat().st_size
    assert all(np.array_equal(tensors[name].data, tensor.data) for name, tensor in expected.items())


def test_old_ways_of_writing_rope_and_templates_are_read(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("rope_parameters")
    config |= {"rope_theta": 5000.0, "rope_scaling": {"type": "linear", "factor": 4.0}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["chat_template"] = [{"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    fields = written(folder)
    assert fields["llama.rope.freq_base"] == 5000.0
    assert (fields["llama.rope.scaling.type"], fields["llama.rope.scaling.factor"]) == ("linear", 4.0)
    assert fields["tokenizer.chat_template"] == "yes"


def test_what_llama_cpp_does_differently_is_told(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["normalizer"] = {"type": "NFC"}
    tokenizer["added_tokens"][-1]["lstrip"] = True
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    notes = export(folder, tmp_path / "model.gguf").notes
    assert any("NFC" in note for note in notes)
    assert any("keeps the spaces around '</think>'" in note for note in notes)


SWITCH = TEMPLATE.removesuffix("{% endif %}") + (
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
SHOWN = SWITCH.replace(
    "{{ message.content }}",
    "{% if message.reasoning_content %}<think>\n{{ message.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ message.content }}",
)


@pytest.mark.embedded
@pytest.mark.parametrize(("template", "thinks"), [(SWITCH, False), (SHOWN, True)], ids=["hidden", "shown"])
def test_a_template_that_llama_cpp_takes_for_one_without_thoughts_is_told(
    tmp_path: Path, template: str, thinks: bool
) -> None:
    folder = make_folder(tmp_path / "model")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    done = export(folder, tmp_path / "model.gguf")
    assert any("never writes reasoning_content" in note for note in done.notes) is not thinks
    with serve(done.path) as llama:
        prompt = llama.ask("/apply-template", messages=[{"role": "user", "content": "hi"}])["prompt"]
    assert prompt.endswith("</think>\n\n") is not thinks


def test_rows_that_fill_no_block_stay_in_f16_and_it_is_told(tmp_path: Path) -> None:
    # 48 is not a multiple of 32: of each layer's seven matrices only the last has rows of 96.
    folder = make_folder(tmp_path / "model", hidden_size=48)
    done = export(folder, tmp_path / "model.gguf", level="q8_0")
    assert done.kinds == {"f16": 13, "q8_0": 2, "f32": 5}
    assert done.notes == (
        "13 of 20 tensors have rows that are not whole blocks of 32, as q8_0 needs them: stored as f16",
    )
