"""What the gateway needs of the thinking loop: native budgets, turns that cannot be continued, answers wanted now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from taut.core import FEATURES, Piece, Request, Sampling, Task, Trace
from taut.engines.fake import FakeEngine, Scripted
from taut.errors import UsageError
from taut.methods.output_based.stop_rules.budget_forcing import BudgetForcing
from taut.methods.output_based.thinking import NATIVE_SLACK_TOKENS, Thinking
from taut.run import Preset, run
from tests.conftest import sum_task

THOUGHT = " ".join(f"t{n}" for n in range(60))
ANSWER = "the answer is 3"
NATIVE = frozenset(FEATURES)
TOOLS = Sampling(extra={"tools": [{"type": "function", "function": {"name": "look"}}]})


def server(*, keeps: bool, answer: str = ANSWER, closes: bool = True) -> Callable[[Request], Scripted]:
    """A model of 60 thinking tokens behind a server with a thinking budget, which it keeps or not."""

    def script(request: Request) -> Scripted:
        if request.prompt.think is False:
            return Scripted(answer=answer)
        thinking, budget = THOUGHT, request.thinking_budget_tokens
        if keeps and budget is not None:
            thinking = " ".join(THOUGHT.split()[:budget])
        return Scripted(thinking, answer, never_closes=not closes)

    return script


@dataclass(slots=True)
class Impatient:
    """Asks for the answer after so many pieces."""

    after: int
    traces: list[Trace] = field(default_factory=list)
    shown: list[Piece] = field(default_factory=list)

    def began(self, trace: Trace) -> None:
        self.traces.append(trace)

    def is_answer_wanted(self) -> bool:
        return len(self.shown) >= self.after


async def think(
    engine: FakeEngine,
    cap: int | None,
    sampling: Sampling = Sampling(),
    answer_after: int = 10**6,
    task: Task | None = None,
    **parameters: Any,
) -> Trace:
    onlooker = Impatient(answer_after)
    method = Thinking(BudgetForcing(cap), **parameters)
    trace = await run(
        Preset("test", method),
        task or sum_task(),
        {"main": engine},
        sampling=sampling,
        emit=onlooker.shown.append,
        onlooker=onlooker,
    )
    assert trace.error is None
    assert onlooker.traces == [trace]
    # What a client saw is what the trace holds.
    for kind in ("thinking", "answer"):
        seen = "".join(piece.text for piece in onlooker.shown if piece.kind == kind)
        assert seen.split() == str(getattr(trace, kind)).split()
    return trace


def events(trace: Trace) -> list[str]:
    return [decision["event"] for decision in trace.decisions]


def spent(trace: Trace) -> dict[str, int]:
    return {role: tally.total for role, tally in trace.tokens_by_role().items() if tally.total}


async def test_a_server_that_keeps_its_budget_is_asked_once() -> None:
    engine = FakeEngine(server(keeps=True), offers=NATIVE)
    trace = await think(engine, 20)
    assert [request.thinking_budget_tokens for request in engine.requests] == [20]
    assert engine.requests[0].sampling.max_tokens is None
    assert (trace.answer, spent(trace)) == (ANSWER, {"thinking": 20, "answer": 4})
    assert events(trace) == ["native budget"]


async def test_a_server_that_ignores_its_budget_is_cut_a_few_tokens_later() -> None:
    engine = FakeEngine(server(keeps=False), offers=NATIVE)
    trace = await think(engine, 20)
    assert spent(trace) == {"thinking": 20 + NATIVE_SLACK_TOKENS + 1, "answer": 4}
    assert trace.answer == ANSWER
    assert events(trace) == ["native budget", "stop"]
    assert engine.streams_left_early == 1


async def test_under_a_low_ceiling_a_server_is_held_to_what_it_was_given_and_not_to_the_cap() -> None:
    engine = FakeEngine(server(keeps=False), offers=NATIVE)
    # A quarter of the ceiling is kept for the answer: the server is given 45 of its 60 tokens.
    trace = await think(engine, 512, Sampling(max_tokens=60), answer_room_tokens=15)
    assert engine.requests[0].thinking_budget_tokens == 45
    assert trace.answer
    assert trace.completion_tokens <= 60 + NATIVE_SLACK_TOKENS


async def test_a_thought_that_ends_the_reply_under_a_native_budget_is_closed_and_continued() -> None:
    engine = FakeEngine(server(keeps=True, closes=False), offers=NATIVE)
    trace = await think(engine, 20)
    assert trace.answer == ANSWER
    assert len(engine.requests) == 2
    assert engine.requests[1].prompt.turn.closed
    assert "without closing" in trace.decisions[-1]["why"]


async def test_a_rule_that_extends_keeps_the_thinking_to_itself() -> None:
    engine = FakeEngine(server(keeps=True), offers=NATIVE)
    await run(Preset("test", Thinking(BudgetForcing(20, extensions=1))), sum_task(), {"main": engine})
    assert all(request.thinking_budget_tokens is None for request in engine.requests)


@pytest.mark.parametrize(("cap", "ceiling", "kept"), [(20, 5, 5), (5, 20, 5), (None, 7, 7), (20, 0, 0)])
async def test_the_lower_of_cap_and_thinking_ceiling_holds(cap: int | None, ceiling: int, kept: int) -> None:
    trace = await think(FakeEngine(server(keeps=True)), cap, thinking_ceiling_tokens=ceiling)
    assert trace.tokens_by_role()["thinking"].total == kept
    assert trace.answer == ANSWER


def test_a_thinking_ceiling_below_zero_is_refused() -> None:
    with pytest.raises(UsageError, match="thinking_ceiling_tokens is -1"):
        Thinking(BudgetForcing(), thinking_ceiling_tokens=-1)


@pytest.mark.parametrize("offers", [NATIVE, NATIVE - {"thinking_budget"}], ids=["native", "loop"])
async def test_an_answer_asked_for_now_ends_the_thinking(offers: frozenset[str]) -> None:
    trace = await think(FakeEngine(server(keeps=True), offers=offers), 50, answer_after=8)
    assert trace.tokens_by_role()["thinking"].total == 8
    assert trace.answer == ANSWER
    assert trace.decisions[-1]["why"] == "the answer was asked for now"


async def test_an_answer_asked_for_now_waits_for_the_end_of_a_code_fence() -> None:
    engine = FakeEngine(lambda _: Scripted("a ``` b c d ``` e f", "ok"))
    trace = await think(engine, 50, answer_after=3)
    assert (trace.thinking, trace.answer) == ("a ``` b c d ``` ", "ok")


async def test_asking_for_the_answer_while_it_comes_changes_nothing() -> None:
    trace = await think(FakeEngine(server(keeps=True)), 100, answer_after=62)
    assert (len(trace.calls), trace.answer, events(trace)) == (1, ANSWER, [])


async def test_a_request_with_tools_uses_the_servers_budget() -> None:
    engine = FakeEngine(server(keeps=True), offers=NATIVE)
    trace = await think(engine, 20, TOOLS)
    assert [request.thinking_budget_tokens for request in engine.requests] == [20]
    assert (trace.answer, spent(trace)) == (ANSWER, {"thinking": 20, "answer": 4})


async def test_a_server_that_ignores_its_budget_is_left_and_asked_again_without_thinking() -> None:
    engine = FakeEngine(server(keeps=False), offers=NATIVE)
    trace = await think(engine, 20, TOOLS)
    assert spent(trace) == {"thinking": 20 + NATIVE_SLACK_TOKENS + 1, "answer": 4}
    assert trace.answer == ANSWER
    assert events(trace) == ["native budget", "restart without thinking"]


async def test_a_thought_with_tools_that_ends_the_reply_is_asked_again_without_thinking() -> None:
    for offers in (NATIVE, NATIVE - {"thinking_budget"}):
        trace = await think(FakeEngine(server(keeps=True, closes=False), offers=offers), 100, TOOLS)
        assert trace.answer == ANSWER
        assert events(trace)[-1] == "restart without thinking"


async def test_without_a_native_budget_a_request_with_tools_is_restarted_at_its_limit() -> None:
    engine = FakeEngine(server(keeps=True))
    trace = await think(engine, 20, TOOLS)
    assert [request.prompt.think for request in engine.requests] == [None, False]
    assert all(request.sampling.extra == TOOLS.extra for request in engine.requests)
    assert (trace.answer, spent(trace)) == (ANSWER, {"thinking": 20, "answer": 4})


async def test_an_image_is_a_reason_not_to_continue_either() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    task = Task("image", ({"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]},))
    trace = await think(FakeEngine(server(keeps=True)), 20, task=task)
    assert events(trace) == ["restart without thinking"]
    assert "parts other than text" in trace.decisions[0]["why"]


async def test_a_thought_with_tools_within_its_budget_takes_one_call() -> None:
    engine = FakeEngine(server(keeps=True))
    trace = await think(engine, 100, TOOLS)
    assert (len(engine.requests), trace.answer, events(trace)) == (1, ANSWER, [])


async def test_a_budget_of_zero_with_tools_never_begins_to_think() -> None:
    for offers in (NATIVE, NATIVE - {"thinking_budget"}):
        engine = FakeEngine(server(keeps=True), offers=offers)
        trace = await think(engine, 0, TOOLS)
        assert [request.prompt.think for request in engine.requests] == [False]
        assert trace.thinking == ""


async def test_a_ceiling_without_room_for_thinking_switches_it_off_and_says_so() -> None:
    for offers in (NATIVE, NATIVE - {"thinking_budget"}):
        engine = FakeEngine(server(keeps=True), offers=offers)
        trace = await think(engine, 20, replace(TOOLS, max_tokens=1))
        assert (trace.thinking, trace.answer, trace.finish) == ("", "the ", "length")
        assert trace.decisions[0]["why"] == "the ceiling of 1 tokens leaves no room for it"


async def test_what_can_be_neither_continued_nor_switched_off_goes_on_and_says_so() -> None:
    engine = FakeEngine(server(keeps=True), offers=NATIVE - {"thinking_budget", "thinking_switch"})
    trace = await think(engine, 20, TOOLS)
    assert spent(trace) == {"thinking": 60, "answer": 4}
    assert events(trace) == ["not enforced"]
    assert "a request with tools" in trace.decisions[0]["why"]


async def test_without_a_limit_there_is_nothing_to_say() -> None:
    engine = FakeEngine(server(keeps=True), offers=NATIVE - {"thinking_budget", "thinking_switch"})
    assert events(await think(engine, None, TOOLS)) == []


async def test_the_answer_to_tools_can_be_asked_for_now() -> None:
    for offers in (NATIVE, NATIVE - {"thinking_budget"}):
        trace = await think(FakeEngine(server(keeps=True), offers=offers), 50, TOOLS, answer_after=8)
        assert trace.tokens_by_role()["thinking"].total == 8
        assert trace.answer == ANSWER


async def test_a_switch_that_is_ignored_ends_the_second_call_and_shows_none_of_its_thinking() -> None:
    engine = FakeEngine(lambda _: Scripted(THOUGHT, ANSWER))
    trace = await think(engine, 20, TOOLS)
    assert (len(engine.requests), engine.streams_left_early) == (2, 2)
    assert (len(trace.thinking.split()), trace.answer, trace.finish) == (20, "", "length")
    assert spent(trace) == {"thinking": 20 + NATIVE_SLACK_TOKENS + 1}
    assert events(trace) == ["restart without thinking", "not enforced"]


class Returner(FakeEngine):
    """Thinks again after every answer."""

    async def stream(self, request: Request) -> Any:
        async for item in FakeEngine.stream(self, request):
            if not isinstance(item, Piece) and hasattr(item, "finish"):
                for word in THOUGHT.split():
                    yield Piece("thinking", f"{word} ", 1)
            yield item


@pytest.mark.parametrize("sampling", [Sampling(), TOOLS], ids=["loop", "restart"])
async def test_a_model_that_thinks_again_after_its_answer_is_left_there(sampling: Sampling) -> None:
    engine = Returner(lambda _: Scripted("t0 t1 t2 t3 t4", ANSWER), offers=NATIVE)
    trace = await think(engine, 20, sampling)
    assert (trace.answer, trace.finish, len(engine.requests)) == (ANSWER, "stop", 1)
    assert spent(trace) == {"thinking": 20 + NATIVE_SLACK_TOKENS + 1, "answer": 4}
    assert trace.decisions[-1]["why"] == "it thought again after its answer"
    free = await think(Returner(lambda _: Scripted("t0", ANSWER), offers=NATIVE), None, sampling)
    assert (free.thinking, free.answer) == (f"t0{THOUGHT} ", ANSWER)


class ToolCaller(FakeEngine):
    """Thinks five tokens, then calls a tool in four parts, with thinking between them."""

    async def stream(self, request: Request) -> Any:
        async for item in FakeEngine.stream(self, request):
            if isinstance(item, Piece) and item.kind == "answer":
                continue
            if not isinstance(item, Piece) and hasattr(item, "finish"):
                for part in PARTS:
                    await asyncio.sleep(0)
                    yield Piece("answer", "", 1, tool_calls=(part,))
                    yield Piece("thinking", "hm ", 1)
            yield item


PARTS: tuple[dict[str, Any], ...] = (
    {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"at": '}},
    {"index": 0, "function": {"arguments": '"the sea"}'}},
    {"index": 1, "id": "c2", "type": "function", "function": {"name": "stop", "arguments": "{}"}},
)
WHOLE = (
    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "the sea"}'}},
    {"id": "c2", "type": "function", "function": {"name": "stop", "arguments": "{}"}},
)


@pytest.mark.parametrize("offers", [NATIVE, NATIVE - {"thinking_budget"}], ids=["native", "restart"])
async def test_a_tool_call_that_has_begun_is_never_cut(offers: frozenset[str]) -> None:
    engine = ToolCaller(lambda _: Scripted("t0 t1 t2 t3 t4"), offers=offers)
    # The limit is passed, and the answer asked for, only within the calls.
    trace = await think(engine, 6, TOOLS, answer_after=7)
    assert trace.tool_calls == WHOLE
    assert trace.calls[0].tool_calls == WHOLE
    assert len(engine.requests) == 1
    assert trace.finish == "stop"


async def test_a_reply_of_tool_calls_alone_is_an_answer() -> None:
    trace = await think(ToolCaller(lambda _: Scripted("t0 t1")), 100, TOOLS)
    assert (trace.answer, trace.error, len(trace.calls)) == ("", None, 1)


async def test_a_cancelled_run_leaves_a_trace_that_says_so_and_has_its_tokens() -> None:
    engine = FakeEngine(server(keeps=True), token_s=0.001)
    onlooker = Impatient(10**6)
    preset = Preset("test", Thinking(BudgetForcing(50)))

    def show(piece: Piece) -> None:
        onlooker.shown.append(piece)
        if len(onlooker.shown) == 5:
            task.cancel()

    task = asyncio.create_task(run(preset, sum_task(), {"main": engine}, emit=show, onlooker=onlooker))
    with pytest.raises(asyncio.CancelledError):
        await task
    (trace,) = onlooker.traces
    assert (trace.finish, trace.calls[0].finish) == ("cancelled", "cancelled")
    assert spent(trace) == {"thinking": 5}
    assert trace.thinking == "t0 t1 t2 t3 t4 "
    assert trace.wall_s > 0
    assert engine.streams_left_early == 1


async def test_without_a_seed_the_engine_draws_as_it_likes() -> None:
    engine = FakeEngine(server(keeps=True))
    await think(engine, 20)
    assert [request.sampling.seed for request in engine.requests] == [None, None]
    await think(engine, 20, Sampling(seed=1))
    seeds = [request.sampling.seed for request in engine.requests[2:]]
    assert len(set(seeds)) == 2
    assert None not in seeds
