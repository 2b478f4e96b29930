"""From a Hugging Face folder to one GGUF file; see `taut.train.export`."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_VERSION, MODEL_ARCH_NAMES, GGMLQuantizationType, size_label

from taut.train.gguf.architecture import Architecture, Placed, architecture_of
from taut.train.gguf.checkpoint import Checkpoint, read_checkpoint
from taut.train.gguf.levels import Level, level_named, misfits, store, type_of
from taut.train.gguf.vocabulary import vocabulary_of
from taut.train.gguf.writing import Stored, Written, new_file, report, write

FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---", re.DOTALL)
LICENCE = re.compile(r"^license:\s*['\"]?([^'\"\r\n]+?)['\"]?\s*$", re.MULTILINE)


def export_folder(folder: Path, out: Path, level_name: str, name: str, chat_template: Path | None) -> Written:
    """See `taut.train.export.export`."""
    level = level_named(level_name)
    checkpoint = read_checkpoint(folder)
    architecture = architecture_of(checkpoint)
    vocabulary = vocabulary_of(checkpoint, architecture.vocabulary, chat_template)
    tensors = _tensors(checkpoint, architecture, level)
    with new_file(out, MODEL_ARCH_NAMES[architecture.arch]) as writer:
        writer.add_type("model")
        writer.add_name(name or folder.resolve().name)
        writer.add_size_label(size_label(sum(tensor.count for tensor in tensors), 0, 0, 0))
        if licence := licence_of(folder):
            writer.add_license(licence)
        writer.add_file_type(int(level.file_type))
        writer.add_quantization_version(GGML_QUANT_VERSION)
        architecture.describe(writer)
        vocabulary.describe(writer)
        write(writer, tensors)
    return report(out, level.name, tensors, (*vocabulary.notes, *misfits(level, tensors)))


def licence_of(folder: Path) -> str:
    """What the model card says, empty where it says nothing."""
    card = folder / "README.md"
    head = FRONT_MATTER.match(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    found = LICENCE.search(head[1]) if head else None
    return found[1] if found else ""


def _tensors(checkpoint: Checkpoint, architecture: Architecture, level: Level) -> list[Stored]:
    placed = list(architecture.place(checkpoint))
    scorer = "output.weight" if any(tensor.name == "output.weight" for tensor in placed) else "token_embd.weight"
    tensors = [_stored(checkpoint, architecture, level, tensor, scorer) for tensor in placed]
    factors = architecture.rope_factors()
    if factors is not None:
        tensors.append(Stored("rope_freqs.weight", factors.shape, GGMLQuantizationType.F32, lambda: factors))
    return tensors


def _stored(checkpoint: Checkpoint, architecture: Architecture, level: Level, tensor: Placed, scorer: str) -> Stored:
    kind = type_of(level, tensor.name, tensor.shape, architecture.blocks, scores_tokens=tensor.name == scorer)
    return Stored(tensor.name, tensor.shape, kind, partial(_values, checkpoint, tensor, kind))


def _values(checkpoint: Checkpoint, tensor: Placed, kind: Any) -> Any:
    return store(tensor.arranged(checkpoint.values(tensor.source)), kind, tensor.name)
