"""The engine's own model, nothing asked that Taut would have to see to: the reply passes through byte for byte.

Whole events are written on as they come, unchanged. On the way they are read, so that a reply that breaks off, is not
the protocol or never ends a line becomes a well-formed error, and so that its tokens are known.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import msgspec

from taut.core import Call, Engine, Piece, Streamed, Task, Trace, Usage
from taut.core import Count as TokenCount
from taut.engines._exchange import DONE, DRAIN_S, Watch
from taut.engines._http import error_message
from taut.engines._reply import ReplyReader
from taut.engines._retry import retry_after_s
from taut.engines._sse import MAX_EVENT_BYTES, EventParser
from taut.engines._wire import Chunk, load_json
from taut.errors import EngineError, one_line
from taut.gateway.answering import BUSY, RETRY_AFTER_S, discreet
from taut.gateway.nouns import Problem
from taut.session import estimate_tokens

MAX_REPLY_BYTES = 64 << 20
"""Of a reply that is not streamed."""
NAME = "pass-through"
"""The preset's name on traces and in the metrics."""

_decoder = msgspec.json.Decoder(Chunk)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an upstream may be silent, in seconds."""

    first_byte_s: float = 600.0
    idle_s: float = 120.0
    deadline_s: float | None = None


class Tap:
    """Reads a reply as it passes: pieces for the page, tokens for the trace."""

    def __init__(self, engine: Engine, trace: Trace) -> None:
        self.call = Call("generate", "main", model=engine.model)
        trace.calls.append(self.call)
        self.is_whole = False
        """The reply has said that it is over."""
        self.is_done = False
        """Its end mark has come: nothing follows."""
        self.error: EngineError | None = None
        """What the upstream itself said went wrong."""
        self._trace = trace
        self._began = time.perf_counter()
        self._parser = EventParser()
        self._reader = ReplyReader(engine.dialect, "thinking" if engine.dialect.template_opens else None)
        self._texts: dict[str, list[str]] = {"thinking": [], "answer": []}
        self._tokens = 0
        self._has_heard = False
        self._begun: set[int] = set()
        self._finished: set[int] = set()

    def feed(self, data: bytes) -> list[Piece]:
        """Read whole events. Raises `EngineError` (garbled) for what is not the protocol."""
        found: list[Streamed] = []
        for payload in self._parser.feed(data):
            self._hear(payload, found)
        return self._keep(found)

    def document(self, data: bytes) -> list[Piece]:
        """Read a reply that came as one document. Raises `EngineError` (garbled)."""
        found: list[Streamed] = []
        self._hear(data, found)
        if self.error is not None:
            raise self.error
        self.is_whole = True
        return self._keep(found)

    def _hear(self, payload: bytes, found: list[Streamed]) -> None:
        if self.is_done:
            return
        if payload == DONE:
            if not self._has_heard:
                raise EngineError("the upstream ended the stream without a reply")
            self.is_whole = self.is_done = True
            return
        self._has_heard = True
        chunk = _peek(payload)
        if chunk is None:
            return
        try:
            self._reader.read(chunk, found)
        except EngineError as error:
            self.error = error
        for choice in chunk.choices or ():
            (self._finished if choice.finish_reason else self._begun).add(choice.index)
        # One of several candidates may be over while others go on.
        self.is_whole = bool(self._finished) and self._begun <= self._finished

    def _keep(self, found: list[Streamed]) -> list[Piece]:
        pieces = [item for item in found if isinstance(item, Piece)]
        if pieces and self.call.first_token_s is None:
            self.call.first_token_s = time.perf_counter() - self._began
        for piece in pieces:
            self._texts[piece.kind].append(piece.text)
            self._tokens += piece.tokens
        return pieces

    def close(self, error: str | None = None) -> list[Piece]:
        """The reply is over, whole or not: close the call and the trace."""
        found: list[Streamed] = []
        try:
            self._reader.end(found)
        except EngineError as fault:
            self.error = self.error or fault
        pieces = self._keep(found)
        call, trace = self.call, self._trace
        call.ended_s = trace.wall_s = time.perf_counter() - self._began
        call.thinking, call.answer = "".join(self._texts["thinking"]), "".join(self._texts["answer"])
        trace.thinking, trace.answer = call.thinking, call.answer
        for item in found:
            if not isinstance(item, Piece | Usage):
                call.usage, call.model = item.usage, item.model or call.model
                call.finish = item.finish
        trace.error = error or (one_line(self.error) if self.error else None)
        trace.error_kind = "cut" if trace.error else None
        trace.finish = "error" if trace.error else (call.finish if self.is_whole else "cancelled")
        call.finish, call.error = trace.finish, trace.error
        if call.usage is None:
            call.usage = self._estimated()
        return pieces

    def _estimated(self) -> Usage:
        thinking, answer = estimate_tokens(self.call.thinking), estimate_tokens(self.call.answer)
        return Usage(
            TokenCount(0, "estimated"), TokenCount(thinking + answer, "estimated"), TokenCount(thinking, "estimated")
        )


def _peek(payload: bytes) -> Chunk | None:
    """The event as far as it is of a known form, else ``None``.

    Raises `EngineError` for what is no JSON object, and for choices that no client could read.
    """
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        document = load_json(payload.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise EngineError("the upstream sent an event that is not JSON") from None
    choices = document.get("choices") if isinstance(document, dict) else 0
    if choices is not None and not (isinstance(choices, list) and all(isinstance(one, dict) for one in choices)):
        raise EngineError("the upstream sent an event that is not of the protocol")
    return None


def is_event_stream(data: bytes) -> bool:
    """Whether ``data`` begins as server-sent events do: with a field of theirs, or a comment."""
    line = data.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n").partition(b"\n")[0]
    name, colon, _ = line.partition(b":")
    return not line or (bool(colon) and name in (b"", b"data", b"event", b"id", b"retry", b"error"))


def readable(data: bytes) -> bytes:
    """Whole events as they are; where they are not UTF-8, which clients fail on, with U+FFFD in its place."""
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data


async def drain(response: aiohttp.ClientResponse) -> None:
    """After the end mark: wait for the end of the body, so that the connection can be used again, but not for long."""
    if response.closed or response.content.at_eof():
        return
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(DRAIN_S):
            await response.content.readany()


async def whole_events(response: aiohttp.ClientResponse, watch: Watch) -> AsyncIterator[bytes]:
    """The body as it comes, cut only between events, so that whatever has to follow can be read.

    Raises `EngineError` for a body that breaks off, is silent for too long, or has an event without end.
    """
    held = b""
    while True:
        try:
            data = await response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise watch.error or EngineError(
                f"the upstream broke the reply off ({type(error).__name__})", kind="cut"
            ) from None
        if watch.error is not None:
            raise watch.error
        if not data:
            break
        watch.heard()
        if not held and data.endswith(b"\n\n"):
            yield data
            continue
        held += data
        cut = _last_event_end(held)
        if cut:
            yield held[:cut]
            held = held[cut:]
        if len(held) > MAX_EVENT_BYTES:
            raise EngineError(f"the upstream sent one event of more than {MAX_EVENT_BYTES >> 20} MiB")
    if held.strip():
        # A last event without its blank line.
        yield held + b"\n\n"


def _last_event_end(data: bytes) -> int:
    """Where the last whole event ends; 0 if there is none."""
    ends = [data.rfind(blank) + len(blank) for blank in (b"\n\n", b"\r\n\r\n") if blank in data]
    return max(ends, default=0)


async def read_whole(response: aiohttp.ClientResponse, watch: Watch) -> bytes:
    """The body of a reply that is not streamed. Raises `EngineError`."""
    data = bytearray()
    try:
        async for part in response.content.iter_any():
            data += part
            if len(data) > MAX_REPLY_BYTES:
                raise EngineError(f"the upstream sent a reply of more than {MAX_REPLY_BYTES >> 20} MiB")
    except (aiohttp.ClientError, OSError) as error:
        raise watch.error or EngineError(
            f"the upstream broke the reply off ({type(error).__name__})", kind="cut"
        ) from None
    return bytes(data)


async def refusal(response: aiohttp.ClientResponse, watch: Watch, engine: Engine) -> Problem:
    """What a client is told of a status that is not 200: the upstream's own reason, but for its opinion of our key."""
    try:
        data = clean(engine, await read_whole(response, watch))
        reason = error_message(data[: 64 << 10].decode("utf-8", "replace"))
    except EngineError:
        reason = ""
    status = response.status
    if status in (401, 403):
        return Problem("the upstream refused the gateway's own key", status=502, code="upstream_error")
    sentence = discreet(" ".join(reason.split()), (engine,))[:500] or f"the upstream answered {status} without a reason"
    if status in BUSY:
        code = "rate_limit_error" if status == 429 else "overloaded_error"
        wait_s = retry_after_s(response.headers) or RETRY_AFTER_S
        return Problem(sentence, status=429 if status == 429 else 503, code=code, retry_after_s=wait_s)
    if 400 <= status < 500:
        return Problem(sentence, status=status, code="not_found_error" if status == 404 else "invalid_request_error")
    return Problem(sentence, status=502, code="upstream_error")


def clean(engine: Engine, data: bytes) -> bytes:
    """What an upstream sent, without the operator's key, which some servers quote in their errors."""
    method = getattr(engine, "clean", None)
    return method(data) if method is not None else data


def new_trace(request_id: str) -> Trace:
    """The trace of a reply that passes through."""
    return Trace(Task(request_id, ()), NAME)


def watch_of(patience: Patience) -> Watch:
    """The timer that ends a reply which has been silent for too long."""
    return Watch(deadline_s=patience.deadline_s, first_token_s=patience.first_byte_s, idle_s=patience.idle_s)


async def begin(engine: Engine, path: str, body: bytes, watch: Watch) -> aiohttp.ClientResponse:
    """Send the request on and wait for the reply to begin. Raises `EngineError`."""
    try:
        async with asyncio.timeout(watch.remaining_s()):
            response: aiohttp.ClientResponse = await engine.forward(path, body)  # type: ignore[attr-defined]
    except TimeoutError:
        raise watch.expired() from None
    watch.guard(response)
    return response
