"""A GGUF file written tensor by tensor, so that a model larger than memory passes through; whole or not at all."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGUFWriter

from taut.errors import UsageError, one_line


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor to be written."""

    name: str
    shape: tuple[int, ...]
    kind: Any
    """`gguf.GGMLQuantizationType`."""
    values: Callable[[], Any]
    """Gives its bytes when its turn comes."""

    @property
    def count(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """In the file."""
        block, size = GGML_QUANT_SIZES[self.kind]
        return self.count // int(block) * int(size)


@dataclass(frozen=True, slots=True)
class Written:
    """A finished file."""

    path: Path
    level: str
    size_bytes: int
    parameters: int
    kinds: dict[str, int]
    """How many tensors are stored as what."""
    notes: tuple[str, ...] = ()
    """What is not as one might expect, one sentence each."""


@contextmanager
def new_file(path: Path, arch: str) -> Iterator[Any]:
    """A `gguf.GGUFWriter` whose file takes its name only when the block ends well. Raises `UsageError`."""
    if path.suffix != ".gguf":
        raise UsageError(f"{path} should end in .gguf, by which engines know the format")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished-{os.getpid()}")
    writer = GGUFWriter(unfinished, arch)
    try:
        yield writer
        writer.close()
        unfinished.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path} ({one_line(error)}): is the disk full?") from None
    finally:
        with suppress(OSError):
            writer.close()
        unfinished.unlink(missing_ok=True)


def write(writer: Any, tensors: Sequence[Stored]) -> None:
    """Write everything that the writer was told, then the tensors one after another."""
    for tensor in tensors:
        # Told the shape in numbers, not bytes, whatever the type.
        numbers = np.dtype(np.float32)
        writer.add_tensor_info(tensor.name, tensor.shape, numbers, tensor.size_bytes, raw_dtype=tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(np.ascontiguousarray(tensor.values()))


def report(path: Path, level: str, tensors: Sequence[Stored], notes: Sequence[str] = ()) -> Written:
    """What there is to say about the file just written."""
    kinds = Counter(str(tensor.kind.name).lower() for tensor in tensors)
    parameters = sum(tensor.count for tensor in tensors)
    return Written(path, level, path.stat().st_size, parameters, dict(kinds), tuple(notes))
