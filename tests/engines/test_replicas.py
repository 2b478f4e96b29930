"""Several servers as one engine: who is asked, what happens when one fails, and that the rest goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp
import pytest

from taut.core import Reply as MethodReply
from taut.core import Sampling, Task
from taut.engines import _lease
from taut.engines._replicas import Lease
from taut.errors import EngineError
from taut.run import Preset, run
from taut.session import Session
from tests.engines.asking import ASK, BUSY, GOOD, QUESTION
from tests.engines.fake_upstream import FakeUpstream, Reply, chat, event
from tests.engines.fleets import begun, called, collect, fleet, no_waiting, stopped, until, ups

__all__ = ["no_waiting"]

HANG = Reply([event(chat("So"))], then="hang")
FAULT = replace(BUSY, status=500)
TOO_MANY = replace(BUSY, status=429, headers={"Retry-After": "0.01"})
WRONG = replace(BUSY, status=400)
GONE = Reply(then="cut")
CUT = Reply([event(chat("So"))], then="cut")


# --- who is asked ---


async def test_each_request_goes_to_the_server_with_the_least_to_do() -> None:
    servers = [FakeUpstream([HANG]) for _ in range(3)]
    async with fleet(*servers) as engine:
        leases = [engine.lease() for _ in range(7)]
        streams = [await begun(lease) for lease in leases]
        assert called(*servers) == [3, 2, 2]
        # The second server is free again: the next two go there.
        for index in (1, 4):
            await streams[index].aclose()
            await leases[index].close()
        more = [await begun(engine) for _ in range(2)]
        assert called(*servers) == [3, 4, 2]
        assert [state.under_way for state in engine.state()] == [3, 2, 2]
        for stream in [*streams, *more]:
            await stream.aclose()


async def test_with_nothing_to_do_servers_take_turns() -> None:
    servers = [FakeUpstream([GOOD]) for _ in range(2)]
    async with fleet(*servers) as engine:
        for _ in range(6):
            assert await collect(engine) == "The sum is 5"
        assert called(*servers) == [3, 3]


async def test_a_lease_between_two_calls_counts_as_load() -> None:
    servers = [FakeUpstream([GOOD]) for _ in range(2)]
    async with fleet(*servers) as engine:
        lease = engine.lease()
        await collect(lease)
        for _ in range(3):
            await collect(engine)
        assert called(*servers) == [1, 3]
        assert lease.address == servers[0].url
        await lease.close()


class Several:
    """Three calls, two of them at once."""

    needs: frozenset[str] = frozenset()

    async def __call__(self, session: Session) -> MethodReply:
        await asyncio.gather(session.generate(), session.generate())
        return await session.answer()


async def test_all_calls_of_one_run_go_to_one_server() -> None:
    servers = [FakeUpstream([replace(GOOD, pause_s=0.002)]) for _ in range(2)]
    async with fleet(*servers) as engine:
        preset, task = Preset("several", Several()), Task("t", QUESTION)
        for expected in ([3, 0], [3, 3]):
            trace = await run(preset, task, {"main": engine}, sampling=Sampling(max_tokens=9))
            assert (trace.error, trace.answer, len(trace.calls)) == (None, "The sum is 5", 3)
            assert called(*servers) == expected
        await asyncio.gather(*(run(preset, task, {"main": engine}) for _ in range(4)))
        assert called(*servers) == [9, 9]
        assert [replica.load for replica in engine._replicas] == [0, 0]


@pytest.mark.parametrize("failure", ["engine", "cancel", "fault"])
async def test_a_run_gives_its_server_back_however_it_ends(failure: str) -> None:
    class Failing:
        needs: frozenset[str] = frozenset()

        async def __call__(self, session: Session) -> MethodReply:
            await session.generate()
            if failure == "fault":
                raise ZeroDivisionError
            return await session.generate()

    replies = {"engine": [GOOD, WRONG], "cancel": [GOOD, HANG], "fault": [GOOD]}[failure]
    server = FakeUpstream(replies)
    async with fleet(server) as engine:
        running = asyncio.create_task(run(Preset("p", Failing()), Task("t", QUESTION), {"main": engine}))
        await until(lambda: len(server.calls) == len(replies))
        if failure == "cancel":
            await until(lambda: engine.state()[0].under_way == 1)
            running.cancel()
        await asyncio.wait([running])
        assert [replica.load for replica in engine._replicas] == [0]


# --- one fails ---


@pytest.mark.parametrize("reply", [BUSY, FAULT, TOO_MANY, GONE], ids=["503", "500", "429", "cut"])
async def test_a_call_that_fails_before_its_first_token_goes_to_another_server_at_once(reply: Reply) -> None:
    bad, good = FakeUpstream([replace(reply, headers={})]), FakeUpstream([GOOD])
    async with fleet(bad, good) as engine:
        lease = engine.lease()
        for count in (1, 2, 3):
            assert await collect(lease) == "The sum is 5"
            # The lease stays where it has moved to.
            assert called(bad, good) == [1, count]
        assert (engine.state()[0].failures, engine.state()[1].failures) == (1, 0)
        await lease.close()


async def test_a_killed_server_gets_no_calls() -> None:
    servers = [FakeUpstream([GOOD]) for _ in range(2)]
    await servers[0].__aenter__()
    async with fleet(*servers, health_interval_s=1000.0) as engine:
        await stopped(servers[0])
        for _ in range(4):
            assert await collect(engine) == "The sum is 5"
        refused = f"no server answers at {servers[0].url}: Connection refused"
        await until(lambda: engine.state()[0].why_down == refused)
        state = engine.state()[0]
        assert (state.is_up, state.calls, state.failures) == (False, 1, 1)
        assert called(*servers) == [0, 4]


async def test_after_the_first_token_nobody_else_is_asked() -> None:
    cut, other = FakeUpstream([CUT]), FakeUpstream([GOOD])
    async with fleet(cut, other) as engine:
        lease = engine.lease()
        stream = await begun(lease)
        with pytest.raises(EngineError) as caught:
            await anext(stream)
        assert caught.value.kind == "cut"
        assert called(cut, other) == [1, 0]
        await lease.close()


async def test_a_server_killed_in_the_middle_of_a_stream_loses_the_rest_of_the_request_to_another() -> None:
    first, second = FakeUpstream([HANG]), FakeUpstream([GOOD])
    await first.__aenter__()
    async with fleet(first, second) as engine:
        lease = engine.lease()
        stream = await begun(lease)
        await stopped(first)
        with pytest.raises(EngineError, match=r"broke|ended") as caught:
            await anext(stream)
        assert caught.value.kind == "cut"
        assert await collect(lease) == "The sum is 5"
        assert ups(engine) == [False, True]
        assert lease.address == second.url
        await lease.close()
        assert [replica.load for replica in engine._replicas] == [0, 0]


async def test_what_a_server_refuses_is_not_asked_elsewhere_and_counts_as_no_failure() -> None:
    servers = [FakeUpstream([WRONG]) for _ in range(2)]
    async with fleet(*servers) as engine:
        with pytest.raises(EngineError) as caught:
            await collect(engine)
        assert caught.value.kind == "refused"
        assert called(*servers) == [1, 0]
        assert [(state.is_up, state.failures) for state in engine.state()] == [(True, 0), (True, 0)]


async def test_servers_that_are_all_busy_are_asked_again_after_a_wait() -> None:
    servers = [FakeUpstream([TOO_MANY, GOOD]) for _ in range(2)]
    async with fleet(*servers) as engine:
        assert await collect(engine) == "The sum is 5"
        assert sorted(called(*servers)) == [1, 2]
        assert ups(engine) == [True, True]


async def test_busy_servers_are_asked_as_often_as_max_retries_says() -> None:
    servers = [FakeUpstream([TOO_MANY]) for _ in range(2)]
    async with fleet(*servers, max_retries=2) as engine:
        with pytest.raises(EngineError, match="answered 429: busy") as caught:
            await collect(engine)
        assert caught.value.kind == "overloaded"
        assert called(*servers) == [3, 3]


async def test_a_request_that_makes_every_server_fail_takes_none_of_them_out() -> None:
    servers = [FakeUpstream([FAULT, FAULT, GOOD]) for _ in range(2)]
    async with fleet(*servers, max_retries=0) as engine:
        for _ in range(2):
            with pytest.raises(EngineError, match="answered 500"):
                await collect(engine)
            assert ups(engine) == [True, True]
        assert await collect(engine) == "The sum is 5"


async def test_a_server_that_fails_at_once_is_asked_last_until_it_has_rested() -> None:
    bad, good = FakeUpstream([FAULT, FAULT, GOOD]), FakeUpstream([GOOD])
    async with fleet(bad, good) as engine:
        for _ in range(8):
            assert await collect(engine) == "The sum is 5"
        assert called(bad, good) == [2, 8]
        engine._replicas[0]._doubted_until_s = 0.0
        await collect(engine)
        assert called(bad, good) == [3, 8]


async def test_the_deadline_is_for_all_attempts_together() -> None:
    slow, hanging = FakeUpstream([replace(BUSY, delay_s=0.3)]), FakeUpstream([Reply(then="hang")])
    async with fleet(slow, hanging) as engine:
        began = asyncio.get_running_loop().time()
        with pytest.raises(EngineError) as caught:
            await collect(engine, replace(ASK, deadline_s=0.5))
        assert caught.value.kind == "timeout"
        # 0.3 s of the 0.5 s were gone when the second server was asked.
        assert asyncio.get_running_loop().time() - began < 0.75
        with pytest.raises(EngineError, match="has passed"):
            _lease.Trial(0, -1.0).rest_of(ASK)


# --- passing on ---


async def read(lease: Lease, body: bytes = b'{"model": "fake-model"}') -> tuple[int, bytes]:
    response = await lease.forward("/chat/completions", body)
    return response.status, await response.read()


async def test_a_request_passed_on_goes_to_another_server_when_one_fails() -> None:
    bad, good = FakeUpstream([BUSY]), FakeUpstream([GOOD])
    async with fleet(bad, good) as engine:
        lease = engine.lease()
        assert await read(lease) == (200, b"".join(GOOD.parts))
        assert called(bad, good) == [1, 1]
        assert good.calls[0].body == {"model": "fake-model"}
        assert [state.under_way for state in engine.state()] == [0, 1]
        await lease.close()
        assert [replica.load for replica in engine._replicas] == [0, 0]


async def test_a_request_passed_on_goes_to_another_server_when_one_is_gone() -> None:
    gone, good = FakeUpstream([GOOD]), FakeUpstream([GOOD])
    await gone.__aenter__()
    async with fleet(gone, good, health_interval_s=1000.0) as engine:
        await stopped(gone)
        lease = engine.lease()
        assert (await read(lease))[0] == 200
        assert (called(gone, good), ups(engine)) == ([0, 1], [False, True])
        await lease.close()


async def test_a_server_that_breaks_off_what_is_passed_on_is_looked_at() -> None:
    server = FakeUpstream([CUT])
    async with fleet(server, health_interval_s=1000.0) as engine:
        lease, looks = engine.lease(), len(server.received)
        with pytest.raises(aiohttp.ClientPayloadError):
            await read(lease)
        await lease.close()
        await until(lambda: len(server.received) > looks + 1)


async def test_a_failure_of_every_server_is_passed_on_as_it_is() -> None:
    servers = [FakeUpstream([BUSY]) for _ in range(2)]
    async with fleet(*servers) as engine:
        lease = engine.lease()
        assert await read(lease) == (503, b"".join(BUSY.parts))
        assert called(*servers) == [1, 1]
        await lease.close()


async def test_a_refusal_is_passed_on_as_it_is() -> None:
    servers = [FakeUpstream([WRONG]) for _ in range(2)]
    async with fleet(*servers) as engine:
        lease = engine.lease()
        assert (await read(lease))[0] == 400
        assert called(*servers) == [1, 0]
        await lease.close()


async def test_closing_the_lease_stops_what_is_passed_on() -> None:
    server = FakeUpstream([HANG])
    async with fleet(server) as engine:
        lease = engine.lease()
        response = await lease.forward("/chat/completions", b"{}")
        assert await response.content.readany() == HANG.parts[0]
        await lease.close()
        await until(lambda: server.left == 1)
        with pytest.raises(EngineError, match="given back"):
            await lease.forward("/chat/completions", b"{}")
