"""A model's settings and tensors under the names that llama.cpp gives them.

The first family stores rotary query and key rows as two halves in Hugging Face folders and as pairs in GGUF: its rows
are put into that order here. The other families are rotated by halves in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, RopeScalingType, get_tensor_name_map

from taut.errors import UsageError, nearest
from taut.train.gguf.checkpoint import Checkpoint

SUPPORTED = {
    f"{MODEL_ARCH_NAMES[arch]}forcausallm": arch for arch in (MODEL_ARCH.LLAMA, MODEL_ARCH.QWEN2, MODEL_ARCH.QWEN3)
}
ROPES = ("default", "linear", "llama3", "yarn")
HEADS = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}
"""Which rows the first family has in another order, and the setting that counts their heads."""
IGNORED = ("rotary_emb.inv_freq",)
"""Buffers that old checkpoints hold, and that follow from the settings."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor of the folder and its name in the file."""

    name: str
    source: str
    shape: tuple[int, ...]
    heads: int
    """Rows are reordered within each of so many heads; 0 leaves them."""

    def arranged(self, values: Any) -> Any:
        """The values in llama.cpp's order."""
        if not self.heads:
            return values
        halves = values.reshape(self.heads, 2, values.shape[0] // self.heads // 2, *values.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))


@dataclass(frozen=True, slots=True)
class Architecture:
    """What llama.cpp must know of a model, its tokens apart."""

    name: str
    arch: Any
    """`gguf.MODEL_ARCH`."""
    config: Mapping[str, Any]
    rope: Mapping[str, Any]

    @property
    def blocks(self) -> int:
        """Layers."""
        return int(self.config["num_hidden_layers"])

    @property
    def heads(self) -> int:
        """Query heads in a layer."""
        return int(self.config["num_attention_heads"])

    @property
    def key_value_heads(self) -> int:
        """Key heads in a layer."""
        return int(self.config.get("num_key_value_heads") or self.heads)

    @property
    def head_size(self) -> int:
        """Numbers in one head."""
        return int(self.config.get("head_dim") or self.config["hidden_size"] // self.heads)

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding."""
        return int(self.config["vocab_size"])

    def describe(self, writer: Any) -> None:
        """Write the settings into a `gguf.GGUFWriter`."""
        writer.add_context_length(int(self.config["max_position_embeddings"]))
        writer.add_embedding_length(int(self.config["hidden_size"]))
        writer.add_block_count(self.blocks)
        writer.add_feed_forward_length(int(self.config["intermediate_size"]))
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.key_value_heads)
        writer.add_key_length(self.head_size)
        writer.add_value_length(self.head_size)
        writer.add_layer_norm_rms_eps(float(self.config["rms_norm_eps"]))
        writer.add_rope_dimension_count(self.head_size)
        writer.add_rope_freq_base(float(self.rope["theta"]))
        writer.add_vocab_size(self.vocabulary)
        self._describe_scaling(writer)

    def _describe_scaling(self, writer: Any) -> None:
        if self.rope["kind"] not in ("linear", "yarn"):
            return
        writer.add_rope_scaling_type(RopeScalingType(self.rope["kind"]))
        writer.add_rope_scaling_factor(float(self.rope["factor"]))
        if self.rope["kind"] == "yarn":
            writer.add_rope_scaling_orig_ctx_len(int(self.rope["original_max_position_embeddings"]))

    def place(self, checkpoint: Checkpoint) -> Iterator[Placed]:
        """Every tensor to be written, in the folder's order. Raises `UsageError` for one that has no place."""
        names = get_tensor_name_map(self.arch, self.blocks)
        tied = bool(self.config.get("tie_word_embeddings"))
        for source, tensor in checkpoint.tensors.items():
            if source.endswith(IGNORED) or (tied and source == "lm_head.weight"):
                continue
            name = names.get_name(source, try_suffixes=(".weight", ".bias"))
            if name is None:
                raise UsageError(f"{checkpoint.folder}: the tensor {source} has no place in a GGUF file of {self.name}")
            yield Placed(name, source, tuple(tensor.shape), self._heads_of(source))

    def _heads_of(self, source: str) -> int:
        if self.arch != MODEL_ARCH.LLAMA:
            return 0
        ours = [setting for part, setting in HEADS.items() if f".{part}." in source]
        if not ours:
            return 0
        return self.heads if ours[0] == "num_attention_heads" else self.key_value_heads

    def rope_factors(self) -> Any:
        """What divides each rotary frequency where low ones are stretched, as float32; ``None`` elsewhere."""
        if self.rope["kind"] != "llama3":
            return None
        rope = self.rope
        half = np.arange(0, self.head_size, 2, dtype=np.float64) / self.head_size
        turns = float(rope["original_max_position_embeddings"]) / (2 * np.pi * float(rope["theta"]) ** half)
        low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
        smooth = np.clip((turns - low) / (high - low), 0, 1)
        return (1 / ((1 - smooth) / float(rope["factor"]) + smooth)).astype(np.float32)


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """Find the family. Raises `UsageError` for an unknown one, or settings that llama.cpp's graph of it has not."""
    config, folder = checkpoint.config, checkpoint.folder
    name = str((config.get("architectures") or ["(none)"])[0])
    if name.lower() not in SUPPORTED:
        known = ", ".join(MODEL_ARCH_NAMES[arch] for arch in SUPPORTED.values())
        raise UsageError(
            f"{folder}: the architecture {name} cannot be exported{nearest(name.lower(), SUPPORTED)}; known: {known}"
        )
    found = Architecture(name, SUPPORTED[name.lower()], config, _rope(checkpoint))
    _check_settings(found, checkpoint)
    _check_tensors(found, checkpoint)
    return found


def _rope(checkpoint: Checkpoint) -> dict[str, Any]:
    """Both ways of writing it: transformers 5 has ``rope_parameters``, earlier ones ``rope_theta`` and a scaling."""
    config = checkpoint.config
    written = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    kind = str(written.get("rope_type") or written.get("type") or "default")
    theta = written.get("rope_theta") or config.get("rope_theta") or 10_000.0
    rope = {**written, "kind": kind, "theta": theta}
    if kind not in ROPES:
        raise UsageError(
            f"{checkpoint.folder}: the rope type {kind!r} cannot be exported{nearest(kind, ROPES)}; "
            f"known: {', '.join(ROPES)}"
        )
    needed = {
        "linear": ("factor",),
        "yarn": ("factor", "original_max_position_embeddings"),
        "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    }
    lacking = [key for key in needed.get(kind, ()) if not rope.get(key)]
    if lacking:
        raise UsageError(f"{checkpoint.folder}: config.json has rope type {kind!r} without {lacking[0]}")
    return rope


def _check_settings(found: Architecture, checkpoint: Checkpoint) -> None:
    config, folder = found.config, checkpoint.folder
    needed = ("hidden_size", "intermediate_size", "max_position_embeddings", "num_hidden_layers", "rms_norm_eps")
    for key in (*needed, "num_attention_heads", "vocab_size"):
        if not config.get(key):
            raise UsageError(f"{folder}: config.json has no {key}")
    if config.get("hidden_act", "silu") != "silu":
        raise UsageError(
            f"{folder}: hidden_act is {config['hidden_act']!r}; llama.cpp computes {found.name} with 'silu'"
        )
    if config.get("use_sliding_window"):
        raise UsageError(f"{folder}: llama.cpp has no sliding window for {found.name}; set use_sliding_window to false")
    if float(found.rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1) != 1:
        raise UsageError(f"{folder}: llama.cpp rotates whole heads of {found.name}; partial_rotary_factor must be 1")


def _check_tensors(found: Architecture, checkpoint: Checkpoint) -> None:
    names, folder = checkpoint.tensors, checkpoint.folder
    last = f"model.layers.{found.blocks - 1}.mlp.down_proj.weight"
    first = [f"model.layers.0.{part}.weight" for part in HEADS]
    needed = ["model.embed_tokens.weight", "model.norm.weight", last, *first]
    if not found.config.get("tie_word_embeddings"):
        needed.append("lm_head.weight")
    for name in needed:
        if name not in names:
            raise UsageError(f"{folder}: the weights lack the tensor {name}")
    for part, setting in HEADS.items():
        count = found.heads if setting == "num_attention_heads" else found.key_value_heads
        rows = names[f"model.layers.0.{part}.weight"].shape[0]
        if rows != count * found.head_size:
            raise UsageError(
                f"{folder}: {part} has {rows:,} rows, and config.json says {count} heads of {found.head_size}"
            )
    width, inner = int(found.config["hidden_size"]), int(found.config["intermediate_size"])
    for name, columns in (("model.embed_tokens.weight", width), (last, inner)):
        if names[name].shape[-1] != columns:
            raise UsageError(
                f"{folder}: {name} has {names[name].shape[-1]:,} columns, and by config.json it must have {columns:,}"
            )
    rows = names["model.embed_tokens.weight"].shape[0]
    if rows != found.vocabulary:
        raise UsageError(
            f"{folder}: the embedding has {rows:,} rows and config.json a vocab_size of {found.vocabulary:,}"
        )
