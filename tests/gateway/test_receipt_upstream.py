"""Receipts over servers that think where they should not, and that count wrongly: what is said is what came."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from taut.engines.openai import OpenAIEngine
from taut.methods.output_based.thinking import NATIVE_SLACK_TOKENS, THINKS_ALL_THE_SAME, THOUGHT_AGAIN
from tests.engines.fake_upstream import DONE, FakeUpstream, Kind, Reply, chat, counted, event, stream_of, usage
from tests.gateway.asking import Got, ask
from tests.gateway.conftest import Serve

BUDGET = 20
ANSWER = "It is 3."
ENDS = [chat(finish="stop")]
NATIVE = ("prefill", "thinking_budget", "thinking_switch", "token_counts", "cancel")


def thought(words: int, first: int = 0) -> list[dict[str, Any]]:
    """So many words of thinking in a field of their own, one token and four characters each."""
    return [chat(reasoning_content=f"{n:03} ") for n in range(first, first + words)]


def tagged(words: int) -> list[dict[str, Any]]:
    """The same between tags in the content."""
    return [chat("<think>\n"), *[chat(f"{n:03} ") for n in range(words)], chat("</think>\n\n")]


def said(text: str = ANSWER) -> list[dict[str, Any]]:
    return [chat(text[at : at + 4]) for at in range(0, len(text), 4)]


def reply(*chunks: list[dict[str, Any]], counts: dict[str, Any] | None = None) -> Reply:
    """A stream of these chunks, with counts at its end if there are any."""
    documents = [*(chunk for part in chunks for chunk in part), *ENDS, *([counts] if counts else [])]
    return Reply([*map(event, documents), DONE])


@asynccontextmanager
async def thinker(
    *replies: Reply, kind: Kind = "hosted", **options: Any
) -> AsyncIterator[tuple[FakeUpstream, OpenAIEngine]]:
    """A server of a model that thinks; where it is hosted its turns cannot be continued, so it is asked again."""
    async with FakeUpstream(replies, kind=kind) as server:
        main = await OpenAIEngine.open(server.url, dialect="qwen3", max_retries=0, **options)
        try:
            yield server, main
        finally:
            await main.close()


async def answered(serve: Serve, *replies: Reply, budget: int = BUDGET, stream: bool = True, **options: Any) -> Got:
    """What a client gets under a budget, once the receipt is known to hold what it must hold in every case."""
    async with thinker(*replies, **options) as (server, main), serve(main) as url:
        fields: dict[str, Any] = {"stream_options": {"include_usage": True}} if stream else {}
        got = await ask(url, model="fake-model", thinking_token_budget=budget, stream=stream, **fields)
        assert len(server.calls) == got.receipt["calls"] <= 2
    check(got, budget)
    return got


def check(got: Got, budget: int) -> None:
    """Roles add up to the usage; nothing is called kept of which more than the budget and its slack was sent."""
    tokens = got.receipt["tokens"]
    counts = [item["usage"] for item in got.events if item.get("usage")][-1] if got.events else got.body["usage"]
    assert tokens["thinking"] + tokens["answer"] == tokens["total"] == counts["completion_tokens"]
    sent_tokens = len(got.text("reasoning")) / 4
    assert got.budget["kept"] is (tokens["thinking"] <= budget)
    assert not got.budget["kept"] or sent_tokens <= budget + NATIVE_SLACK_TOKENS
    assert got.budget["kept"] or got.budget["why"]


def states(got: Got) -> tuple[Any, ...]:
    return got.budget["enforced"], got.budget["kept"], got.budget["why"]


@pytest.mark.parametrize("words", [38, 182])
@pytest.mark.parametrize("make", [thought, tagged], ids=["field", "tags"])
async def test_a_server_that_thinks_again_though_asked_not_to_is_left_and_told(
    serve: Serve, words: int, make: Any
) -> None:
    got = await answered(serve, reply(make(200), said()), reply(make(words), said()))
    assert states(got) == (False, False, THINKS_ALL_THE_SAME)
    assert got.budget["mechanism"] == "none"
    # The budget is all the client sees: of the second thought nothing.
    assert len(got.text("reasoning").split()) <= BUDGET
    # Left one token past what is allowed.
    assert got.receipt["tokens"]["thinking"] <= BUDGET + NATIVE_SLACK_TOKENS + 2
    assert (got.text(), got.receipt["answer"], got.receipt["finish"]) == ("", "none", "length")


async def test_a_server_that_only_ever_thinks_is_not_asked_a_third_time(serve: Serve) -> None:
    got = await answered(serve, reply(thought(200)))
    assert (got.receipt["calls"], got.receipt["answer"]) == (2, "none")
    assert states(got) == (False, False, THINKS_ALL_THE_SAME)
    assert len(got.text("reasoning").split()) == BUDGET


async def test_a_few_words_of_thought_before_the_second_answer_leave_it_but_not_the_budget_whole(serve: Serve) -> None:
    got = await answered(serve, reply(thought(200)), reply(thought(3), said()))
    assert (got.text(), got.receipt["answer"]) == (ANSWER, "asked for again without thinking")
    assert states(got) == (False, False, THINKS_ALL_THE_SAME)
    assert len(got.text("reasoning").split()) == BUDGET


async def test_a_thought_that_fits_into_what_is_left_is_shown_and_kept(serve: Serve) -> None:
    got = await answered(serve, reply(thought(5)), reply(thought(3), said()))
    assert (got.text(), states(got)) == (ANSWER, (True, True, None))
    assert got.text("reasoning").split() == ["000", "001", "002", "003", "004", "000", "001", "002"]


async def test_what_the_budget_still_allows_does_not_cost_the_answer(serve: Serve) -> None:
    got = await answered(serve, reply(thought(5)), reply(thought(100), said()), budget=2000)
    assert (got.text(), states(got)) == (ANSWER, (True, True, None))


async def test_without_a_budget_no_thinking_is_too_much(serve: Serve) -> None:
    async with thinker(reply(thought(5)), reply(thought(100), said(), thought(100))) as (_, main), serve(main) as url:
        got = await ask(url, model="fake-model", taut={"preset": "direct"})
    assert (got.text(), got.receipt["answer"]) == (ANSWER, "asked for again without thinking")
    assert len(got.text("reasoning").split()) == 205


async def test_a_tool_call_with_thinking_behind_it_is_never_cut(serve: Serve) -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    for first in ([], [reply(thought(200))]):
        replies = [*first, reply(thought(3), [chat(tool_calls=[call])], thought(100, 10))]
        got = await answered(serve, *replies)
        assert '"name":"look"' in got.data.decode()
        assert got.budget["kept"] is False
        assert len(got.text("reasoning").split()) == (BUDGET if first else 103)


async def test_an_empty_thought_after_the_close_does_not_cost_the_answer(serve: Serve) -> None:
    over = running([*thought(BUDGET + NATIVE_SLACK_TOKENS + 1), chat(finish="length")])
    again = ["<think>", "\n\n", "</think>", "\n\n", ANSWER]
    rest = Reply(stream_of(again, kind="vllm", route="raw"))
    got = await answered(serve, over, rest, kind="vllm", offers=NATIVE)
    assert (got.text(), got.receipt["answer"]) == (ANSWER, "taken by closing the thinking")


async def test_a_server_that_obeys_the_switch_has_nothing_to_be_told(serve: Serve) -> None:
    got = await answered(serve, reply(thought(200)), reply(said()))
    assert (got.text(), states(got)) == (ANSWER, (True, True, None))


async def test_an_answer_with_a_thought_behind_it_in_the_second_call_stands(serve: Serve) -> None:
    got = await answered(serve, reply(thought(200)), reply(said(), thought(200)))
    assert (got.text(), got.receipt["answer"]) == (ANSWER, "asked for again without thinking")
    assert (got.receipt["finish"], states(got)) == ("stop", (False, False, THINKS_ALL_THE_SAME))


@pytest.mark.parametrize("again", [thought(200, 10), [chat("\n"), *tagged(200)]], ids=["field", "tags"])
@pytest.mark.parametrize("stream", [False, True])
async def test_thinking_behind_the_answer_is_left_where_the_answer_stands(
    serve: Serve, again: Sequence[dict[str, Any]], stream: bool
) -> None:
    first = thought(10) if "reasoning_content" in again[0]["choices"][0]["delta"] else tagged(10)
    got = await answered(serve, reply(first, said(), list(again), said("More.")), stream=stream)
    assert (got.text().strip(), got.receipt["calls"], got.receipt["finish"]) == (ANSWER, 1, "stop")
    assert got.receipt["answer"] == "as the model wrote it, until it thought again"
    assert states(got) == (True, False, THOUGHT_AGAIN)
    assert [item["event"] for item in got.receipt["decisions"]] == ["stop"]
    # Tags are thinking too: three of them have come.
    tags = 0 if "reasoning_content" in again[0]["choices"][0]["delta"] else 3
    assert len(got.text("reasoning").split()) == BUDGET + NATIVE_SLACK_TOKENS + 1 - tags


async def test_thinking_behind_the_answer_within_the_budget_is_no_fault(serve: Serve) -> None:
    got = await answered(serve, reply(thought(10), said(), thought(5), said(" Yes.")))
    assert (got.text(), states(got)) == (f"{ANSWER} Yes.", (True, True, None))
    assert got.receipt["answer"] == "as the model wrote it"


async def test_white_space_is_no_answer_to_stand(serve: Serve) -> None:
    got = await answered(serve, reply(thought(10), [chat("\n")], thought(200)), reply(said()))
    assert (got.text().strip(), got.receipt["answer"]) == (ANSWER, "asked for again without thinking")
    assert states(got) == (True, True, None)


def running(chunks: Sequence[dict[str, Any]]) -> Reply:
    """A stream of vLLM with its running total."""
    return Reply([*(event(counted(chunk, "vllm", 10, n)) for n, chunk in enumerate(chunks, 1)), DONE])


async def test_the_loop_leaves_a_thought_behind_the_answer_too(serve: Serve) -> None:
    chunks = [*thought(10), *said(), *thought(200, 10), *ENDS]
    got = await answered(serve, running(chunks), kind="vllm", offers=NATIVE)
    assert (got.text(), got.receipt["calls"], got.receipt["finish"]) == (ANSWER, 1, "stop")
    assert states(got) == (True, False, THOUGHT_AGAIN)
    assert got.receipt["tokens"]["thinking"] == BUDGET + NATIVE_SLACK_TOKENS + 1


async def test_a_closed_thought_that_opens_again_is_thinking_and_is_left(serve: Serve) -> None:
    cut = running([*thought(BUDGET), chat(finish="length")])
    again = ["It is 3.", "\n", "<think>\n", *(f"{n:03} " for n in range(200))]
    got = await answered(serve, cut, Reply(stream_of(again, kind="vllm", route="raw")), kind="vllm")
    assert (got.text().strip(), got.receipt["finish"]) == (ANSWER, "stop")
    assert states(got) == (True, False, THOUGHT_AGAIN)
    assert len(got.text("reasoning").split()) <= BUDGET + NATIVE_SLACK_TOKENS + 1


async def test_a_switch_that_the_server_ignores_is_not_called_enforced(serve: Serve) -> None:
    got = await answered(serve, reply(thought(40), said()), budget=0)
    assert got.budget["mechanism"] == "switch"
    assert states(got) == (False, False, THINKS_ALL_THE_SAME)


async def test_a_tag_within_a_line_of_the_answer_is_text(serve: Serve) -> None:
    quoted = [*tagged(3), chat("Write "), chat("<think>"), chat(" first.")]
    got = await answered(serve, reply(quoted))
    assert (got.text(), states(got)) == ("Write <think> first.", (True, True, None))


@pytest.mark.parametrize("completion", [0, 1])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_count_that_cannot_be_is_replaced_by_an_estimate_and_marked(
    serve: Serve, completion: int, stream: bool
) -> None:
    chunks = [*thought(15), chat("x" * 40)]
    got = await answered(serve, reply(chunks, counts=usage(10, completion)), stream=stream)
    # 100 characters, 60 of them thinking.
    assert (got.receipt["tokens"]["thinking"], got.receipt["tokens"]["answer"]) == (15, 10)
    assert got.receipt["tokens"]["source"] == {"thinking": "estimated", "answer": "estimated"}
    assert got.budget["kept"] is True


async def test_a_reasoning_count_that_cannot_be_is_replaced_too(serve: Serve) -> None:
    counts = usage(10, 300, completion_tokens_details={"reasoning_tokens": 1})
    got = await answered(serve, reply([chat(reasoning_content="0123456789 " * 20)], said("y" * 220), counts=counts))
    assert got.receipt["tokens"]["thinking"] == 150
    assert got.receipt["tokens"]["source"]["thinking"] == "estimated"
    assert got.budget["kept"] is False


@pytest.mark.parametrize("stuck_at", [0, 1])
async def test_a_running_total_that_stands_still_does_not_hide_the_thinking(serve: Serve, stuck_at: int) -> None:
    endless = [event(counted(chunk, "vllm", 10, stuck_at)) for chunk in thought(400)]
    rest = Reply(stream_of([ANSWER], kind="vllm", route="raw"))
    got = await answered(serve, Reply([*endless, DONE]), rest, kind="vllm", offers=NATIVE)
    assert got.text() == ANSWER
    assert got.budget["kept"] is False
    assert BUDGET < got.receipt["tokens"]["thinking"] < 80
