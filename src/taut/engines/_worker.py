"""The thread that owns a model: it takes waiting rows into the batch and steps it until there is nothing to do."""

from __future__ import annotations

import threading

import torch

from taut.engines._batch import Batch, Row
from taut.errors import EngineError, one_line


class Worker:
    """Runs a `Batch` of at most ``max_batch`` rows on a thread of its own."""

    def __init__(self, batch: Batch, max_batch: int) -> None:
        self._batch = batch
        self._max_batch = max_batch
        self._waiting: list[Row] = []
        self._changed = threading.Condition()
        self._is_closed = False
        # A daemon, so that an engine that nobody closed does not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="taut-transformers", daemon=True)
        self._thread.start()

    def submit(self, row: Row) -> None:
        """Let ``row`` join as soon as there is room. Raises `EngineError` after `close`."""
        with self._changed:
            if self._is_closed:
                raise EngineError("the engine is closed", kind="refused")
            self._waiting.append(row)
            self._changed.notify()

    @property
    def rows_under_way(self) -> int:
        """How many rows are in the batch right now."""
        return len(self._batch.rows)

    def close(self) -> None:
        """End the thread after the step under way; rows that are not done get an error."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with torch.inference_mode():
            while (joining := self._next()) is not None:
                self._advance(joining)
        self._fail([*self._batch.rows, *self._waiting], EngineError("the engine was closed", kind="cut"))

    def _next(self) -> list[Row] | None:
        """Rows that are to join now; waits while there is nothing to do at all; ``None`` after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting or self._batch.rows)
            if self._is_closed:
                return None
            self._waiting = [row for row in self._waiting if not row.is_left]
            room = self._max_batch - len(self._batch.rows)
            joining, self._waiting = self._waiting[:room], self._waiting[room:]
            return joining

    def _advance(self, joining: list[Row]) -> None:
        try:
            self._batch.drop_left()
            if self._batch.rows:
                self._batch.step()
            if joining:
                self._batch.join(joining)
        except Exception as error:  # noqa: BLE001 - a model's code may raise anything, and somebody waits for it
            self._fail([*self._batch.rows, *joining], EngineError(f"the model failed: {one_line(error)}"))
            self._batch.clear()

    def _fail(self, rows: list[Row], error: EngineError) -> None:
        for row in rows:
            row.deliver(error)
