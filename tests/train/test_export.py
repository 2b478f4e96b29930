"""A GGUF file written by Taut is the same model to llama.cpp as its folder is to transformers."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from taut.train.export import export
from taut.train.gguf.writing import Written
from tests.train.llama import serve
from tests.train.tiny_gguf import TEXTS, make_folder

pytestmark = [pytest.mark.transformers, pytest.mark.embedded]

PLACES = 24
CLOSE = 1e-3
"""Of log-probabilities: the two add up in different orders."""
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
MODELS: dict[str, dict[str, Any]] = {
    "tied": {},
    "untied, biased, all heads": {"tie_word_embeddings": False, "attention_bias": True, "num_key_value_heads": 4},
    "own head size, mlp bias": {"head_dim": 32, "mlp_bias": True},
    "stretched rope": {"rope_parameters": LLAMA3_ROPE},
    "linear rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 2.0}},
    "padded embedding": {"vocab_size": 512},
    "second family": {"family": "Qwen2", "split": "qwen2"},
    "third family": {"family": "Qwen3", "split": "qwen2", "head_dim": 32},
}


@functools.cache
def loaded(folder: Path) -> tuple[Any, Any]:
    import torch
    import transformers

    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def log_probabilities(folder: Path, ids: list[int]) -> Any:
    """Of every next token, by transformers."""
    import torch

    with torch.inference_mode():
        return torch.log_softmax(loaded(folder)[0](torch.tensor([ids])).logits[0].double(), -1)


def greedy(folder: Path, prompt: list[int]) -> str:
    import torch

    model, tokenizer = loaded(folder)
    given = torch.tensor([prompt])
    with torch.inference_mode():
        written = model.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=PLACES,
            min_new_tokens=PLACES,
            do_sample=False,
        )
    return str(tokenizer.decode(written[0, len(prompt) :]))


def farthest(done: Written, folder: Path) -> float:
    """The largest difference of any log-probability between llama.cpp and transformers, over a written text."""
    tokenizer = loaded(folder)[1]
    prompt, always = tokenizer(TEXTS[0], add_special_tokens=False).input_ids, tokenizer.convert_tokens_to_ids("a")
    expected = log_probabilities(folder, prompt + [always] * (PLACES - 1))[len(prompt) - 1 :]
    with serve(done.path) as llama:
        places = llama.along(prompt, always, PLACES, expected.shape[1])
    assert all(len(place) == expected.shape[1] for place in places)
    return max(
        abs(found - float(expected[place, number]))
        for place, distribution in enumerate(places)
        for number, found in distribution.items()
    )


@pytest.mark.parametrize("settings", MODELS.values(), ids=MODELS)
def test_llama_cpp_computes_what_transformers_does(tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = make_folder(tmp_path / "model", **settings)
    assert farthest(export(folder, tmp_path / "model.gguf", level="f32"), folder) < CLOSE


@pytest.mark.parametrize("split", ["gpt-2", "smollm", "llama-bpe", "smaug-bpe", "qwen2"])
def test_llama_cpp_cuts_texts_as_the_tokenizer_does(tmp_path: Path, split: str) -> None:
    folder = make_folder(tmp_path / "model", split=split)
    done = export(folder, tmp_path / "model.gguf")
    tokenizer = loaded(folder)[1]
    with serve(done.path) as llama:
        for text in TEXTS:
            assert llama.tokens(text) == tokenizer(text, add_special_tokens=False).input_ids, text


@pytest.mark.parametrize(("level", "near"), [("f16", 0.05), ("bf16", 0.3), ("q8_0", 0.5)])
def test_a_smaller_type_stays_near(tmp_path: Path, level: str, near: float) -> None:
    folder = make_folder(tmp_path / "model")
    assert CLOSE / 100 < farthest(export(folder, tmp_path / "model.gguf", level=level), folder) < near


def test_the_real_model_keeps_its_tokens_and_its_text(smollm2: Path, tmp_path: Path) -> None:
    done = export(smollm2, tmp_path / "smollm2.gguf", level="f32")
    tokenizer = loaded(smollm2)[1]
    question = [{"role": "user", "content": "What is 17 + 25? Say it in words."}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=False)
    with serve(done.path) as llama:
        for text in TEXTS:
            assert llama.tokens(text) == tokenizer(text, add_special_tokens=False).input_ids, text
        written = llama.greedy(prompt, PLACES)
    assert written == greedy(smollm2, prompt)


def test_it_needs_neither_torch_nor_transformers(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    code = (
        "import sys; sys.modules.update(torch=None, transformers=None, safetensors=None, tokenizers=None);"
        f"from taut.cli import main; sys.exit(main(['export', {str(folder)!r}, '--out', {str(tmp_path / 'a.gguf')!r}]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert (tmp_path / "a.gguf").read_bytes()[:4] == b"GGUF"
