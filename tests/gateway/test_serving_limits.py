"""What a gateway refuses, and how it ends: limits, bodies that are no requests, shutdown."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taut.core import Request
from taut.engines.fake import FakeEngine, Scripted
from taut.gateway.starting import Gateway, drain
from tests.engines.fake_upstream import MODEL, Reply, chat, event
from tests.gateway.asking import CHAT, COMPLETIONS, MESSAGES, RESPONSES, ask, look
from tests.gateway.conftest import Serve, running
from tests.gateway.scripts import QUESTION, endless, until, upstream

PATHS = (CHAT, COMPLETIONS, MESSAGES, RESPONSES)
ANSWER = "It is 3."
THINKING = "one two three four five"


def thinker(words: int = 5, token_s: float = 0.0) -> FakeEngine:
    """Thinks some words, unless it is told not to, and answers."""
    thought = " ".join(THINKING.split()[number % 5] for number in range(words))

    def script(request: Request) -> Scripted:
        return Scripted("" if request.prompt.think is False else thought, ANSWER)

    return FakeEngine(script, token_s=token_s)


def slow() -> FakeEngine:
    """Thinks for twenty seconds."""
    return thinker(words=2000, token_s=0.01)


async def wait_for_requests(one: Gateway, requests: int) -> None:
    """Wait until so many requests are under way."""
    await until(lambda: len(one.serving) == requests)


# Limits


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, {"n": 4}, "n"),
        (CHAT, {"n": 4.0}, "n"),
        (COMPLETIONS, {"best_of": 4}, "best_of"),
        (CHAT, {"messages": QUESTION * 6}, "messages"),
        (RESPONSES, {"input": QUESTION * 6}, "input"),
        (COMPLETIONS, {"prompt": ["x"] * 6}, "prompt"),
        (CHAT, {"max_tokens": 101}, "max_tokens"),
        (CHAT, {"max_tokens": 1e9}, "max_tokens"),
        (CHAT, {"max_completion_tokens": 101}, "max_completion_tokens"),
        (RESPONSES, {"max_output_tokens": 101}, "max_output_tokens"),
    ],
    ids=str,
)
@pytest.mark.parametrize("model", ["direct", MODEL])
async def test_more_than_the_limit_is_refused_by_its_name(
    serve: Serve, path: str, fields: dict[str, Any], param: str, model: str
) -> None:
    settings: dict[str, Any] = {"n": 3, "messages": 5, "max_tokens": 100}
    async with upstream(endless()) as (server, engine), serve(engine, **settings) as url:
        got = await ask(url, path, **{"model": model, **fields})
        assert (got.status, got.problem["param"]) == (400, param)
        assert "the limit here is" in got.problem["message"]
        assert server.calls == []


@pytest.mark.parametrize("name", ["Model", "MAX_TOKENS", "max_to\u212aens", "N"])
async def test_a_guarded_field_cannot_come_in_under_large_letters(serve: Serve, name: str) -> None:
    async with upstream(endless()) as (server, engine), serve(engine) as url:
        odd: dict[str, Any] = {name: 5}
        got = await ask(url, model=MODEL, **odd)
        assert (got.status, got.problem["param"]) == (400, name.casefold())
        assert server.calls == []


@pytest.mark.parametrize(("asked", "given"), [({}, 20), ({"max_tokens": 5}, 5), ({"max_tokens": None}, 20)], ids=str)
async def test_the_ceiling_for_tokens_is_what_is_used_where_none_is_asked(
    serve: Serve, asked: dict[str, Any], given: int
) -> None:
    engine = FakeEngine(lambda _: Scripted(answer="word " * 100))
    async with serve(engine, max_tokens=20) as url:
        got = await ask(url, **asked)
    assert got.body["usage"]["completion_tokens"] == given
    assert got.body["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_over_the_limit_is_413_in_form(serve: Serve, path: str) -> None:
    async with serve(thinker(), body_mb=1) as url:
        got = await ask(url, path, user="x" * 1_100_000)
    assert got.status == 413
    assert "more than 1 MB" in got.problem["message"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"model": 1}', b"{}", b'{"model": ""}']
)
@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_is_no_request_is_400(serve: Serve, path: str, data: bytes) -> None:
    async with serve(thinker()) as url:
        got = await ask(url, path, data=data)
    assert got.status == 400
    assert got.problem["message"]


async def test_one_request_too_many_is_429_and_says_when_to_come_again() -> None:
    async with running(slow(), requests_at_once=2) as (url, one):
        first = [asyncio.create_task(ask(url)) for _ in range(2)]
        await wait_for_requests(one, 2)
        got = await ask(url, MESSAGES)
        assert (got.status, got.problem["type"]) == (429, "overloaded_error")
        assert int(got.headers["Retry-After"]) >= 1
        for task in first:
            task.cancel()
        await asyncio.gather(*first, return_exceptions=True)
        await wait_for_requests(one, 0)


# Shutdown


@pytest.mark.parametrize("path", PATHS)
async def test_while_draining_nobody_is_let_in_and_health_says_so(path: str) -> None:
    async with running(thinker(), drain_s=0.0) as (url, one):
        assert (await look(url, "/health")).body == {"status": "ok"}
        await drain(one)
        got = await ask(url, path)
        assert got.status == 503
        assert "Retry-After" in got.headers
        assert (await look(url, "/health")).status == 503


async def test_a_reply_that_ends_in_time_is_whole() -> None:
    async with running(thinker(words=5, token_s=0.02), drain_s=5.0) as (url, one):
        task = asyncio.create_task(ask(url, stream=True))
        await wait_for_requests(one, 1)
        await drain(one)
        got = await task
    assert (got.text(), got.events[-1]["choices"][0]["finish_reason"]) == (ANSWER, "stop")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_that_does_not_is_ended_in_form(path: str, stream: bool) -> None:
    async with running(slow(), drain_s=0.1) as (url, one):
        task = asyncio.create_task(ask(url, path, stream=stream))
        await wait_for_requests(one, 1)
        await asyncio.sleep(0.05)
        await drain(one)
        assert len(one.serving) == 0
        got = await task
    assert got.status == (200 if stream else 503)
    assert b"shutting down" in got.data
    if path in (CHAT, COMPLETIONS) and stream:
        assert got.data.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "reply",
    [
        Reply([event(chat("It "))], then="hang"),
        Reply(then="hang"),
        Reply(delay_s=60),
    ],
    ids=["after a token", "after the headers", "before the headers"],
)
async def test_what_passes_through_is_ended_in_form_too(stream: bool, reply: Reply) -> None:
    async with upstream(reply) as (server, engine), running(engine, drain_s=0.05) as (url, one):
        task = asyncio.create_task(ask(url, model=MODEL, stream=stream))
        await until(lambda: len(server.calls) == 1)
        await asyncio.sleep(0.05)
        await drain(one)
        assert len(one.serving) == 0
        got = await task
    assert "shutting down" in got.problem["message"]
    has_begun = stream and reply.parts
    assert got.status == (200 if has_begun else 503)
