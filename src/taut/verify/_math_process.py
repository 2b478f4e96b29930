"""Keeps one `taut.verify._math_worker` alive, and ends it when a judgement takes too long."""

from __future__ import annotations

import atexit
import importlib.util
import queue
import subprocess
import sys
import threading
from typing import IO, Any

import msgspec

from taut.errors import UsageError, VerifierError

TIMEOUT_S = 10.0
START_TIMEOUT_S = 120.0
"""sympy takes a second to import, and much longer on a busy machine."""


def check_library() -> None:
    """Raise `UsageError` if math-verify is not installed; imports nothing."""
    if importlib.util.find_spec("math_verify") is None:
        raise UsageError("the verifier math needs the package math-verify: pip install 'taut[bench]'")


class MathProcess:
    """Compares two pieces of LaTeX. Safe to share between threads; judgements queue up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def same(self, gold: str, answer: str, timeout_s: float = TIMEOUT_S) -> bool:
        """Whether ``answer`` equals ``gold``, both LaTeX without delimiters.

        Raises `VerifierError` where math-verify fails, cannot read ``gold`` or takes longer than ``timeout_s``.
        """
        with self._lock:
            process = self._process or self._start()
            try:
                assert process.stdin is not None
                process.stdin.write(msgspec.json.encode((_valid(gold), _valid(answer))) + b"\n")
                process.stdin.flush()
                reply = self._receive(timeout_s)
            except OSError as error:
                self._stop()
                raise VerifierError(f"the process of math-verify has ended: {error}") from None
        if "error" in reply:
            raise VerifierError(f"math-verify: {reply['error']}")
        return bool(reply["same"])

    def close(self) -> None:
        """End the process; the next judgement starts another."""
        with self._lock:
            self._stop()

    def _start(self) -> subprocess.Popen[bytes]:
        check_library()
        self._replies = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "taut.verify._math_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(self.close)
        assert self._process.stdout is not None
        reader = threading.Thread(target=_forward, args=(self._process.stdout, self._replies), daemon=True)
        reader.start()
        self._receive(START_TIMEOUT_S)
        return self._process

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        try:
            line = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            self._stop()
            raise VerifierError(f"math-verify took longer than {timeout_s:g} s") from None
        if not line:
            self._stop()
            raise VerifierError("the process of math-verify has ended")
        return msgspec.json.decode(line, type=dict[str, Any])

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.close)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                _close_quietly(pipe)


def _valid(text: str) -> str:
    """Text without lone surrogates, which no encoding can carry."""
    return text.encode("utf-8", "replace").decode()


def _forward(lines: IO[bytes], replies: queue.SimpleQueue[bytes]) -> None:
    try:
        for line in lines:
            replies.put(line)
    except ValueError:
        # The other thread closed the pipe while this one was reading.
        pass
    replies.put(b"")


def _close_quietly(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except OSError:
        # A request may still lie in the buffer of a process that is gone.
        return


PROCESS = MathProcess()
"""Started by the first comparison that needs it, shared by all."""
