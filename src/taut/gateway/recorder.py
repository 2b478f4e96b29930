"""``traces.jsonl`` written by many workers: the format that everything else reads, rotated, and bounded in size.

Lines wait in memory for a thread of their own, so a slow, full or vanished disk never holds a request up. A line is
written under a short lock that all workers share; whoever finds the file full renames it, and the others see that
by its inode. What a killed worker left of a line is cut by the next one to write. `kill -9` loses that line and
those that wait in memory, a few milliseconds' worth.

Each worker holds the folder's ``.lock`` for reading as long as it lives. `taut bench` wants it alone, so it refuses a
folder into which a gateway writes, and a gateway refuses one in which a bench runs, or has run.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from taut.core import Trace
from taut.errors import UsageError
from taut.gateway.redacting import noted, without_texts
from taut.traces import cut_unfinished_line, encode

MB = 1_000_000
WAITING_BYTES = 64 * MB
"""Lines in memory at most, while the disk does not take them; further ones are lost, and counted."""
RETRY_S = 5.0
CLOSE_S = 10.0
"""How long `Recorder.close` waits for the disk."""
FILE_NAME, LOCK_NAME, APPEND_NAME = "traces.jsonl", ".lock", ".append"
ROTATED = re.compile(r"traces-(\d{8}T\d{6}Z)-(\d+)\.jsonl")

Watch = Callable[[int], None]
"""Told how many; called from the writing thread."""


def _nobody(count: int) -> None:
    return


class Recorder:
    """Appends traces from one of several workers. Make it in the worker, not before a fork."""

    def __init__(
        self,
        folder: Path,
        *,
        store_prompts: bool,
        file_mb: int,
        total_mb: int,
        failed: Watch = _nobody,
        lost: Watch = _nobody,
    ) -> None:
        """Open the folder. Raises `UsageError` if it cannot be written, or belongs to a run of `taut bench`.

        ``failed`` is told about writes that failed and will be tried again, ``lost`` about traces that were given up.
        """
        self.written = 0
        """Traces on the disk."""
        self._store_prompts = store_prompts
        self._file = _File(folder, file_mb * MB, total_mb * MB)
        self._failed, self._lost = failed, lost
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._news = threading.Condition()
        self._closing = False
        self._is_failing = False
        self._held = _hold(folder)
        try:
            self._file.open()
        except OSError as error:
            os.close(self._held)
            raise UsageError(f"cannot write traces into {folder}: {error.strerror or error}") from None
        self._thread = threading.Thread(target=self._work, name="taut-recorder", daemon=True)
        self._thread.start()

    def append(self, trace: Trace, note: Mapping[str, Any]) -> None:
        """Write a trace that is over; never waits for the disk, never raises `OSError`.

        ``note`` is what the gateway knows of the request, and goes into the task's metadata. The task's id must be
        this answer's alone: of several lines with one id, preset and seed, readers take the last.
        """
        # Encoded here and not in the thread: what waits has a size, and cannot change any more.
        line = self._line(trace, note)
        with self._news:
            if line and not self._closing and self._waiting_bytes + len(line) <= WAITING_BYTES:
                self._waiting.append(line)
                self._waiting_bytes += len(line)
                self._news.notify()
                return
        self._lost(1)

    def close(self) -> None:
        """Write what waits, and let the folder go. Blocks for `CLOSE_S` at most; call it from a thread."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._file.close()
            os.close(self._held)

    def _line(self, trace: Trace, note: Mapping[str, Any]) -> bytes:
        """One line; empty for what JSON cannot hold at all, such as a client's message nested a thousand deep."""
        try:
            return encode(noted(trace, note) if self._store_prompts else without_texts(trace, note))
        except (OverflowError, RecursionError, TypeError, ValueError, msgspec.MsgspecError):
            return b""

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closing)
                is_last = self._closing
                if not self._waiting:
                    return
            try:
                with self._file.locked():
                    self._write_waiting()
            except OSError as error:
                if self._complain(error, is_last):
                    return
            else:
                self._recover()

    def _write_waiting(self) -> None:
        while self._waiting:
            self._file.append(self._waiting[0])
            self.written += 1
            with self._news:
                self._waiting_bytes -= len(self._waiting.popleft())

    def _complain(self, error: OSError, is_last: bool) -> bool:
        """Count a failure, say the first one, and wait a while; true when this was the last try."""
        self._file.close()
        self._failed(1)
        if not self._is_failing:
            _say(f"cannot write traces into {self._file.folder}: {error.strerror or error}; trying again")
        self._is_failing = True
        with self._news:
            if not is_last:
                # Whoever closes it in the meantime gets one more try at once.
                self._news.wait_for(lambda: self._closing, RETRY_S)
                return False
            given_up = len(self._waiting)
            self._waiting.clear()
        self._lost(given_up)
        return True

    def _recover(self) -> None:
        if self._is_failing:
            _say(f"traces are written into {self._file.folder} again")
        self._is_failing = False


