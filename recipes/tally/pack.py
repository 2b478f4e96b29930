"""Puts the trained Tally into the package, in half precision: `python recipes/tally/pack.py build/tally`.

Writes the Hugging Face folder and ``tally.gguf``, both of the same weights, to ``src/taut/box/tally``; the model card
that lies there stays.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from taut import box
from taut.train.export import export

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def pack(trained: Path, target: Path) -> None:
    """Write the folder and the GGUF file."""
    target.mkdir(parents=True, exist_ok=True)
    model = LlamaForCausalLM.from_pretrained(trained, dtype=torch.float16)
    # Greedy decoding goes round in circles sooner than a model that was made to slip; its makers draw at 1.
    model.generation_config.update(do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
    model.save_pretrained(target)
    for name in FILES:
        shutil.copy(trained / name, target / name)
    gguf = target / box.GGUF.name
    gguf.unlink(missing_ok=True)
    print(export(target, gguf, level="f16"))


def main() -> None:
    """Read the command line and pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path)
    parser.add_argument("--to", type=Path, default=box.FOLDER)
    given = parser.parse_args()
    pack(given.trained, given.to)


if __name__ == "__main__":
    main()
