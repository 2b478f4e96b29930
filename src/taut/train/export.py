"""A Hugging Face folder as one GGUF file, which the embedded engine and every other llama.cpp runs.

Reads safetensors without torch, so that a small installation can do it: ``pip install 'taut[gguf]'``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from taut.errors import UsageError

if TYPE_CHECKING:
    from taut.train.gguf.writing import Written

EXPORT_LEVELS = ("f16", "bf16", "f32", "q8_0")


def export(
    folder: Path, out: Path, *, level: str = "f16", name: str = "", chat_template: Path | None = None
) -> Written:
    """Write ``out`` from the model in ``folder`` and say what was written.

    ``level`` is one of `EXPORT_LEVELS` or any other of ``taut quantize``; ``name`` is the model's, by default the
    folder's; ``chat_template`` is used instead of the folder's own. The file appears whole or not at all. Raises
    `UsageError` for a folder that is no whole model, an adapter, and an architecture, tokenizer or setting that
    llama.cpp is not known to compute alike.
    """
    try:
        from taut.train.gguf.exporting import export_folder
    except ImportError as error:
        raise UsageError(f"GGUF files need {error.name or 'gguf'}: pip install 'taut[gguf]'") from None
    return export_folder(folder, out, level, name, chat_template)
