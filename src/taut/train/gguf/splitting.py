"""How a tokenizer cuts text before it merges bytes, under the name that llama.cpp knows it by.

llama.cpp has these rules built in and picks them by name: with a wrong name every token count and every answer is
subtly off, and nothing says so. So a rule is named here only when the tokenizer's own description is the known one, to
the letter; anything else is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf import MODEL_ARCH, MODEL_ARCH_NAMES

from taut.errors import UsageError

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
THREE_DIGITS = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST
ONE_DIGIT = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
WORDS = {**BYTES, "use_regex": True}


def _by_pattern(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, BYTES]}


SINGLE_DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, WORDS]}
KNOWN: tuple[tuple[str, Mapping[str, Any], bool], ...] = (
    ("gpt-2", WORDS, False),
    ("smollm", SINGLE_DIGITS, False),
    ("llama-bpe", _by_pattern(THREE_DIGITS), True),
    # The same cuts; only whether whole words skip the merging differs.
    ("smaug-bpe", _by_pattern(THREE_DIGITS), False),
    # This one has the name of its family.
    (MODEL_ARCH_NAMES[MODEL_ARCH.QWEN2], _by_pattern(ONE_DIGIT), False),
)
"""llama.cpp's name, the ``pre_tokenizer`` of tokenizer.json, and the BPE model's ``ignore_merges``."""


def split_name(folder: Path, tokenizer: Mapping[str, Any]) -> str:
    """llama.cpp's name for the tokenizer's cuts. Raises `UsageError` for cuts that it is not known to make."""
    described = _bare(tokenizer.get("pre_tokenizer") or {})
    ignores_merges = bool(tokenizer["model"].get("ignore_merges"))
    for name, known, ignoring in KNOWN:
        if described == known and ignores_merges == ignoring:
            return name
    if any(described == known for _, known, _ in KNOWN):
        raise UsageError(
            f"{folder}: llama.cpp has no rule with these cuts and ignore_merges set to {str(ignores_merges).lower()}"
        )
    raise UsageError(
        f"{folder}: llama.cpp is not known to cut text as this pre-tokenizer does: {json.dumps(described)[:200]}; "
        f"known: {', '.join(name for name, _, _ in KNOWN)}"
    )


def _bare(described: Any) -> Any:
    """Without what does not change the cuts; a sequence of one is that one."""
    if isinstance(described, dict):
        kept = {key: _bare(value) for key, value in described.items() if key != "trim_offsets"}
        if kept.get("type") == "ByteLevel":
            # Tokenizers of before this setting was written cut words.
            kept.setdefault("use_regex", True)
        inner = kept.get("pretokenizers")
        return inner[0] if isinstance(inner, list) and len(inner) == 1 else kept
    return [_bare(value) for value in described] if isinstance(described, list) else described
