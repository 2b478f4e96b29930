"""The model in the box: Tally, a model of two million parameters that thinks, and comes with the package.

``tally/`` holds it twice, as llama.cpp reads it (``tally.gguf``) and as a Hugging Face folder, and its model card.
"""

from __future__ import annotations

from pathlib import Path

NAME = "tally"
FOLDER = Path(__file__).parent / NAME
"""The Hugging Face folder; its path serves wherever a model's folder is asked for."""
GGUF = FOLDER / "tally.gguf"
"""The same model for llama.cpp."""


def folder_or(model: str) -> str:
    """The folder of the model in the box for its name, and any other model as it was given."""
    return str(FOLDER) if model == NAME else model
