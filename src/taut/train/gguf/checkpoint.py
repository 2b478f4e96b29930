"""A Hugging Face model folder, read without torch: its settings, and one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf.utility import SafetensorsLocal

from taut.errors import UsageError, one_line

READABLE = ("F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The settings of a model and where its tensors lie."""

    folder: Path
    config: Mapping[str, Any]
    """``config.json``."""
    generation: Mapping[str, Any]
    """``generation_config.json``, empty where there is none."""
    tensors: Mapping[str, Any]
    """`gguf.utility.LocalTensor` by its name in the folder."""

    def values(self, name: str) -> Any:
        """The tensor as a float32 array. Raises `UsageError` for numbers that are not finite: training diverged."""
        tensor = self.tensors[name]
        values = _as_float32(tensor.mmap_bytes(), tensor.dtype).reshape(tensor.shape)
        if not np.isfinite(values).all():
            raise UsageError(
                f"{self.folder}: the tensor {name} holds numbers that are not finite; its training diverged"
            )
        return values


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the settings and the heads of the weight files. Raises `UsageError` for a folder that is no whole model."""
    if (folder / "adapter_config.json").is_file():
        raise UsageError(
            f"{folder} is an adapter, not a model; merge it first: taut adapter merge {folder} --out FOLDER"
        )
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} is no Hugging Face model folder: it has no config.json")
    return Checkpoint(
        folder=folder,
        config=read_json(folder / "config.json"),
        generation=read_json(folder / "generation_config.json", needed=False),
        tensors=_tensors(folder),
    )


def read_json(file: Path, *, needed: bool = True) -> dict[str, Any]:
    """The object in ``file``; an empty one if it is not there and not ``needed``. Raises `UsageError`."""
    if not needed and not file.is_file():
        return {}
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {one_line(error)}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{file} should hold one JSON object")
    return document


def _tensors(folder: Path) -> dict[str, Any]:
    index = read_json(folder / "model.safetensors.index.json", needed=False).get("weight_map") or {}
    found: dict[str, Any] = {}
    for file in _weight_files(folder, index):
        for name, tensor in _head(file).items():
            if tensor.dtype not in READABLE:
                raise UsageError(
                    f"{file}: the tensor {name} is stored as {tensor.dtype}; {', '.join(READABLE)} are read"
                )
            found[name] = tensor
    missing = sorted(set(index) - set(found))
    if missing:
        raise UsageError(f"{folder}: its index names the tensor {missing[0]}, which is in none of its files")
    return found


def _weight_files(folder: Path, index: Mapping[str, str]) -> list[Path]:
    """Those that transformers would load: others may hold the same weights in another layout."""
    whole = folder / "model.safetensors"
    files = [whole] if whole.is_file() else [folder / name for name in sorted(set(index.values()))]
    for file in files:
        if not file.is_file():
            raise UsageError(f"{folder}: its index names {file.name}, which is not there")
    if not files:
        raise UsageError(f"{folder} has no model.safetensors; load the model and call save_pretrained to write one")
    return files


def _head(file: Path) -> dict[str, Any]:
    try:
        tensors: dict[str, Any] = SafetensorsLocal(file).tensors
        end = max((tensor.data_range.offset + tensor.data_range.size for tensor in tensors.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
        raise UsageError(f"{file} is not a whole safetensors file: {one_line(error)}") from None
    if end > file.stat().st_size:
        raise UsageError(f"{file} is cut short: it has {file.stat().st_size:,} bytes of {end:,}")
    return tensors


def _as_float32(data: Any, dtype: str) -> Any:
    if dtype == "BF16":
        # The upper half of a float32, which numpy has no type for.
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return data.view(np.float16 if dtype == "F16" else np.float32).astype(np.float32)
