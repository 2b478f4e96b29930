"""A fast fake upstream: speaks as much of vLLM's API as Taut asks for, and writes events that were encoded beforehand.

    python benchmarks/_upstream.py --thinking 100 --answer 300 --interval-ms 5

Prints its address. A chat call gets ``--thinking`` tokens inside ``<think>`` tags and ``--answer`` tokens, one event
and one write each, at most ``max_tokens``; a raw completion (a turn to be continued) gets the answer alone. With
``--interval-ms`` all streams step together, one token each, as those of a real engine do; with 0 a stream is written
as fast as the client takes it. It is no test double: for odd replies see tests/engines/fake_upstream.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

MODEL = "Qwen3-fake"
WINDOW = 64
"""Events written to one stream before the others get their turn, when there is no interval."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
FENCE_AT = 10
"""With ``--fence`` a code fence opens at this thinking token and is never closed."""


class Replies:
    """The events of a reply, each encoded once."""

    def __init__(self, thinking: int, answer: int, *, fence: bool) -> None:
        words = ["<think>\n", *[" so"] * max(thinking - 2, 0), "\n</think>\n\n"] if thinking else []
        if fence and thinking > FENCE_AT:
            words[FENCE_AT] = "\n```\n"
        for index in range(20, len(words) - 1, 20):
            words[index] = ".\n\n" if index % 100 == 0 else " Wait,"
        texts = [*words, *[" word"] * answer]
        self._chat = [_event(_chat(text), number) for number, text in enumerate(texts, 1)]
        self._raw = [_event({"index": 0, "text": " word"}, number) for number in range(1, answer + 1)]

    def of(self, path: str, body: dict[str, Any]) -> list[bytes]:
        """The writes that answer one call."""
        is_chat = path.endswith("/chat/completions")
        known = self._chat if is_chat else self._raw
        limit = body.get("max_tokens") or len(known)
        finish = "length" if limit < len(known) else "stop"
        events = known[:limit]
        empty: dict[str, Any] = {"index": 0, "delta": {}} if is_chat else {"index": 0, "text": ""}
        last = _event({**empty, "finish_reason": finish}, len(events))
        usage = {"choices": [], "model": MODEL, "usage": _usage(len(events))}
        return [*events, last + _chunk(b"data: " + _json(usage) + b"\n\n") + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"]


class Stream:
    """A reply under way."""

    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self.transport = transport
        self.writes = writes
        self.position = 0
        self.is_paused = False

    def step(self, count: int) -> bool:
        """Write the next ``count`` events; false when nothing is left to do."""
        for _ in range(count):
            if self.transport.is_closing() or self.position >= len(self.writes):
                return False
            if self.is_paused:
                return True
            self.transport.write(self.writes[self.position])
            self.position += 1
        return self.position < len(self.writes)


class Upstream:
    """All streams under way, and the loop that steps them."""

    def __init__(self, replies: Replies, interval_s: float) -> None:
        self.replies = replies
        self.interval_s = interval_s
        self.streams: set[Stream] = set()
        self.woken = asyncio.Event()

    async def run(self) -> None:
        """Step every stream, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            if not self.streams:
                self.woken.clear()
                await self.woken.wait()
            due = loop.time() + self.interval_s
            count = 1 if self.interval_s else WINDOW
            self.streams -= {stream for stream in self.streams if not stream.step(count)}
            await asyncio.sleep(max(0.0, due - loop.time()))

    def begin(self, transport: asyncio.Transport, path: str, body: dict[str, Any]) -> Stream:
        """Start a reply."""
        transport.write(HEAD)
        stream = Stream(transport, self.replies.of(path, body))
        self.streams.add(stream)
        self.woken.set()
        return stream


class Connection(asyncio.Protocol):
    """Just enough HTTP/1.1: one request at a time, bodies with Content-Length."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.data = b""
        self.stream: Stream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def pause_writing(self) -> None:
        """The client is slower than we are."""
        if self.stream is not None:
            self.stream.is_paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        if self.stream is not None:
            self.stream.is_paused = False

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
        if path.endswith("completions"):
            self.stream = self.upstream.begin(self.transport, path, body)
            return
        answers: dict[str, Any] = {
            "/v1/models": {"data": [{"id": MODEL, "owned_by": "vllm", "max_model_len": 1 << 20}]},
            "/tokenize": {"tokens": [1, 2, 3], "count": 3, "max_model_len": 1 << 20},
            "/detokenize": {"prompt": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
        }
        status = b"200 OK" if path in answers else b"404 Not Found"
        text = _json(answers.get(path, {"error": {"message": "not found"}}))
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(text))
        self.transport.write(head + text)


def _chat(text: str) -> dict[str, Any]:
    return {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None, "token_ids": None}


def _usage(completion: int) -> dict[str, int]:
    return {"prompt_tokens": 10, "total_tokens": 10 + completion, "completion_tokens": completion}


def _event(choice: dict[str, Any], completion: int) -> bytes:
    document = {
        "id": "chatcmpl-9d1c1bf2b3ce4e7c9c3f",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": MODEL,
        "choices": [choice],
        "usage": _usage(completion),
    }
    return _chunk(b"data: " + _json(document) + b"\n\n")


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(options: argparse.Namespace) -> None:
    replies = Replies(options.thinking, options.answer, fence=options.fence)
    upstream = Upstream(replies, options.interval_ms / 1000)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(upstream), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await upstream.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thinking", type=int, default=0, help="tokens in <think> tags, tags included")
    parser.add_argument("--answer", type=int, default=400, help="tokens after them")
    parser.add_argument("--interval-ms", type=float, default=0.0, help="between two steps; 0: as fast as possible")
    parser.add_argument("--fence", action="store_true", help="open a code fence in the thinking and leave it open")
    asyncio.run(_serve(parser.parse_args()))
