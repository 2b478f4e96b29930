"""Weights in blocks with a common scale: by llama.cpp itself where it is installed, else by the package gguf.

Both give the same bytes for the plain types. The types in blocks of 256 are only in llama.cpp, whose function is
reached in the library that the embedded engine loads; it is tried on a few numbers before it is trusted.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

Type = GGMLQuantizationType
PLAIN = (Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q5_1, Type.Q5_0, Type.Q4_1, Type.Q4_0)
"""Those that the package gguf stores by itself."""
PROBE_BLOCKS = 2
MOST_PROBE_ERROR = 0.2
"""Of the largest number; four bits are within 0.07 of it."""


def pack(values: Any, kind: Any) -> Any:
    """Contiguous float32 rows as bytes of ``kind``, which `can_pack` must allow."""
    function = _native(kind)
    return quantize(values, kind) if function is None else _call(function, values, kind)


def can_pack(kind: Any) -> bool:
    """Whether weights can be stored as this type here."""
    return kind in PLAIN or _native(kind) is not None


@functools.cache
def _native(kind: Any) -> Any:
    """llama.cpp's function, if it does for this type what it should."""
    function = _function()
    if function is None:
        return None
    row = int(GGML_QUANT_SIZES[kind][0]) * PROBE_BLOCKS
    probe = np.sin(np.arange(2 * row, dtype=np.float32)).reshape(2, row)
    error = np.abs(dequantize(_call(function, probe, kind), kind) - probe).max()
    return function if error < MOST_PROBE_ERROR else None


@functools.cache
def _function() -> Any:
    try:
        library = ctypes.CDLL(importlib.import_module("xllamacpp.xllamacpp").__file__)
        function = library.ggml_quantize_chunk
    except (ImportError, OSError, AttributeError):
        return None
    long, pointer = ctypes.c_int64, ctypes.c_void_p
    function.argtypes = [ctypes.c_int, pointer, pointer, long, long, long, pointer]
    function.restype = ctypes.c_size_t
    return function


def _call(function: Any, values: Any, kind: Any) -> Any:
    block, size = GGML_QUANT_SIZES[kind]
    rows, length = values.size // values.shape[-1], values.shape[-1]
    packed = np.empty((*values.shape[:-1], length // block * size), dtype=np.uint8)
    function(int(kind), values.ctypes.data, packed.ctypes.data, 0, rows, length, None)
    return packed
