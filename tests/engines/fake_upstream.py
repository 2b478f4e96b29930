"""A scriptable server that speaks the OpenAI protocol, well or badly. Also a fast upstream for benchmarks.

Run alone it prints its address and streams ``--tokens`` tokens to every call, one event a token::

    python tests/engines/fake_upstream.py --tokens 500 --kind vllm
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from aiohttp import web

MODEL = "fake-model"
DONE = b"data: [DONE]\n\n"
Kind = Literal["hosted", "vllm", "llamacpp"]
Then = Literal["end", "hang", "cut", "slam"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What to do with one call: send ``parts`` one write each, then end the body, hang, or cut the connection.

    ``slam`` cuts it in place of an answer.
    """

    parts: Sequence[bytes] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    then: Then = "end"
    delay_s: float = 0.0
    """Before the first byte of the response."""
    pause_s: float = 0.0
    """Between two parts."""


@dataclass(frozen=True, slots=True)
class Received:
    """One call as it came in."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    data: bytes = b""
    """The body as it came."""


@dataclass(slots=True)
class FakeUpstream:
    """``async with FakeUpstream(replies=[…]) as server``; the last reply is repeated. ``server.url`` is its address."""

    replies: Sequence[Reply] = ()
    kind: Kind = "hosted"
    models: Sequence[Mapping[str, Any]] | None = None
    pages: Mapping[str, Reply] = field(default_factory=dict)
    """Answers for other paths, GET or POST; they win over the usual ones."""
    template: str = "<user>{text}</user><assistant>"
    url: str = ""
    port: int = 0
    """0: a free one."""
    received: list[Received] = field(default_factory=list)
    left: int = 0
    """Streams that the client left before they were over."""
    left_at_s: list[float] = field(default_factory=list)
    """When, on the event loop's clock."""
    running: int = 0
    """Calls that are being answered right now."""
    connections: set[tuple[Any, ...]] = field(default_factory=set)
    """Client addresses seen: one for each connection."""
    _queue: deque[Reply] = field(default_factory=deque)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> FakeUpstream:
        self._queue.extend(self.replies)
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        host, self.port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def calls(self) -> list[Received]:
        """The completion calls that came in."""
        return [call for call in self.received if call.path.endswith("completions")]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else {}
        self.received.append(Received(request.path, dict(request.headers), body, await request.read()))
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername"))
        if request.path in self.pages:
            return await self._play(request, self.pages[request.path])
        if request.path.endswith("completions"):
            reply = self._queue.popleft() if len(self._queue) > 1 else self._queue[0]
            return await self._play(request, reply)
        return self._about(request.path, body)

    def _about(self, path: str, body: dict[str, Any]) -> web.Response:
        owner = {"hosted": "someone"}.get(self.kind, self.kind)
        models = self.models if self.models is not None else [{"id": MODEL, "owned_by": owner, "max_model_len": 4096}]
        answers: dict[str, Any] = {"/v1/models": {"object": "list", "data": list(models)}}
        if self.kind == "llamacpp":
            answers["/props"] = {"default_generation_settings": {}, "chat_template": "{{ messages }}"}
            answers["/apply-template"] = {"prompt": self._rendered(body)}
        if self.kind == "vllm":
            # One "token" a character keeps the two calls honest without a tokenizer.
            text = self._rendered(body) if "messages" in body else str(body.get("prompt", ""))
            tokens = [ord(character) for character in text]
            answers["/tokenize"] = {"tokens": tokens, "count": len(tokens), "max_model_len": 4096}
            answers["/detokenize"] = {"prompt": "".join(map(chr, body.get("tokens", [])))}
        if path not in answers:
            return web.json_response({"error": {"message": "File Not Found", "code": 404}}, status=404)
        return web.json_response(answers[path])

    def _rendered(self, body: dict[str, Any]) -> str:
        return self.template.format(text="|".join(str(m["content"]) for m in body.get("messages", [])))

    async def _play(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        self.running += 1
        try:
            return await self._write(request, reply)
        except (ConnectionError, asyncio.CancelledError):
            self.left += 1
            self.left_at_s.append(asyncio.get_running_loop().time())
            raise
        finally:
            self.running -= 1

    async def _write(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.then == "slam" and request.transport is not None:
            request.transport.abort()
        headers = {"Content-Type": reply.content_type, **reply.headers}
        response = web.StreamResponse(status=reply.status, headers=headers)
        await response.prepare(request)
        for part in reply.parts:
            await response.write(part)
            if reply.pause_s:
                await asyncio.sleep(reply.pause_s)
        if reply.then == "hang":
            await asyncio.sleep(3600)
        if reply.then == "cut" and request.transport is not None:
            request.transport.abort()
        return response


def event(document: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def chat(text: str | None = None, *, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """A chunk of the chat route."""
    content = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": {**content, **delta}, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}


def raw(text: str = "", *, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """A chunk of the completions route."""
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None, **fields}
    return {"id": "1", "object": "text_completion", "model": MODEL, "choices": [choice]}


def usage(prompt: int, completion: int, **details: Any) -> dict[str, Any]:
    """The last chunk, which has the counts and no choice."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **details}
    return {"id": "1", "model": MODEL, "choices": [], "usage": counts}


def counted(chunk: dict[str, Any], kind: Kind, prompt: int, completion: int) -> dict[str, Any]:
    """``chunk`` with the running total in the way of this kind of server."""
    if kind == "llamacpp":
        return {**chunk, "timings": {"cache_n": 1, "prompt_n": prompt - 1, "predicted_n": completion}}
    if kind == "vllm":
        return {**chunk, "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}
    return chunk


def stream_of(texts: Sequence[str], *, kind: Kind = "hosted", route: str = "chat", finish: str = "stop") -> list[bytes]:
    """A well-formed reply, one event a text, one token each; 10 prompt tokens."""
    make = chat if route == "chat" else raw
    parts = [event(counted(make(text), kind, 10, n)) for n, text in enumerate(texts, 1)]
    last = make("", finish=finish) if route == "raw" else chat(finish=finish)
    return [*parts, event(counted(last, kind, 10, len(texts))), event(usage(10, len(texts))), DONE]


async def _serve(kind: Kind, route: str, tokens: int, pause_s: float) -> None:
    parts = stream_of([" word"] * tokens, kind=kind, route=route)
    async with FakeUpstream([Reply(parts, pause_s=pause_s)], kind=kind) as server:
        print(server.url, flush=True)
        await asyncio.sleep(3600)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", default="vllm", choices=["hosted", "vllm", "llamacpp"])
    parser.add_argument("--route", default="raw", choices=["raw", "chat"])
    parser.add_argument("--tokens", type=int, default=500, help="tokens in every reply")
    parser.add_argument("--pause-s", type=float, default=0.0, help="between tokens; 0 writes as fast as it can")
    options = parser.parse_args()
    asyncio.run(_serve(options.kind, options.route, options.tokens, options.pause_s))
