"""Shadow mode: repeatable, bounded, harmless; and when two answers count as the same."""

from __future__ import annotations

import asyncio

import pytest

from taut.core import Finish, Trace
from taut.gateway.agreement import agree, final_answer
from taut.gateway.shadow import SHADOW_PRESET, Shadow, Shadowed
from tests.made_run import made_trace


def answered(answer: str, tokens: int = 100, *, finish: Finish = "stop", error: str | None = None) -> Trace:
    trace = made_trace("concise", 0, tokens=tokens, finish=finish, error=error)
    trace.answer = answer
    return trace


def call(name: str, arguments: str) -> dict[str, object]:
    return {"id": f"call_{name}_{arguments}", "type": "function", "function": {"name": name, "arguments": arguments}}


class Upstream:
    """Runs unmodified requests when it is let."""

    def __init__(self, answer: Trace | Exception | None = None) -> None:
        self.answer = answer
        self.go_on = asyncio.Event()
        self.asked: list[str] = []
        self.cancelled = 0

    async def run(self, request: str) -> Trace:
        self.asked.append(request)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or answered("The answer is 7.", 400)


async def settled(shadow: Shadow[str]) -> None:
    while len(shadow):
        await asyncio.sleep(0)


async def followed(main: Trace, other: Trace | Exception) -> Shadowed:
    told: list[Shadowed] = []
    upstream = Upstream(other)
    upstream.go_on.set()
    shadow = Shadow(1.0, 2, upstream.run, told.append)
    shadow.follow("r1", "what?", main)
    await settled(shadow)
    (found,) = told
    return found


async def test_the_unmodified_request_runs_and_makes_a_pair() -> None:
    found = await followed(answered("It is 7, so the answer is 7.", 100), answered("#### 7", 400))
    assert (found.result, found.is_pair, found.agree) == ("same", True, True)
    assert (found.preset, found.tokens, found.unmodified_tokens) == ("concise", 100, 400)
    assert found.trace is not None
    assert found.trace.preset == SHADOW_PRESET
    assert found.note() == {"shadow_of": "r1", "shadow_of_preset": "concise", "result": "same"}


async def test_other_answers_are_a_pair_that_differs() -> None:
    found = await followed(answered("The answer is 7."), answered("The answer is 8."))
    assert (found.result, found.agree) == ("different", False)


async def test_an_answer_that_was_cut_is_a_pair_that_nobody_can_compare() -> None:
    found = await followed(answered("The answer is 7."), answered("The answer is 7", finish="length"))
    assert (found.result, found.is_pair, found.agree) == ("cannot compare", True, None)


async def test_a_failed_run_is_no_pair_and_still_has_a_trace() -> None:
    found = await followed(answered("7"), answered("", error="the stream broke off", finish="error"))
    assert (found.result, found.is_pair) == ("failed", False)
    assert found.trace is not None


async def test_a_fault_of_the_program_harms_nobody() -> None:
    found = await followed(answered("7"), RuntimeError("oops"))
    assert (found.result, found.trace) == ("failed", None)


async def test_following_returns_before_the_unmodified_request_has_begun() -> None:
    upstream = Upstream()
    shadow = Shadow(1.0, 2, upstream.run, lambda shadowed: None)
    shadow.follow("r1", "what?", answered("7"))
    assert upstream.asked == []
    await shadow.close()


@pytest.mark.parametrize(
    "main", [answered("", error="no", finish="error"), answered("", finish="cancelled")], ids=["failed", "cancelled"]
)
async def test_a_request_that_failed_is_not_followed_and_counted(main: Trace) -> None:
    upstream, told = Upstream(), list[Shadowed]()
    shadow = Shadow(1.0, 2, upstream.run, told.append)
    shadow.follow("r1", "what?", main)
    await asyncio.sleep(0)
    assert ([s.result for s in told], upstream.asked) == (["main failed"], [])


