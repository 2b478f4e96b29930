"""A GGUF file at smaller levels, one file each, for the embedded engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from taut.errors import UsageError

if TYPE_CHECKING:
    from taut.train.gguf.writing import Written


def quantize(
    source: Path, levels: Sequence[str], out: Path | None = None, *, tell: Callable[[Written], None] | None = None
) -> list[Written]:
    """Write ``source`` at every level of ``levels`` into the folder ``out``, by default its own; say what was written.

    The files are called as the source, with the level in place of its own. ``tell`` hears of each as it is done.
    Raises `UsageError` for a file that is not in f32, f16 or bf16, an unknown level, or one out of reach here.
    """
    try:
        from taut.train.gguf.levels import level_named
        from taut.train.gguf.requantizing import write_level
    except ImportError as error:
        raise UsageError(f"GGUF files need {error.name or 'gguf'}: pip install 'taut[gguf]'") from None
    for level in levels:
        level_named(level)
    done = []
    for level in dict.fromkeys(levels):
        done.append(write_level(source, level, out or source.parent))
        if tell is not None:
            tell(done[-1])
    return done
