"""Server-sent events: bytes as they arrive, cut anywhere, to the payloads of complete events."""

from __future__ import annotations

from taut.errors import EngineError

MAX_EVENT_BYTES = 4 << 20
"""A single event longer than this is no token stream any more; without a limit a broken server fills the memory."""


class EventParser:
    """Incremental parser: `feed` bytes, get the ``data`` of every event that is complete.

    Comments (keep-alives), ids and unknown fields are dropped. An event named ``error``, or llama.cpp's older
    ``error: {…}`` line, comes out as ``{"error": …}``, so that callers look in one place.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._is_error = False

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads completed by ``data``. Raises `EngineError` when one event passes `MAX_EVENT_BYTES`."""
        rest = self._rest
        if not rest and not self._data and data.endswith(b"\n\n") and b"\r" not in data:
            events = data[:-2].split(b"\n\n")
            # The usual case by far: whole events of one line each, one network read.
            if all(event.startswith(b"data: ") and b"\n" not in event for event in events):
                return [event[6:] for event in events]
        cut = data.rfind(b"\n") + 1
        if not cut:
            rest += data
            self._check_size()
            return []
        rest += data[:cut]
        lines = bytes(rest).split(b"\n")[:-1]
        self._rest = bytearray(data[cut:])
        payloads = [payload for line in lines if (payload := self._line(line)) is not None]
        self._check_size()
        return payloads

    def finish(self) -> list[bytes]:
        """What the end of the stream completes: a last event without its blank line."""
        payloads = [self._line(bytes(self._rest)), self._line(b"")]
        self._rest = bytearray()
        return [payload for payload in payloads if payload is not None]

    def _line(self, line: bytes) -> bytes | None:
        line = line.removesuffix(b"\r")
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"error":
            self._data.append(value)
            self._is_error = True
        elif name == b"event":
            self._is_error = value == b"error"
        return None

    def _dispatch(self) -> bytes | None:
        data, is_error = self._data, self._is_error
        self._data, self._is_error = [], False
        if not data:
            return None
        payload = b"\n".join(data)
        return b'{"error":' + payload + b"}" if is_error else payload

    def _check_size(self) -> None:
        if len(self._rest) + sum(map(len, self._data)) > MAX_EVENT_BYTES:
            raise EngineError(f"the server sent one event of more than {MAX_EVENT_BYTES >> 20} MiB")