async def test_what_is_too_much_at_once_is_dropped_and_counted() -> None:
    upstream, told = Upstream(), list[Shadowed]()
    shadow = Shadow(1.0, 2, upstream.run, told.append)
    for index in range(5):
        shadow.follow(f"r{index}", f"question {index}", answered("7"))
    await asyncio.sleep(0)
    assert upstream.asked == ["question 0", "question 1"]
    assert [s.result for s in told] == ["busy"] * 3
    upstream.go_on.set()
    await settled(shadow)
    shadow.follow("r9", "question 9", answered("7"))
    await settled(shadow)
    assert upstream.asked[-1] == "question 9"


async def test_closing_cancels_what_runs_and_takes_no_more() -> None:
    upstream, told = Upstream(), list[Shadowed]()
    shadow = Shadow(1.0, 3, upstream.run, told.append)
    shadow.follow("r1", "begun", answered("7"))
    await asyncio.sleep(0)
    shadow.follow("r2", "not begun", answered("7"))
    await shadow.close()
    assert (upstream.cancelled, len(shadow)) == (1, 0)
    shadow.follow("r3", "late", answered("7"))
    assert [s.result for s in told] == ["cancelled", "cancelled", "busy"]
    assert upstream.asked == ["begun"]


def test_the_share_is_kept_and_every_worker_chooses_the_same_requests() -> None:
    async def never(request: str) -> Trace:
        raise AssertionError(request)

    first, second = (Shadow(0.25, 2, never, lambda shadowed: None) for _ in range(2))
    ids = [f"request-{index}" for index in range(4000)]
    chosen = [name for name in ids if first.follows(name)]
    assert chosen == [name for name in ids if second.follows(name)]
    assert 0.22 < len(chosen) / len(ids) < 0.28
    assert not any(Shadow(0.0, 2, never, lambda shadowed: None).follows(name) for name in ids)
    assert all(Shadow(1.0, 2, never, lambda shadowed: None).follows(name) for name in ids)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (r"So we get \boxed{42}.", "42"),
        ("Some steps.\n#### 1,234", "1,234"),
        ("I think the answer is **(C)**, because of the tides.", "(C)**, because of the tides."),
        ("She has 12 apples in total.", "12"),
        ("Steps …\n\n3 + 4 = 7", "7"),
        ("Paris", "Paris"),
        ("positive", "positive"),
        (r"\boxed{x^2 - 1}", None),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("Between 3 and 5 people came.", None),
        ("It depends on what you want to do with it.", None),
        ("A long first line of an essay.\n\nAnd a second one, which ends it without any number.", None),
        ("", None),
    ],
)
def test_a_final_answer_is_read_where_there_is_one(answer: str, found: str | None) -> None:
    assert final_answer(answer) == found


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (r"\boxed{0.5}", "The answer is 1/2.", True),
        ("The answer is $1,000.", "#### 1000", True),
        ("The answer is C.", "The answer is (C) because it is cold there.", True),
        ("The answer is C.", "The answer is (D).", False),
        ("  Positive.", "positive", True),
        ("positive", "negative", False),
        ("yes", "7", False),
        # Equal word for word, and still not counted: different essays are not either.
        ("It depends on what you want to do with it.", "It depends on what you want to do with it.", None),
        (r"\boxed{(x-1)(x+1)}", r"\boxed{x^2-1}", None),
        ("7", "", None),
    ],
)
def test_when_two_answers_are_the_same(a: str, b: str, same: bool | None) -> None:
    assert agree(answered(a), answered(b)) is same
    assert agree(answered(b), answered(a)) is same


def test_tool_calls_are_compared_by_name_and_arguments() -> None:
    first, second, third, none = (answered("Let me look.") for _ in range(4))
    first.tool_calls = (call("find", '{"city": "Bern", "days": 2}'),)
    second.tool_calls = (call("find", '{"days":2,"city":"Bern"}'),)
    third.tool_calls = (call("find", '{"city": "Basel"'),)
    assert agree(first, second) is True
    assert agree(first, third) is False
    assert agree(first, none) is False
