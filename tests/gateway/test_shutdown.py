"""A shutdown lets running replies end, ends those that do not in good form, and lets nobody in."""

from __future__ import annotations

import asyncio
import signal

import aiohttp
import pytest

from taut.gateway.starting import drain
from tests.engines.fake_upstream import MODEL, Reply, chat, event, stream_of
from tests.gateway.faulty import PATHS, Name, Stand, events, standing
from tests.gateway.processes import HANGUP, body, served, upstream
from tests.gateway.scripts import until
from tests.gateway.test_cancel import PATIENT

HANGING = Reply([event(chat("It ")), event(chat("is "))], then="hang")
SLOWLY = Reply(stream_of(["It ", "is ", "3."]), pause_s=0.1)
WAYS: list[tuple[Name, str]] = [
    ("chat", MODEL),
    ("completions", MODEL),
    ("chat", "direct"),
    ("completions", "direct"),
    ("responses", "direct"),
    ("messages", "direct"),
]


async def drained(stand: Stand, *ways: tuple[Name, str], stream: bool) -> list[tuple[int, str, str]]:
    """Ask in these ways, begin a shutdown while all are under way; (status, problem, text) of every reply."""
    asked = [asyncio.create_task(stand.ask(protocol, model, stream=stream)) for protocol, model in ways]
    await until(lambda: stand.server.running == len(ways))
    await drain(stand.one)
    return [(got.status, got.problem, got.text) for got in await asyncio.gather(*asked)]


@pytest.mark.parametrize("stream", [True, False])
async def test_running_replies_may_end(stream: bool) -> None:
    ways = WAYS if stream else WAYS[2:]
    async with standing(SLOWLY, engine=PATIENT, drain_s=10) as stand:
        assert await drained(stand, *ways, stream=stream) == [(200, "", "It is 3.")] * len(ways)


async def test_a_stream_that_does_not_end_is_ended_in_its_protocol() -> None:
    async with standing(HANGING, engine=PATIENT, drain_s=0.2, upstream_idle_s=60) as stand:
        for status, problem, text in await drained(stand, *WAYS, stream=True):
            assert (status, text) == (200, "It is ")
            assert "shutting down" in problem
        await stand.check_quiet()


async def test_a_reply_that_is_not_streamed_and_does_not_end_is_refused_with_a_time_to_come_again() -> None:
    async with standing(HANGING, engine=PATIENT, drain_s=0.2, upstream_idle_s=60) as stand:
        for status, problem, _ in await drained(stand, *WAYS, stream=False):
            assert status == 503
            assert "shutting down" in problem
        await stand.check_quiet()


async def test_a_call_that_has_not_begun_to_answer_is_refused() -> None:
    async with standing(Reply(delay_s=3600), engine=PATIENT, drain_s=0.2, upstream_timeout_s=60) as stand:
        for status, problem, _ in await drained(stand, *WAYS, stream=True):
            assert status == 503
            assert "shutting down" in problem
        await stand.check_quiet()


@pytest.mark.parametrize("protocol", PATHS)
async def test_nobody_is_let_in_once_it_has_begun(protocol: Name) -> None:
    async with standing(HANGING, engine=PATIENT, drain_s=0.1) as stand:
        await drain(stand.one)
        got = await stand.ask(protocol, "direct", stream=True)
        assert got.status == 503
        assert int(got.headers["retry-after"]) >= 1
        async with stand.http.get(f"{stand.url}/health") as reply:
            assert (reply.status, await reply.json()) == (503, {"status": "draining"})
        assert stand.server.calls == []


async def test_sigterm_lets_a_stream_end_and_then_the_process_with_code_0() -> None:
    async with upstream(tokens=30, pause_s=0.05) as engine, served(engine) as gateway, aiohttp.ClientSession() as http:
        async with http.post(f"{gateway.url}/v1/chat/completions", json=body()) as reply:
            first = await reply.content.readany()
            gateway.signal()
            data = first + await reply.content.read()
        assert sum(len(document.get("choices", ())) for _, document in events(data)[:-1]) > 30
        assert await gateway.ended() == 0
    said = "\n".join(gateway.errors)
    assert "shutting down" in said
    assert "Traceback" not in said
    assert "Unclosed" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, HANGUP])
async def test_a_second_signal_ends_a_stream_at_once_and_in_good_form(number: signal.Signals) -> None:
    async with (
        upstream(tokens=100_000, pause_s=0.05) as engine,
        served(engine) as gateway,
        aiohttp.ClientSession() as http,
    ):
        async with http.post(f"{gateway.url}/v1/chat/completions", json=body()) as reply:
            first = await reply.content.readany()
            gateway.signal(number)
            await until(lambda: any("shutting down" in line for line in gateway.errors), 10)
            gateway.signal(number)
            data = first + await reply.content.read()
        *_, (_, last), (_, done) = events(data)
        assert "shutting down" in last["error"]["message"]
        assert done == "[DONE]"
        assert await gateway.ended() == 0
    assert "Traceback" not in "\n".join(gateway.errors)
