"""A fast fake of vLLM behind its reasoning parser, for the gateway's benchmark. Prints its address.

    python benchmarks/gateway/upstream.py --thinking 30 --answer 30 --interval-ms 20

A chat call gets ``--thinking`` tokens in the field ``reasoning`` and ``--answer`` tokens in ``content``, one event and
one write each, at most ``max_tokens``, then the counts if they were asked for. Token i of a stream is due i intervals
after its request came in, whatever happened to those before it: a stream does not drift. A raw completion continues the
turn that its prompt ends in: the answer alone if the thinking is closed there, otherwise both, with think tags.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any

MODEL = "Qwen3-fake"
THOUGHT, WORD = " hmm", " word"
"""The tokens. They occur nowhere else on the wire, so that a client can count them without reading JSON."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
PROMPT = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
PROMPT_TOKENS = 10
DONE = b"data: [DONE]\n\n"


class Replies:
    """The events of every kind of reply, each encoded once; number i tells the counts after i tokens."""

    def __init__(self, thinking: int, answer: int) -> None:
        parts = [("reasoning", THOUGHT)] * thinking + [("content", WORD)] * answer
        texts = ["<think>\n", *[THOUGHT] * thinking, "\n</think>\n\n", *[WORD] * answer]
        chat = [_chat({field: text}) for field, text in parts]
        raw = [_raw(text) for text in texts]
        self.thinking = thinking
        self._known = {
            ("chat", True): [_event(choice, number) for number, choice in enumerate(chat, 1)],
            ("chat", False): [_event(choice) for choice in chat],
            ("raw", True): [_event(choice, number) for number, choice in enumerate(raw, 1)],
            ("raw", False): [_event(choice) for choice in raw],
            ("closed", True): [_event(_raw(WORD), number) for number in range(1, answer + 1)],
            ("closed", False): [_event(_raw(WORD))] * answer,
        }

    def of(self, path: str, body: dict[str, Any]) -> list[bytes]:
        """The writes that answer a streaming call."""
        kind = _kind(path, body)
        options = body.get("stream_options") or {}
        known = self._known[kind, bool(options.get("continuous_usage_stats"))]
        limit = _limit(body)
        events = known[:limit]
        finish = "length" if len(events) < len(known) else "stop"
        empty: dict[str, Any] = _chat({}) if kind == "chat" else _raw("")
        last = _event({**empty, "finish_reason": finish})
        if options.get("include_usage"):
            last += _chunk(_lines({**_document(), "choices": [], "usage": _usage(len(events))}))
        return [*events, last + _chunk(DONE) + b"0\r\n\r\n"]

    def whole(self, path: str, body: dict[str, Any]) -> tuple[bytes, int]:
        """The body of a reply that is not streamed, and its number of tokens."""
        kind = _kind(path, body)
        tokens = min(len(self._known[kind, False]), _limit(body) or 1 << 30)
        thinking = 0 if kind == "closed" else min(self.thinking, tokens)
        thought, text = THOUGHT * thinking, WORD * (tokens - thinking)
        message = {"role": "assistant", "content": text, "reasoning": thought}
        content = {"message": message} if kind == "chat" else {"text": f"{thought}\n</think>\n\n{text}"}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": "stop"}
        return _json({**_document(), "choices": [choice], "usage": _usage(tokens)}), tokens


class Connection(asyncio.Protocol):
    """Just enough HTTP/1.1: one request at a time, bodies with Content-Length."""

    def __init__(self, replies: Replies, interval_s: float) -> None:
        self.replies = replies
        self.interval_s = interval_s
        self.loop = asyncio.get_running_loop()
        self.data = b""
        self.timer: asyncio.Handle | None = None
        self.is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exception: Exception | None) -> None:
        """The client left: the stream ends."""
        if self.timer is not None:
            self.timer.cancel()

    def pause_writing(self) -> None:
        """The client is slower than we are."""
        self.is_paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self.is_paused = False

    def data_received(self, data: bytes) -> None:
        """Answer when the request is complete."""
        self.data += data
        head, found, rest = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self.data = rest[length:]
        self._answer(lines[0].split()[1], json.loads(rest[:length] or b"{}"))

    def _answer(self, path: str, body: dict[str, Any]) -> None:
        if not path.endswith("completions"):
            self._send(*_about(path))
        elif not body.get("stream"):
            document, tokens = self.replies.whole(path, body)
            self.timer = self.loop.call_later(tokens * self.interval_s, self._send, b"200 OK", document)
        else:
            self.transport.write(HEAD)
            self._step(iter(self.replies.of(path, body)), self.loop.time())

    def _step(self, writes: Iterator[bytes], due_s: float) -> None:
        """Write one event and come back when the next is due."""
        if not self.is_paused:
            event = next(writes, None)
            if event is None:
                return
            self.transport.write(event)
        due_s += self.interval_s
        if self.interval_s:
            self.timer = self.loop.call_at(due_s, self._step, writes, due_s)
        else:
            self.timer = self.loop.call_soon(self._step, writes, due_s)

    def _send(self, status: bytes, text: bytes) -> None:
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(text))
        self.transport.write(head + text)


def _about(path: str) -> tuple[bytes, bytes]:
    answers: dict[str, Any] = {
        "/v1/models": {"object": "list", "data": [{"id": MODEL, "owned_by": "vllm", "max_model_len": 1 << 20}]},
        "/tokenize": {"tokens": [1, 2, 3], "count": 3, "max_model_len": 1 << 20},
        "/detokenize": {"prompt": PROMPT},
        "/health": {},
    }
    status = b"200 OK" if path in answers else b"404 Not Found"
    return status, _json(answers.get(path, {"error": {"message": "not found", "code": 404}}))


def _kind(path: str, body: dict[str, Any]) -> str:
    if path.endswith("/chat/completions"):
        return "chat"
    return "closed" if "</think>" in str(body.get("prompt", "")) else "raw"


def _limit(body: dict[str, Any]) -> int | None:
    return body.get("max_completion_tokens") or body.get("max_tokens") or None


def _document() -> dict[str, Any]:
    return {"id": "chatcmpl-9d1c1bf2b3ce4e7c9c3f", "object": "chat.completion.chunk", "created": 1, "model": MODEL}


def _chat(delta: dict[str, str]) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, "token_ids": None}


def _raw(text: str) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": None}


def _usage(completion: int) -> dict[str, int]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "total_tokens": PROMPT_TOKENS + completion,
        "completion_tokens": completion,
    }


def _event(choice: dict[str, Any], completion: int | None = None) -> bytes:
    counts = {} if completion is None else {"usage": _usage(completion)}
    return _chunk(_lines({**_document(), "choices": [choice], **counts}))


def _lines(document: dict[str, Any]) -> bytes:
    return b"data: " + _json(document) + b"\n\n"


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


async def _serve(options: argparse.Namespace) -> None:
    replies = Replies(options.thinking, options.answer)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(replies, options.interval_ms / 1000), "127.0.0.1", options.port, backlog=2048
    )
    gc.freeze()
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thinking", type=int, default=30, help="tokens in the field reasoning")
    parser.add_argument("--answer", type=int, default=30, help="tokens in the field content")
    parser.add_argument("--interval-ms", type=float, default=20.0, help="between two tokens; 0: as fast as possible")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    asyncio.run(_serve(parser.parse_args()))
