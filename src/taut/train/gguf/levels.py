"""How exactly weights are stored: llama.cpp's levels, which tensors they touch, and the storing itself.

Which tensor gets which type follows llama.cpp's own quantizer: vectors stay in f32, the output matrix keeps more bits
than the rest, and mixtures (``_m``) spend more on the layers at both ends. A matrix whose rows do not fit a type's
blocks takes the next one that fits, f16 at last.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType
from gguf.quants import quantize

from taut.errors import UsageError, nearest
from taut.train.gguf import blocks
from taut.train.gguf.writing import Stored

Type = GGMLQuantizationType


@dataclass(frozen=True, slots=True)
class Level:
    """One way of storing a whole model."""

    name: str
    usual: Any
    """`gguf.GGMLQuantizationType` of most matrices."""
    output: Any
    """Of the matrix that scores tokens, which errors hurt most."""
    better: Any
    """Of value and down projections in some layers."""
    file_type: Any
    """`gguf.LlamaFileType`."""


def _even(name: str, kind: Any, file_type: Any) -> Level:
    return Level(name, kind, kind, kind, file_type)


LEVELS: Mapping[str, Level] = {
    level.name: level
    for level in (
        _even("f32", Type.F32, LlamaFileType.ALL_F32),
        _even("bf16", Type.BF16, LlamaFileType.MOSTLY_BF16),
        _even("f16", Type.F16, LlamaFileType.MOSTLY_F16),
        _even("q8_0", Type.Q8_0, LlamaFileType.MOSTLY_Q8_0),
        _even("q6_k", Type.Q6_K, LlamaFileType.MOSTLY_Q6_K),
        Level("q5_k_m", Type.Q5_K, Type.Q6_K, Type.Q6_K, LlamaFileType.MOSTLY_Q5_K_M),
        Level("q5_1", Type.Q5_1, Type.Q6_K, Type.Q5_1, LlamaFileType.MOSTLY_Q5_1),
        Level("q5_0", Type.Q5_0, Type.Q6_K, Type.Q5_0, LlamaFileType.MOSTLY_Q5_0),
        Level("q4_k_m", Type.Q4_K, Type.Q6_K, Type.Q6_K, LlamaFileType.MOSTLY_Q4_K_M),
        Level("q4_1", Type.Q4_1, Type.Q6_K, Type.Q4_1, LlamaFileType.MOSTLY_Q4_1),
        Level("q4_0", Type.Q4_0, Type.Q6_K, Type.Q4_0, LlamaFileType.MOSTLY_Q4_0),
    )
}
F16_MAX = float(np.finfo(np.float16).max)
UNQUANTISED = ("f32", "bf16", "f16")
FALLBACKS = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}
"""For rows that are not whole blocks of 256, and where llama.cpp is not installed."""
FAVOURED = re.compile(r"^blk\.(\d+)\.(attn_v|ffn_down)\.weight$")


def level_named(name: str) -> Level:
    """The level. Raises `UsageError` naming the known ones, or for one that only llama.cpp can store."""
    if name not in LEVELS:
        raise UsageError(f"there is no level {name!r}{nearest(name, LEVELS)}; known: {', '.join(LEVELS)}")
    level = LEVELS[name]
    if not blocks.can_pack(level.usual):
        plain = ", ".join(known for known, other in LEVELS.items() if blocks.can_pack(other.usual))
        raise UsageError(f"{name} needs llama.cpp's own functions: pip install 'taut[embedded]', or choose of: {plain}")
    return level


def type_of(level: Level, name: str, shape: tuple[int, ...], layers: int, *, scores_tokens: bool) -> Any:
    """How ``level`` stores the tensor ``name`` of a model of so many layers: a `gguf.GGMLQuantizationType`."""
    if len(shape) < 2:
        return Type.F32
    favoured = FAVOURED.match(name)
    if scores_tokens:
        wanted = level.output
    else:
        wanted = level.better if favoured and _has_more_bits(int(favoured[1]), layers) else level.usual
    while shape[-1] % GGML_QUANT_SIZES[wanted][0] or not blocks.can_pack(wanted):
        wanted = FALLBACKS.get(wanted, Type.F16)
    return wanted


def _has_more_bits(layer: int, layers: int) -> bool:
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def misfits(level: Level, tensors: Sequence[Stored]) -> list[str]:
    """One sentence for every type that matrices have because their rows are not whole blocks."""
    block = int(GGML_QUANT_SIZES[level.usual][0])
    odd = Counter(tensor.kind for tensor in tensors if len(tensor.shape) > 1 and tensor.shape[-1] % block)
    name = level.usual.name.lower()
    return [
        f"{count} of {len(tensors)} tensors have rows that are not whole blocks of {block}, as {name} needs them: "
        f"stored as {kind.name.lower()}"
        for kind, count in odd.items()
    ]


def store(values: Any, kind: Any, name: str) -> Any:
    """Float32 values as the bytes of ``kind``. Raises `UsageError` for numbers too large, or a type out of reach."""
    if kind == Type.F16 and values.size and float(np.abs(values).max()) > F16_MAX:
        raise UsageError(f"the tensor {name} holds numbers too large for f16; use bf16 or f32")
    if kind in (Type.F32, Type.F16, Type.BF16):
        return quantize(values, kind)
    return blocks.pack(np.ascontiguousarray(values, dtype=np.float32), kind)
