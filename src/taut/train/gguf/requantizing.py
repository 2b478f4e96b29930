"""From one GGUF file to another at a smaller level; see `taut.train.quantize`."""

from __future__ import annotations

import re
import struct
from functools import partial
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_VERSION, MODEL_ARCH_NAMES, GGUFReader, GGUFValueType, Keys
from gguf.quants import dequantize

from taut.errors import UsageError, one_line
from taut.train.gguf.architecture import SUPPORTED
from taut.train.gguf.levels import LEVELS, UNQUANTISED, Level, level_named, misfits, store, type_of
from taut.train.gguf.writing import Stored, Written, new_file, report, write

OWN_KEYS = (Keys.General.ARCHITECTURE, Keys.General.FILE_TYPE, Keys.General.QUANTIZATION_VERSION)
"""Written anew; all other keys are copied."""


def write_level(source: Path, name: str, folder: Path) -> Written:
    """Write ``source`` at the level ``name`` into ``folder``. Raises `UsageError`."""
    level = level_named(name)
    reader = _open(source)
    target = folder / f"{stem_of(source)}-{level.name}.gguf"
    if target.resolve() == source.resolve():
        raise UsageError(f"{source} is at the level {name} already")
    tensors = _tensors(reader, level, source)
    with new_file(target, str(reader.fields[Keys.General.ARCHITECTURE].contents())) as writer:
        _copy_keys(reader, writer)
        writer.add_file_type(int(level.file_type))
        writer.add_quantization_version(GGML_QUANT_VERSION)
        write(writer, tensors)
    return report(target, level.name, tensors, misfits(level, tensors))


def stem_of(path: Path) -> str:
    """The file's name without a level at its end: ``model-f16.gguf`` is ``model``."""
    level = "|".join(LEVELS)
    return re.sub(rf"[-._]({level})$", "", path.stem, flags=re.IGNORECASE) or path.stem


def _open(source: Path) -> Any:
    if not source.is_file():
        raise UsageError(f"there is no model file {source}")
    try:
        reader = GGUFReader(source)
    except (ValueError, KeyError, IndexError, OSError, struct.error) as error:
        raise UsageError(f"{source} is not a whole GGUF model: {one_line(error)}") from None
    architecture = reader.get_field(Keys.General.ARCHITECTURE)
    known = [MODEL_ARCH_NAMES[arch] for arch in SUPPORTED.values()]
    if architecture is None or architecture.contents() not in known:
        name = "nothing" if architecture is None else repr(architecture.contents())
        raise UsageError(
            f"{source}: the architecture is {name}; taut quantize knows {', '.join(known)}, llama.cpp's own "
            "llama-quantize the others"
        )
    if reader.get_field(Keys.Split.LLM_KV_SPLIT_COUNT) is not None:
        raise UsageError(f"{source} is one of several parts; join them with llama.cpp's llama-gguf-split --merge first")
    packed = [tensor for tensor in reader.tensors if tensor.tensor_type.name.lower() not in UNQUANTISED]
    if packed:
        raise UsageError(
            f"{source} is quantised already ({packed[0].name} is {packed[0].tensor_type.name.lower()}), and its errors "
            f"would add up; start from a file in {', '.join(UNQUANTISED)}, such as one of taut export"
        )
    return reader


def _copy_keys(reader: Any, writer: Any) -> None:
    for key, field in reader.fields.items():
        if key in OWN_KEYS or key.startswith("GGUF."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), kind, inner)


def _tensors(reader: Any, level: Level, source: Path) -> list[Stored]:
    names = {tensor.name for tensor in reader.tensors}
    scorer = "output.weight" if "output.weight" in names else "token_embd.weight"
    blocks = [int(name.split(".")[1]) for name in names if name.startswith("blk.")]
    layers = max(blocks, default=-1) + 1
    if not layers:
        raise UsageError(f"{source} holds no layers: it is only a vocabulary")
    return [_stored(tensor, level, layers, scorer) for tensor in reader.tensors]


def _stored(tensor: Any, level: Level, layers: int, scorer: str) -> Stored:
    shape = tuple(int(size) for size in reversed(tensor.shape.tolist()))
    kind = type_of(level, tensor.name, shape, layers, scores_tokens=tensor.name == scorer)
    return Stored(tensor.name, shape, kind, partial(_values, tensor, shape, kind))


def _values(tensor: Any, shape: tuple[int, ...], kind: Any) -> Any:
    return store(dequantize(tensor.data, tensor.tensor_type).reshape(shape), kind, tensor.name)
