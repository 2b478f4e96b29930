"""``taut export``: a Hugging Face folder as one GGUF file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from taut.cli import existing_file, model_folder, new_file

if TYPE_CHECKING:
    from taut.train.gguf.writing import Written

HELP = """write a Hugging Face model folder as one GGUF file, for the embedded engine and every llama.cpp

Reads config.json, tokenizer.json and the safetensors, without torch. Llama, Qwen2 and Qwen3 with byte-level BPE tokens;
what llama.cpp is not known to compute alike is refused. An adapter is merged first: taut adapter merge."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from taut.train.export import EXPORT_LEVELS

    parser.add_argument(
        "model", type=model_folder, metavar="MODEL_FOLDER", help="with config.json and .safetensors files"
    )
    parser.add_argument("--out", required=True, type=new_file, metavar="MODEL.gguf", help="the file to write")
    types = ", ".join(EXPORT_LEVELS)
    parser.add_argument("--type", choices=EXPORT_LEVELS, default="f16", help=f"of the weights: {types} (default: f16)")
    parser.add_argument("--name", default="", metavar="NAME", help="the model's (default: the folder's)")
    parser.add_argument("--chat-template", type=existing_file, metavar="FILE", help="instead of the folder's own")


def main(arguments: argparse.Namespace) -> int:
    """Write the file."""
    from taut.train.export import export

    done = export(
        arguments.model,
        arguments.out,
        level=arguments.type,
        name=arguments.name,
        chat_template=arguments.chat_template,
    )
    sys.stdout.write(f"{described(done)}\n")
    tell_notes(done)
    sys.stdout.write(f"to try it: taut doctor embedded:{done.path}\n")
    return 0


def described(done: Written) -> str:
    """One line for a written file."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in done.kinds.items())
    return f"{done.path}: {done.size_bytes / 1e6:,.1f} MB, {done.parameters / 1e6:,.1f} M parameters ({kinds})"


def tell_notes(done: Written) -> None:
    """On stderr, what is not as one might expect."""
    for note in done.notes:
        sys.stderr.write(f"taut: {Path(done.path).name}: {note}\n")