class _File:
    """``traces.jsonl`` in a folder, whichever inode that is at the moment. Everything here raises `OSError`."""

    def __init__(self, folder: Path, file_bytes: int, total_bytes: int) -> None:
        self.folder = folder
        self._path = folder / FILE_NAME
        self._file_bytes, self._total_bytes = file_bytes, total_bytes
        self._file = self._lock = -1

    def open(self) -> None:
        """Open what is closed; a folder that has vanished is made again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._lock < 0:
            self._lock = os.open(self.folder / APPEND_NAME, os.O_CREAT | os.O_RDWR, 0o600)
        if self._file < 0:
            # Only for the owner: with texts it holds what people asked.
            self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)

    def close(self) -> None:
        """Close what is open."""
        for file in (self._file, self._lock):
            if file >= 0:
                os.close(file)
        self._file = self._lock = -1

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all workers, with the current file open and its last line whole."""
        if not _is_same(self._lock, self.folder / APPEND_NAME):
            self.close()
            self.open()
        _flock(self._lock, fcntl.LOCK_EX)
        try:
            self._catch_up()
            cut_unfinished_line(self._file)
            yield
        finally:
            if self._lock >= 0:
                _flock(self._lock, fcntl.LOCK_UN)

    def append(self, line: bytes) -> None:
        """Write one line; what was written of it is taken back if that fails. The lock is held."""
        size = os.fstat(self._file).st_size
        if size and size + len(line) > self._file_bytes:
            self._rotate()
            size = 0
        written = 0
        try:
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            os.ftruncate(self._file, size)
            raise

    def _catch_up(self) -> None:
        """Open the file anew if another worker has renamed it, or somebody deleted it."""
        if not _is_same(self._file, self._path):
            self._reopen()

    def _reopen(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self.open()

    def _rotate(self) -> None:
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        # Behind the last one of this second, and not into a gap: the names tell the order.
        numbers = [int(found[2]) for found in map(ROTATED.fullmatch, self._names()) if found and found[1] == stamp]
        target = self.folder / f"traces-{stamp}-{max(numbers, default=0) + 1:04}.jsonl"
        self._path.rename(target)
        self._reopen()
        self._delete_oldest()

    def _delete_oldest(self) -> None:
        """Make room, so that with a full current file the total stays within its limit."""
        rotated = sorted(self.folder / name for name in self._names() if ROTATED.fullmatch(name))
        sizes = {path: path.stat().st_size for path in rotated}
        total = sum(sizes.values()) + self._file_bytes
        for path in rotated:
            if total <= self._total_bytes:
                return
            # A file that cannot be deleted must not keep new traces from being written.
            with suppress(OSError):
                path.unlink()
            total -= sizes[path]

    def _names(self) -> list[str]:
        return os.listdir(self.folder)


def _is_same(file: int, path: Path) -> bool:
    """Whether an open file is still the one at ``path``."""
    if file < 0:
        return False
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(file)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _hold(folder: Path) -> int:
    """Hold the folder together with other gateways, against a bench. Raises `UsageError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "manifest.json").exists():
            raise UsageError(f"{folder} is a run folder of taut bench: choose another one with --traces")
        file = os.open(folder / LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o644)
    except FileExistsError:
        raise UsageError(f"{folder} is a file, not a folder: give --traces a folder, new or old") from None
    except OSError as error:
        raise UsageError(f"cannot write traces into {folder}: {error.strerror or error}") from None
    try:
        _flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise UsageError(f"taut bench is running in {folder}: choose another folder with --traces") from None
    return file


def _flock(file: int, how: int) -> None:
    """Lock; a file system that has no locks is written without, as `taut.traces` does."""
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        raise
    except OSError:
        return


def _say(sentence: str) -> None:
    with suppress(OSError):
        sys.stderr.write(f"taut serve: {sentence}\n")
