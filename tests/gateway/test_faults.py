"""Upstreams that fail in every way: the client gets a well-formed error in its protocol, and nothing is left hanging."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.engines.fake_upstream import DONE, MODEL, FakeUpstream, Reply, chat, event, stream_of, usage
from tests.gateway.faulty import Name, Stand, standing
from tests.gateway.scripts import document, refused

WORDS = ["It ", "is ", "3."]
GOOD = stream_of(WORDS)
HALF = event(chat("is "))[:25]
WHOLE = document({"role": "assistant", "content": "It is 3."})
PAGE = b"<!doctype html><html><title>Welcome</title><body>hello</body></html>"
BOTH_FORMS = (True, False)
WAYS: list[tuple[Name, str]] = [
    ("chat", MODEL),
    ("completions", MODEL),
    ("chat", "direct"),
    ("completions", "direct"),
    ("responses", "direct"),
    ("messages", "direct"),
]
"""The first two pass through."""

FAULTS: dict[str, tuple[Reply, tuple[int, ...]]] = {
    "killed before headers": (Reply(then="slam"), (502,)),
    "killed after headers": (Reply(then="cut"), (502,)),
    "killed after headers of a document": (Reply(then="cut", content_type="application/json"), (502,)),
    "never a byte": (Reply(delay_s=3600), (504,)),
    "silent after headers": (Reply(then="hang"), (502, 504)),
    "a web page": (Reply([PAGE], content_type="text/html"), (502,)),
    "a web page as a stream": (Reply([PAGE]), (502,)),
    "events that are not JSON": (Reply([b"data: {nonsense}\n\n", DONE]), (502,)),
    "a document that is not JSON": (Reply([b"{nonsense"], content_type="application/json"), (502,)),
    "choices of a wrong type": (Reply([event({"choices": "none"}), DONE]), (502,)),
    "a list": (Reply([b"[1, 2, 3]"], content_type="application/json"), (502,)),
    "nothing at all": (Reply(), (502,)),
    "only the end mark": (Reply([DONE]), (502,)),
    "an error with status 200": (Reply([event({"error": {"message": "out of memory", "code": 500}})]), (502, 503)),
    "too busy": (Reply([b'{"error": {"message": "busy"}}'], 429, "application/json", {"Retry-After": "7"}), (429,)),
    "unavailable": (refused(503, "loading the model"), (503,)),
    "failed": (refused(500, "the kernel crashed"), (502, 503)),
    "failed with a page": (Reply([PAGE], 500, "text/html"), (502, 503)),
    "refused": (refused(400, "the prompt is too long"), (400,)),
    "wrong key": (refused(401, "bad key sk-secret-of-the-operator"), (502,)),
    "moved": (Reply(status=302, headers={"Location": "http://127.0.0.1:1/v1"}), (502,)),
    "moved to itself": (Reply(status=308, headers={"Location": "/v1/chat/completions"}), (502,)),
    "gzip that is none": (Reply([b"not gzip"], headers={"Content-Encoding": "gzip"}), (502,)),
}
"""Before anything has been written to the client: what the upstream does, and the status that the client gets."""


async def failed(stand: Stand, protocol: Name, model: str, *, stream: bool) -> tuple[int, str]:
    got = await stand.ask(protocol, model, stream=stream)
    assert got.problem, got
    await stand.check_quiet()
    return got.status, got.problem


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_before_the_first_token_is_an_error_with_a_status(fault: str) -> None:
    reply, statuses = FAULTS[fault]
    patience = {"timeout_s": 0.3, "idle_timeout_s": 0.3}
    async with standing(reply, engine=patience, upstream_timeout_s=0.3, upstream_idle_s=0.3) as stand:
        for protocol, model in WAYS:
            for stream in BOTH_FORMS:
                got = await stand.ask(protocol, model, stream=stream)
                where = f"{protocol} {model} stream={stream}"
                assert got.problem, where
                assert got.status in statuses, (where, got)
                assert "sk-secret" not in got.problem
                await stand.check_quiet()
