"""Files that are written whole or not at all, and whether one could be written, before the work is done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from taut.errors import UsageError, one_line


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A draft to write to, which takes the place of ``path`` if all goes well and is gone if not.

    A link stays, and what it leads to is written. Raises `UsageError` where the file cannot be written.
    """
    # Beside the file itself, so that a reader never sees half of it.
    target = Path(os.path.realpath(path))
    draft = _draft(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        os.replace(draft, target)
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write these bytes. Raises `UsageError` where they cannot be written."""
    with whole(path) as draft:
        draft.write_bytes(data)


def check_writable(path: Path, argument: str) -> None:
    """Raise `UsageError` naming the command's argument where no such file can be written; leaves nothing behind."""
    try:
        if path.is_dir():
            raise UsageError(f"{argument} {path} is a folder: it takes the name of a file")
        if path.exists() and not path.is_file():
            raise UsageError(f"{argument} {path} is no regular file, and it would be replaced: choose another name")
        folder = path.parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        # Known once it is tried: root may write anywhere, but not into every kind of folder.
        draft = _draft(folder / path.name)
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise _refused(path, error) from None


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")


def _refused(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {str(path)[:200]}: {error.strerror or one_line(error)}")
