"""``traces.jsonl``: the one hand-over format. Append-only, one trace a line, and it survives ``kill -9``.

A line is written with a single call, so a reader sees whole lines; a killed writer leaves at most one unfinished line
at the end, which readers pass over and the next writer cuts off. When a question was asked again (its first try
failed), the last line counts; earlier ones stay in the file, because they were paid for.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from taut.core import Trace
from taut.errors import UsageError, one_line

Key = tuple[str, str, int]
"""Preset, task id, seed: what a trace answers."""

_decoder = msgspec.json.Decoder(Trace)


def key_of(trace: Trace) -> Key:
    """What this trace answers; of several with one key the last counts."""
    return trace.preset, trace.task.id, trace.seed


def encode(trace: Trace) -> bytes:
    """One line, newline included. What JSON cannot hold is written as text (an object) or as "�" (half a character)."""
    try:
        return msgspec.json.encode(trace, enc_hook=str) + b"\n"
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole_characters(msgspec.to_builtins(trace, enc_hook=str))) + b"\n"


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(item) for key, item in value.items()}
    return [_whole_characters(item) for item in value] if isinstance(value, list | tuple) else value


def read_all(path: Path) -> Iterator[Trace]:
    """Every trace in file order, superseded ones included. Raises `UsageError` naming a broken line."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return  # the writer was killed in the middle of this line
                if line.strip():
                    yield _decode(line, path, number)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None


def _decode(line: bytes, path: Path, number: int) -> Trace:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}, line {number}, is not a trace: {one_line(error, 200)}") from None


def read(path: Path) -> list[Trace]:
    """The traces that count: the last one for each key, in order of first appearance."""
    last: dict[Key, Trace] = {}
    for trace in read_all(path):
        last[key_of(trace)] = trace
    return list(last.values())


class Writer:
    """Appends traces to a file; use it as a context manager. An unfinished last line is cut off first.

    Raises `UsageError` where another process is writing the file: two runs in one folder would do everything twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        _lock(self._file, path)
        cut_unfinished_line(self._file)

    def append(self, trace: Trace) -> None:
        """Write one line. Raises `OSError` on a full disk, after taking back what was written of it."""
        line = encode(trace)
        size = os.fstat(self._file).st_size
        written = 0
        try:
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            os.ftruncate(self._file, size)
            raise

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        os.close(self._file)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make the folder if need be and hold it: no other process may run in it until the block is left.

    Raises `UsageError` if another one does, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror or error}") from None
    _lock(file, folder)
    try:
        yield
    finally:
        os.close(file)


def _lock(file: int, path: Path) -> None:
    """Hold the file until it is closed, also by `kill -9`; a file system that has no locks is written without."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise UsageError(f"another process is writing {path}: wait for it, or choose another folder") from None
    except OSError:
        return


def cut_unfinished_line(file: int) -> None:
    """Take off what a killed writer has left of a line at the end of an open file."""
    size = os.fstat(file).st_size
    end = size
    while end > 0:
        start = max(end - 65536, 0)
        block = os.pread(file, end - start, start)
        newline = block.rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)


def finite(value: Any) -> Any:
    """``value`` with NaN and infinities as ``None``, which is how JSON must hold them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
