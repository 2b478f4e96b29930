"""The session: every call is on the trace before it is made, timed, counted, and closed whatever happens."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from taut.core import Prompt, Reply, Request, Sampling, Task, Trace
from taut.engines.fake import FakeEngine, Scripted, replay_script
from taut.errors import EngineError, MethodError
from taut.run import Preset, check_needs, run
from taut.session import Session, derive_seed, estimate_tokens
from tests.conftest import sum_task

SEEDED = Sampling(seed=1)


def session_with(engine: FakeEngine, sampling: Sampling = SEEDED) -> Session:
    task = sum_task()
    return Session(Prompt(task.messages), sampling, {"main": engine}, Trace(task, "test"))


async def test_a_call_is_on_the_trace_before_the_engine_is_asked() -> None:
    seen: list[int] = []
    engine = FakeEngine(lambda request: seen.append(len(session.trace.calls)) or Scripted(answer="yes"))  # type: ignore[func-returns-value]
    session = session_with(engine)
    await session.generate()
    assert seen == [1]


async def test_a_finished_call_holds_text_usage_and_times() -> None:
    session = session_with(FakeEngine(replay_script([Scripted("a b", "c d e")])))
    reply = await session.generate()
    call = session.trace.calls[0]
    assert reply == Reply("a b", "c d e", "stop")
    assert call.usage is not None
    assert (call.usage.completion.tokens, call.usage.thinking.tokens) == (5, 2)
    assert call.first_token_s is not None
    assert call.ended_s is not None
    assert call.started_s <= call.first_token_s <= call.ended_s
    assert (call.finish, call.thinking, call.answer) == ("stop", "a b", "c d e")


async def test_a_failed_call_keeps_what_had_come_and_costs_it() -> None:
    broken = Scripted("one two three", "four", error=EngineError("broken", kind="cut"), error_after_tokens=2)
    session = session_with(FakeEngine(replay_script([broken])))
    with pytest.raises(EngineError, match="broken"):
        await session.generate()
    call = session.trace.calls[0]
    assert (call.finish, call.error, call.thinking) == ("error", "broken", "one two ")
    assert call.usage is not None
    assert call.usage.completion.tokens == 2
    assert call.usage.completion.source == "counted"


async def test_a_stream_that_is_left_early_is_stopped_upstream_and_counted() -> None:
    engine = FakeEngine(replay_script([Scripted("one two three four", "five")]))
    session = session_with(engine)
    async with session.stream() as stream:
        async for _ in stream:
            if stream.tokens["thinking"] == 3:
                break
    call = session.trace.calls[0]
    assert engine.streams_left_early == 1
    assert call.finish == "cancelled"
    assert call.usage is not None
    assert call.usage.completion.tokens == 3
    assert call.usage.prompt.source == "reported"


async def test_without_counts_in_the_stream_a_cut_call_is_estimated_and_says_so() -> None:
    engine = FakeEngine(replay_script([Scripted("12345678 abc def", "x")]))
    engine.offers = engine.offers - {"token_counts"}
    session = session_with(engine)
    async with session.stream() as stream:
        async for _ in stream:
            break
    usage = session.trace.calls[0].usage
    assert usage is not None
    assert (usage.completion.tokens, usage.completion.source) == (3, "estimated")  # nine characters


async def test_a_cancelled_question_cancels_its_call() -> None:
    engine = FakeEngine(replay_script([Scripted("a " * 1000, "b")]), token_s=0.01)
    session = session_with(engine)
    work = asyncio.create_task(session.generate())
    await asyncio.sleep(0.05)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert engine.streams_left_early == 1
    assert session.trace.calls[0].finish == "cancelled"


async def test_each_call_of_a_trace_draws_with_a_seed_of_its_own_and_the_same_on_a_rerun() -> None:
    seeds = []
    for _ in range(2):
        session = session_with(FakeEngine(replay_script([Scripted(answer="x")])))
        await session.generate()
        await session.generate()
        seeds.append([call.seed for call in session.trace.calls])
    assert seeds[0] == seeds[1]
    assert seeds[0][0] != seeds[0][1]


async def test_a_call_cannot_raise_the_ceiling_of_the_session() -> None:
    engine = FakeEngine(replay_script([Scripted(answer="a b c d e f")]))
    session = session_with(engine, Sampling(max_tokens=4))
    await session.generate(max_tokens=100)
    await session.generate(max_tokens=2)
    assert [request.sampling.max_tokens for request in engine.requests] == [4, 2]


async def test_only_what_differs_from_the_task_is_stored_as_messages() -> None:
    session = session_with(FakeEngine(replay_script([Scripted(answer="x")])))
    await session.generate()
    await session.generate(session.prompt.instruct("be brief"))
    assert session.trace.calls[0].messages is None
    changed = session.trace.calls[1].messages
    assert changed is not None
    assert changed[0]["content"].endswith("be brief")


async def test_an_engine_that_is_not_configured_is_named() -> None:
    with pytest.raises(MethodError, match="'small'"):
        await session_with(FakeEngine()).generate(engine="small")


async def test_a_derived_session_shares_trace_and_clock() -> None:
    session = session_with(FakeEngine())
    other = session.instruct("briefly")
    assert other.trace is session.trace
    assert session.prompt.messages != other.prompt.messages
    with pytest.raises(TypeError, match="nonsense"):
        session.derive(nonsense=1)


class Failing:
    needs: frozenset[str] = frozenset()

    async def __call__(self, session: Session) -> Reply:
        await session.answer()
        raise MethodError("cannot decide")


async def test_run_turns_a_method_failure_into_data_with_what_was_shown(fake: FakeEngine) -> None:
    trace = await run(Preset("failing", Failing()), sum_task(), {"main": fake})
    assert (trace.error, trace.error_kind, trace.finish) == ("cannot decide", "method", "error")
    assert "The answer is" in trace.answer
    assert trace.completion_tokens > 0


async def test_run_reports_a_model_that_says_nothing_as_an_error(fake: FakeEngine) -> None:
    fake.script = replay_script([Scripted()])
    trace = await run(Preset("direct", DirectLike()), sum_task(), {"main": fake})
    assert trace.error_kind == "empty"


class DirectLike:
    needs: frozenset[str] = frozenset({"small:logprobs"})

    async def __call__(self, session: Session) -> Reply:
        return await session.answer()


def test_a_need_for_a_second_engine_is_named_at_start_up(fake: FakeEngine) -> None:
    with pytest.raises(Exception, match="needs an engine named 'small'"):
        check_needs(Preset("p", DirectLike()), {"main": fake})


def test_a_missing_feature_is_named_with_what_has_it(fake: FakeEngine) -> None:
    other = replace_offers(fake, frozenset())
    with pytest.raises(Exception, match=r"needs logprobs .*'fake' does not offer it; .*vLLM"):
        check_needs(Preset("p", DirectLike()), {"main": fake, "small": other})


def replace_offers(engine: FakeEngine, offers: frozenset[str]) -> FakeEngine:
    return FakeEngine(offers=offers, name=engine.name)


async def test_a_deadline_that_has_passed_is_an_error_of_the_trace(fake: FakeEngine) -> None:
    trace = await run(Preset("direct", DirectLike()), sum_task(), {"main": fake}, deadline_s=0.0)
    assert trace.error_kind == "timeout"


def test_seeds_depend_on_seed_and_index_only() -> None:
    assert derive_seed(3, 5) == derive_seed(3, 5)
    assert len({derive_seed(s, i) for s in range(20) for i in range(20)}) == 400
    assert 0 <= derive_seed(2**60, 10**9) < 2**31


def test_estimates_round_up() -> None:
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]


def test_a_request_is_immutable() -> None:
    request = Request(Prompt(()))
    assert replace(request, top_logprobs=3).top_logprobs == 3
    with pytest.raises(AttributeError):
        request.top_logprobs = 3  # type: ignore[misc]


def test_tasks_compare_by_value() -> None:
    assert Task("a", ()) == Task("a", ())
