"""The receipt tells the truth: what was asked, what was in force, whether it was kept, and every token paid for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from taut.core import FEATURES, Call, Count, Request, Source, Task, Trace, Usage
from taut.engines.fake import FakeEngine, Scripted, replay_script
from taut.gateway.nouns import Grant, Mechanism, Outcome, Wish
from taut.gateway.receipt import headers, receipt, spent_on
from tests.gateway.asking import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Got, ask
from tests.gateway.conftest import Serve

THINKING = "one two three four five six seven eight nine ten"
ANSWER = "It is 3."
NATIVE = frozenset(FEATURES)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
ROLES = ("thinking", "answer", "probe", "estimate", "route", "draft", "score", "discarded")


def always(thinking: str = THINKING, answer: str = ANSWER, **further: Any) -> FakeEngine:
    """Thinks ten words and answers three, however it is asked, unless its switch is thrown."""

    def script(request: Request) -> Scripted:
        return Scripted("" if request.prompt.think is False else thinking, answer, **further)

    return FakeEngine(script)


def check_sums(got: Got) -> None:
    """Roles add up to the total, and the total is what ``usage`` says."""
    tokens, usage = got.receipt["tokens"], got.body["usage"]
    assert sum(tokens.get(role, 0) for role in ROLES) == tokens["total"] == usage["completion_tokens"]
    assert tokens["prompt"] == usage["prompt_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == tokens["thinking"]
    assert got.headers["x-taut-completion-tokens"] == str(tokens["total"])
    assert got.headers["x-taut-thinking-tokens"] == str(tokens["thinking"])


async def test_a_reply_within_its_budget_is_as_the_model_wrote_it(serve: Serve) -> None:
    async with serve(always()) as url:
        got = await ask(url, thinking_token_budget=50)
    assert got.budget == {
        "asked": {"field": "thinking_token_budget", "value": 50},
        "thinking_tokens": 50,
        "mechanism": "loop",
        "enforced": True,
        "kept": True,
        "why": None,
        "ignored": [],
    }
    assert (got.receipt["calls"], got.receipt["decisions"]) == (1, [])
    assert (got.receipt["answer"], got.receipt["finish"]) == ("as the model wrote it", "stop")
    assert (got.receipt["engine"], got.receipt["model"]) == ("main", "fake-thinker")
    # Six words of question: What is 1 + 2?
    assert got.receipt["tokens"] == {
        "thinking": 10,
        "answer": 3,
        "total": 13,
        "prompt": 5,
        "source": {"thinking": "reported", "answer": "reported"},
    }
    check_sums(got)


async def test_a_reply_that_was_cut_says_by_whom_and_why(serve: Serve) -> None:
    async with serve(always()) as url:
        got = await ask(url, thinking_token_budget=4)
    (stop,) = got.receipt["decisions"]
    assert (stop["event"], stop["why"], stop["thinking_tokens"]) == (
        "stop",
        "the limit of thinking tokens is reached",
        4,
    )
    assert got.receipt["answer"] == "taken by closing the thinking"
    assert (got.receipt["calls"], got.budget["kept"]) == (2, True)
    # The second call has the four words of thinking in its prompt.
    assert got.receipt["tokens"]["prompt"] == 5 + 9
    check_sums(got)


async def test_without_a_budget_nothing_is_kept_or_broken(serve: Serve) -> None:
    async with serve(always()) as url:
        got = await ask(url)
    assert (got.budget["asked"], got.budget["thinking_tokens"], got.budget["kept"]) == (None, None, None)
    assert (got.budget["mechanism"], got.budget["enforced"]) == ("none", None)
    assert got.headers["x-taut-thinking-budget"] == "unlimited"
    assert got.headers["x-taut-asked"] == "nothing"


async def test_a_server_that_breaks_its_own_budget_is_caught_and_told(serve: Serve) -> None:
    engine = always(" ".join("w" for _ in range(100)))
    engine.offers = NATIVE
    async with serve(engine) as url:
        got = await ask(url, thinking_token_budget=10)
    assert got.receipt["tokens"]["thinking"] == 27
    assert (got.budget["mechanism"], got.budget["kept"]) == ("native", False)
    assert "went past the thinking budget" in got.receipt["decisions"][-1]["why"]
    assert got.text() == ANSWER
    check_sums(got)


async def test_a_thought_without_an_answer_is_closed_and_labelled(serve: Serve) -> None:
    async with serve(always(never_closes=True)) as url:
        got = await ask(url, thinking_token_budget=50)
        stream = await ask(url, stream=True)
    assert (got.text(), stream.text()) == (ANSWER, ANSWER)
    told = "taken by closing the thinking: the model had stopped without an answer"
    assert (got.receipt["answer"], stream.receipt["answer"]) == (told, told)


async def test_an_empty_answer_is_asked_for_once_more_and_labelled(serve: Serve) -> None:
    empty, then = Scripted(THINKING, ""), Scripted(THINKING, "The final answer is 3")
    async with serve(FakeEngine(replay_script([empty, empty, then]))) as url:
        got = await ask(url)
    assert got.text() == "The final answer is 3"
    assert got.receipt["answer"] == "asked for once more: it was empty"
    check_sums(got)


async def test_a_restart_is_labelled_and_the_lost_thought_is_billed(serve: Serve) -> None:
    async with serve(always()) as url:
        got = await ask(url, tools=TOOLS, thinking_token_budget=4)
    assert got.receipt["answer"] == "asked for again without thinking"
    assert got.receipt["tokens"]["thinking"] == 4
    check_sums(got)


async def test_an_answer_that_never_came_is_called_none(serve: Serve) -> None:
    engine = always(answer="")
    engine.offers = NATIVE - {"prefill", "thinking_switch", "thinking_budget"}
    async with serve(engine) as url:
        got = await ask(url)
    assert (got.status, got.text(), got.receipt["answer"]) == (200, "", "none")


@pytest.mark.parametrize("tokens", [1, 2, 3, 5, 8, 12])
async def test_a_low_ceiling_still_leaves_an_answer(serve: Serve, tokens: int) -> None:
    for fields in ({}, {"tools": TOOLS}, {"thinking_token_budget": 100}):
        async with serve(always()) as url:
            got = await ask(url, max_tokens=tokens, **fields)
            stream = await ask(url, max_tokens=tokens, stream=True, **fields)
        assert got.text().strip()
        assert stream.text().strip()
        assert got.body["usage"]["completion_tokens"] <= max(tokens, 2)
        check_sums(got)


async def test_discarded_and_further_candidates_are_in_the_bill(serve: Serve) -> None:
    async with serve(always()) as url:
        got = await ask(url, n=3, thinking_token_budget=4)
    assert [choice["message"]["content"] for choice in got.body["choices"]] == [ANSWER] * 3
    assert got.receipt["tokens"]["total"] == 3 * (4 + 3)
    assert got.receipt["finish"] == ["stop"] * 3
    assert got.receipt["calls"] == 6
    check_sums(got)


async def test_an_estimating_preset_bills_its_estimate_under_its_own_role(serve: Serve) -> None:
    async with serve(always()) as url:
        got = await ask(url, model="tale")
    assert got.receipt["preset"] == "tale"
    assert got.receipt["tokens"]["estimate"] > 0
    check_sums(got)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MESSAGES, RESPONSES])
@pytest.mark.parametrize("stream", [False, True])
async def test_every_protocol_has_the_receipt_and_its_headers(serve: Serve, path: str, stream: bool) -> None:
    async with serve(always()) as url:
        got = await ask(url, path, stream=stream, reasoning_effort="low")
    found = [got.body] if not stream else got.events
    receipts = [item.get("taut") or (item.get("response") or {}).get("taut") for item in found]
    told = next(item for item in reversed(receipts) if item)
    assert told["budget"]["asked"] == {"field": "reasoning_effort", "value": "low"}
    assert told["budget"]["thinking_tokens"] == 1024
    assert told["request_id"] == got.headers["x-request-id"]
    assert told["tokens"]["total"] == 13
    assert got.headers["x-taut-asked"] == "reasoning_effort=low"
    assert got.headers["x-taut-preset"] == "engine"
    assert got.headers["x-taut-engine"] == "main"
    assert ("x-taut-kept" in got.headers) != stream


async def test_a_stream_ends_with_the_counts_where_they_are_asked_for(serve: Serve) -> None:
    async with serve(always()) as url:
        got = await ask(url, stream=True, stream_options={"include_usage": True}, thinking_token_budget=4)
    assert got.events[-1]["choices"] == []
    assert got.events[-1]["usage"]["completion_tokens"] == 7
    assert got.events[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 4}
    assert got.events[-1]["taut"] == got.events[-2]["taut"]
    assert got.data.endswith(b"data: [DONE]\n\n")


async def test_what_was_put_into_the_models_mouth_is_not_in_the_receipt(serve: Serve) -> None:
    async with serve(always(), presets=("budget_forcing:extensions=1",)) as url:
        got = await ask(url, model="budget_forcing:extensions=1")
    (extend,) = [item for item in got.receipt["decisions"] if item["event"] == "extend"]
    assert "text" not in extend


def call(thinking: int, answer: int, source: Source = "reported", **fields: Any) -> Call:
    counts = Usage(Count(10, "reported"), Count(thinking + answer, source), Count(thinking, source))
    return Call("generate", "main", model="m", usage=counts, **fields)


def trace_of(*calls: Call, decisions: tuple[Mapping[str, Any], ...] = ()) -> Trace:
    trace = Trace(Task("t", ()), "p", answer="x", finish="stop", calls=list(calls))
    trace.decisions.extend(map(dict, decisions))
    return trace


@pytest.mark.parametrize(
    ("mechanism", "budget", "thinking", "kept"),
    [
        ("loop", 10, 10, True),
        ("loop", 10, 11, False),
        ("native", 10, 26, True),
        ("native", 10, 27, False),
        ("switch", 0, 0, True),
        ("switch", 0, 1, False),
        ("none", None, 999, None),
    ],
)
def test_a_budget_is_kept_up_to_the_words_that_close_the_thought(
    mechanism: Mechanism, budget: int | None, thinking: int, kept: bool | None
) -> None:
    granted = Grant(Wish("think", True), budget, None, mechanism)
    told = receipt("id", "p", "main", granted, [Outcome(0, trace_of(call(thinking, 5)))])
    assert told["budget"]["kept"] is kept


def test_one_candidate_that_breaks_the_budget_breaks_it_for_all() -> None:
    granted = Grant(Wish("think", True), 10, None, "loop")
    outcomes = [Outcome(0, trace_of(call(5, 5))), Outcome(1, trace_of(call(11, 5)))]
    assert receipt("id", "p", "main", granted, outcomes)["budget"]["kept"] is False


def test_a_method_that_found_out_on_the_way_is_believed() -> None:
    granted = Grant(Wish("think", True), 10, None, "loop")
    trace = trace_of(call(50, 5), decisions=({"event": "not enforced", "why": "no switch"},))
    budget = receipt("id", "p", "main", granted, [Outcome(0, trace)])["budget"]
    assert (budget["mechanism"], budget["enforced"], budget["kept"], budget["why"]) == (
        "none",
        False,
        False,
        "no switch",
    )


@pytest.mark.parametrize(
    ("mechanism", "enforced", "why"),
    [
        ("loop", True, "50 thinking tokens came before the thinking was ended"),
        ("native", True, "50 thinking tokens came before the thinking was ended"),
        ("switch", False, "the server thinks although it was asked not to"),
    ],
)
def test_a_budget_that_was_not_kept_has_a_reason(mechanism: Mechanism, enforced: bool, why: str) -> None:
    granted = Grant(Wish("think", True), 0 if mechanism == "switch" else 10, None, mechanism)
    budget = receipt("id", "p", "main", granted, [Outcome(0, trace_of(call(50, 5)))])["budget"]
    assert (budget["enforced"], budget["kept"], budget["why"]) == (enforced, False, why)


def test_a_call_left_at_its_second_thought_is_told_from_one_that_was_closed() -> None:
    granted = Grant(Wish("think", True), 10, None, "loop")
    again = {"event": "stop", "why": "it thought again after its answer"}
    told = receipt("id", "p", "main", granted, [Outcome(0, trace_of(call(27, 5), decisions=(again,)))])
    assert told["answer"] == "as the model wrote it, until it thought again"
    assert told["budget"]["why"] == "it thought again after its answer"
    both = trace_of(call(27, 5), decisions=({"event": "stop", "why": "a limit"}, again))
    assert receipt("id", "p", "main", granted, [Outcome(0, both)])["answer"] == "taken by closing the thinking"


def test_one_estimate_makes_a_count_an_estimate() -> None:
    spent = spent_on([trace_of(call(5, 5)), trace_of(call(5, 5, "estimated"))])
    assert (spent.completion, spent.reasoning, spent.prompt) == (20, 10, 20)
    assert (spent.reasoning_estimated, spent.completion_estimated) == (True, True)


def test_a_discarded_call_is_paid_for_but_is_no_thinking() -> None:
    spent = spent_on([trace_of(call(5, 5), call(7, 3, discarded=True))])
    assert (spent.completion, spent.reasoning) == (20, 5)


def test_nothing_of_a_client_can_break_a_header() -> None:
    wish = Wish("reasoning_effort", "low\r\nx-evil: 1 \N{SNOWMAN}" + "x" * 500)
    told = headers("id", "p\n", "main", Grant(wish, 5, None, "loop"))
    assert all(" " <= letter <= "~" for value in told.values() for letter in value)
    assert max(map(len, told.values())) <= 120
