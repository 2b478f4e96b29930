"""Budgets, from the client's field to what the model was told: the number, who keeps it, and what is said about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from taut.config import Config
from taut.core import FEATURES, Reply, Request, Sampling
from taut.dialects import by_name
from taut.engines.fake import FakeEngine, Scripted
from taut.engines.openai import OpenAIEngine
from taut.gateway.budget import grant
from taut.gateway.catalog import Choice
from taut.gateway.nouns import Ask, Wish
from taut.gateway.settings import EFFORT, Limits, Settings
from taut.run import Preset
from taut.session import Session
from tests.engines.fake_upstream import FakeUpstream
from tests.gateway.asking import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Got, ask
from tests.gateway.conftest import Serve
from tests.gateway.scripts import KEY, QUESTION, said

WORDS = 2000
THOUGHT = " ".join(f"w{n}" for n in range(WORDS))
ANSWER = "It is 3."
ALL = frozenset(FEATURES)
LOOP = ALL - {"thinking_budget"}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
SMALL_EFFORTS = {"minimal": 5, "low": 10, "medium": 20, "high": 40, "xhigh": 80, "max": 160}


def script(request: Request) -> Scripted:
    """2000 words of thinking, fewer under a budget of the server's own; none with the switch thrown."""
    budget = request.thinking_budget_tokens
    words = THOUGHT.split()[: WORDS if budget is None else budget]
    return Scripted("" if request.prompt.think is False else " ".join(words), ANSWER)


def engine(offers: frozenset[str] = LOOP, dialect: str = "qwen3") -> FakeEngine:
    return FakeEngine(script, offers=offers, dialect=by_name(dialect))


def thinking_tokens(got: Got) -> int:
    """As billed."""
    return int(got.body["usage"]["completion_tokens_details"]["reasoning_tokens"])


NUMBERS: tuple[Mapping[str, Any], ...] = (
    {"thinking_token_budget": 17},
    {"thinking_budget": 17},
    {"thinking_budget_tokens": 17},
    {"reasoning_budget_tokens": 17},
    {"max_thinking_tokens": 17},
    {"reasoning_max_tokens": 17},
    {"reasoning_effort": 17},
    {"reasoning": {"max_tokens": 17}},
    {"thinking": {"type": "enabled", "budget_tokens": 17}},
    {"chat_template_kwargs": {"thinking_budget": 17}},
    {"custom_params": {"thinking_budget": 17}},
    {"logits_processors_args": {"thinking_budget": 17}},
    {"generationConfig": {"thinkingConfig": {"thinkingBudget": 17}}},
    {"google": {"thinking_config": {"thinking_budget": 17}}},
    {"extra_body": {"google": {"thinking_config": {"thinking_budget": 17}}}},
    {"model": "fake-thinker(17)"},
)
WORD_FIELDS: tuple[Callable[[str], Mapping[str, Any]], ...] = (
    lambda word: {"reasoning_effort": word},
    lambda word: {"reasoning": {"effort": word}},
    lambda word: {"output_config": {"effort": word}},
    lambda word: {"chat_template_kwargs": {"reasoning_effort": word}},
    lambda word: {"generationConfig": {"thinkingConfig": {"thinkingLevel": word}}},
    lambda word: {"think": word},
    lambda word: {"model": f"fake-thinker({word})"},
)
OFF: tuple[Mapping[str, Any], ...] = (
    {"reasoning_effort": "none"},
    {"reasoning": {"effort": "none"}},
    {"reasoning": {"enabled": False}},
    {"reasoning": {"max_tokens": 0}},
    {"thinking": {"type": "disabled"}},
    {"thinking_token_budget": 0},
    {"thinking_budget": 0},
    {"enable_thinking": False},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"chat_template_kwargs": {"thinking": False}},
    {"think": False},
    {"model": "fake-thinker(none)"},
    {"model": "fake-thinker(0)"},
)
ON: tuple[Mapping[str, Any], ...] = (
    {"reasoning": {"enabled": True}},
    {"thinking": {"type": "enabled"}},
    {"enable_thinking": True},
    {"chat_template_kwargs": {"enable_thinking": True}},
    {"think": True},
)


@pytest.mark.parametrize("fields", NUMBERS, ids=str)
async def test_a_number_in_any_dialect_is_what_the_loop_keeps(serve: Serve, fields: Mapping[str, Any]) -> None:
    main = engine()
    async with serve(main) as url:
        got = await ask(url, **fields)
    assert (got.status, thinking_tokens(got), got.text()) == (200, 17, ANSWER)
    assert got.budget["thinking_tokens"] == 17
    assert (got.budget["mechanism"], got.budget["enforced"], got.budget["kept"]) == ("loop", True, True)
    assert [request.sampling.max_tokens for request in main.requests] == [17, None]
    # What Taut sees to is not sent on.
    assert all(not request.sampling.extra for request in main.requests)


@pytest.mark.parametrize("fields", NUMBERS, ids=str)
async def test_a_number_in_any_dialect_reaches_a_server_that_keeps_budgets(
    serve: Serve, fields: Mapping[str, Any]
) -> None:
    main = engine(ALL)
    async with serve(main) as url:
        got = await ask(url, **fields)
    assert [request.thinking_budget_tokens for request in main.requests] == [17]
    assert (thinking_tokens(got), got.text()) == (17, ANSWER)
    assert (got.budget["mechanism"], got.budget["kept"]) == ("native", True)


@pytest.mark.parametrize("field", WORD_FIELDS)
@pytest.mark.parametrize("word", SMALL_EFFORTS)
async def test_an_effort_in_any_dialect_becomes_tokens_by_the_operators_map(
    serve: Serve, field: Callable[[str], Mapping[str, Any]], word: str
) -> None:
    async with serve(engine(), effort=SMALL_EFFORTS) as url:
        got = await ask(url, **field(word))
    assert thinking_tokens(got) == SMALL_EFFORTS[word]
    assert got.budget["asked"]["value"] == word


def test_the_map_that_ships_is_the_one_that_is_written_down() -> None:
    assert dict(EFFORT) == {
        "minimal": 512,
        "low": 1024,
        "medium": 4096,
        "high": 16384,
        "xhigh": 32768,
        "max": 65536,
    }


async def test_an_operator_may_add_an_effort_and_clients_may_name_it_everywhere(serve: Serve) -> None:
    async with serve(engine(), effort={"tiny": 3}) as url:
        assert thinking_tokens(await ask(url, reasoning_effort="tiny")) == 3
        assert thinking_tokens(await ask(url, model="fake-thinker(tiny)")) == 3
        assert thinking_tokens(await ask(url, model="concise(tiny)")) == 3
        assert thinking_tokens(await ask(url, reasoning_effort="minimal")) == 512


async def test_an_effort_of_no_tokens_is_no_thinking(serve: Serve) -> None:
    async with serve(engine(), effort={"minimal": 0}) as url:
        got = await ask(url, reasoning_effort="minimal")
    assert (thinking_tokens(got), got.budget["mechanism"]) == (0, "switch")


async def test_an_unknown_effort_is_refused_with_the_nearest(serve: Serve) -> None:
    async with serve(engine()) as url:
        got = await ask(url, reasoning_effort="hihg")
    assert (got.status, got.problem["param"]) == (400, "reasoning_effort")
    assert "'high'" in got.problem["message"]


@pytest.mark.parametrize("fields", OFF, ids=str)
@pytest.mark.parametrize("offers", [LOOP, ALL, LOOP - {"prefill"}], ids=["loop", "native", "switch"])
async def test_off_in_any_dialect_throws_the_switch(
    serve: Serve, fields: Mapping[str, Any], offers: frozenset[str]
) -> None:
    main = engine(offers)
    async with serve(main) as url:
        got = await ask(url, **fields)
    assert [request.prompt.think for request in main.requests] == [False]
    assert (thinking_tokens(got), got.text()) == (0, ANSWER)
    assert (got.budget["thinking_tokens"], got.budget["mechanism"], got.budget["kept"]) == (0, "switch", True)


@pytest.mark.parametrize("fields", ON, ids=str)
async def test_on_in_any_dialect_throws_the_on_switch(serve: Serve, fields: Mapping[str, Any]) -> None:
    main = engine()
    async with serve(main) as url:
        got = await ask(url, **fields)
    assert main.requests[0].prompt.think is True
    assert (thinking_tokens(got), got.budget["thinking_tokens"]) == (WORDS, None)
    assert (got.budget["mechanism"], got.budget["enforced"], got.budget["kept"]) == ("none", True, None)


@pytest.mark.parametrize(
    ("fields", "tokens", "ignored"),
    [
        ({"model": "fake-thinker(9)", "thinking_token_budget": 30, "reasoning_effort": "low"}, 9, 2),
        ({"thinking_token_budget": 30, "reasoning_effort": "low"}, 30, 1),
        ({"thinking_token_budget": 30, "enable_thinking": False}, 30, 1),
        ({"enable_thinking": False, "reasoning_effort": "low"}, 0, 1),
        ({"reasoning_effort": "low", "enable_thinking": True}, 10, 0),
        ({"thinking_token_budget": 30, "think": True}, 30, 0),
    ],
    ids=str,
)
async def test_suffix_before_number_before_off_before_effort_before_on(
    serve: Serve, fields: Mapping[str, Any], tokens: int, ignored: int
) -> None:
    async with serve(engine(), effort=SMALL_EFFORTS) as url:
        got = await ask(url, **fields)
    assert thinking_tokens(got) == tokens
    assert len(got.budget["ignored"]) == ignored


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"reasoning_effort": "low"}),
        (COMPLETIONS, {"reasoning_effort": "low"}),
        (RESPONSES, {"reasoning": {"effort": "low"}}),
        (MESSAGES, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 10}}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_every_protocol_keeps_a_budget(serve: Serve, path: str, fields: Mapping[str, Any], stream: bool) -> None:
    main = engine()
    async with serve(main, effort=SMALL_EFFORTS) as url:
        got = await ask(url, path, stream=stream, **fields)
    assert got.status == 200
    assert got.headers["x-taut-thinking-budget"] == "10"
    assert main.requests[0].sampling.max_tokens == 10
    assert b'"thinking":10' in got.data


@pytest.mark.parametrize(("asked", "in_force"), [(None, 50), (30, 30), (80, 50), (0, 0)])
async def test_the_operators_ceiling_can_only_lower_a_budget(serve: Serve, asked: int | None, in_force: int) -> None:
    fields: dict[str, Any] = {} if asked is None else {"thinking_token_budget": asked}
    async with serve(engine(), max_thinking_tokens=50) as url:
        got = await ask(url, **fields)
    assert (thinking_tokens(got), got.budget["thinking_tokens"]) == (in_force, in_force)
    assert got.budget["why"] == ("80 thinking tokens were asked for, the ceiling here is 50" if asked == 80 else None)


async def test_a_keys_own_ceiling_holds_for_its_holder(serve: Serve) -> None:
    keys = {"alice": {"hash": f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}", "max_thinking_tokens": 20}}
    async with serve(engine(), keys=keys, max_thinking_tokens=50) as url:
        got = await ask(url, headers={"Authorization": f"Bearer {KEY}"}, reasoning_effort="high")
    assert thinking_tokens(got) == 20


async def test_a_ceiling_of_no_tokens_switches_thinking_off(serve: Serve) -> None:
    async with serve(engine(), max_thinking_tokens=0) as url:
        got = await ask(url, reasoning_effort="high")
    assert (thinking_tokens(got), got.budget["mechanism"]) == (0, "switch")


@pytest.mark.parametrize("model", ["concise", "chain_of_draft", "token_budget", "tale", "fake-thinker"])
async def test_every_preset_that_thinks_keeps_the_clients_budget(serve: Serve, model: str) -> None:
    async with serve(engine()) as url:
        got = await ask(url, model=model, thinking_token_budget=12)
    assert (thinking_tokens(got), got.text()) == (12, ANSWER)


async def test_the_budget_of_a_preset_is_lowered_and_never_raised(serve: Serve) -> None:
    presets = {"capped": {"method": "budget_forcing", "max_thinking_tokens": 30}}
    async with serve(engine(), config=Config(presets=presets)) as url:
        assert thinking_tokens(await ask(url, model="capped")) == 30
        assert thinking_tokens(await ask(url, model="capped", thinking_token_budget=12)) == 12
        assert thinking_tokens(await ask(url, model="capped", thinking_token_budget=90)) == 30


async def test_a_preset_that_never_thinks_keeps_any_budget_by_itself(serve: Serve) -> None:
    async with serve(engine(), presets=("no_thinking",)) as url:
        got = await ask(url, model="no_thinking", thinking_token_budget=12)
    assert (got.budget["mechanism"], got.budget["kept"], thinking_tokens(got)) == ("preset", True, 0)


async def test_tools_take_the_servers_budget_or_a_restart(serve: Serve) -> None:
    for offers, mechanism, calls in ((ALL, "native", 1), (LOOP, "loop", 2)):
        main = engine(offers)
        async with serve(main) as url:
            got = await ask(url, tools=TOOLS, thinking_token_budget=12)
        assert (thinking_tokens(got), got.text(), got.budget["mechanism"]) == (12, ANSWER, mechanism)
        assert len(main.requests) == calls
        assert all(request.sampling.extra == {"tools": TOOLS} for request in main.requests)


async def test_an_engine_that_cannot_continue_is_restarted_at_the_limit(serve: Serve) -> None:
    main = engine(LOOP - {"prefill"})
    async with serve(main) as url:
        got = await ask(url, thinking_token_budget=12)
        free = await ask(url)
    assert [request.prompt.think for request in main.requests] == [None, False, None]
    assert (thinking_tokens(got), got.text(), got.budget["mechanism"], got.budget["kept"]) == (12, ANSWER, "loop", True)
    assert (thinking_tokens(free), free.text(), free.receipt["decisions"]) == (WORDS, ANSWER, [])


async def test_a_model_that_only_thinks_and_cannot_be_continued_is_asked_again_without_thinking(serve: Serve) -> None:
    def only_thinks(request: Request) -> Scripted:
        return Scripted(answer=ANSWER) if request.prompt.think is False else Scripted("hm hm", never_closes=True)

    async with serve(FakeEngine(only_thinks, offers=LOOP - {"prefill"})) as url:
        got = await ask(url)
    assert (got.text(), got.receipt["answer"]) == (ANSWER, "asked for again without thinking")
    assert thinking_tokens(got) == 2


async def test_what_nobody_can_keep_is_said(serve: Serve) -> None:
    main = engine(LOOP - {"thinking_switch"})
    async with serve(main) as url:
        got = await ask(url, tools=TOOLS, thinking_token_budget=12)
    assert (got.status, thinking_tokens(got)) == (200, WORDS)
    assert (got.budget["enforced"], got.budget["kept"], got.budget["thinking_tokens"]) == (False, False, 12)
    assert "no thinking budget of its own" in got.budget["why"]
    assert got.headers["x-taut-enforced"] == "false"
    assert got.headers["x-taut-kept"] == "false"


async def test_or_refused_where_the_operator_says_so(serve: Serve) -> None:
    main = engine(LOOP - {"thinking_switch"})
    async with serve(main, unenforceable="refuse") as url:
        got = await ask(url, tools=TOOLS, thinking_token_budget=12)
        asks_nothing = await ask(url, tools=TOOLS)
    assert (got.status, got.problem["param"]) == (400, "thinking_token_budget")
    assert "cannot be enforced" in got.problem["message"]
    assert asks_nothing.status == 200
    assert len(main.requests) == 1


async def test_a_model_without_marks_has_nothing_to_limit(serve: Serve) -> None:
    main = FakeEngine(lambda _: Scripted(answer=ANSWER), dialect=by_name("plain"))
    async with serve(main) as url:
        got = await ask(url, thinking_token_budget=12)
    assert (got.text(), got.budget["mechanism"], got.budget["kept"]) == (ANSWER, "none", None)
    assert "does not mark its thinking" in got.budget["why"]


class OwnWay:
    """A method from elsewhere that wraps nothing and calls the model as it likes."""

    needs: frozenset[str] = frozenset()

    async def __call__(self, session: Session) -> Reply:
        return await session.answer()


def test_a_method_that_calls_in_its_own_way_is_not_said_to_keep_a_budget() -> None:
    preset = Preset("own", OwnWay())
    asked = Ask("chat", "own", tuple(QUESTION), Sampling(), Wish("thinking_budget", 12, budget_tokens=12))
    granted, run_as = grant(asked, Choice(preset, "main", {"main": engine()}), Settings(), Limits())
    assert (granted.mechanism, granted.enforced, granted.budget_tokens) == ("none", False, 12)
    assert "a way of its own" in granted.why
    assert run_as is preset


async def test_a_server_of_unknown_marks_with_a_budget_of_its_own_keeps_it_natively(serve: Serve) -> None:
    # What taut doctor prints for a hosted server whose dialect nobody knows.
    offers = frozenset({"seed", "thinking_budget", "token_counts"})
    main = FakeEngine(lambda _: Scripted("One two three.", ANSWER), dialect=by_name("plain"), offers=offers)
    async with serve(main, unenforceable="refuse") as url:
        got = await ask(url, model="direct", thinking_token_budget=12)
        off = await ask(url, model="direct", reasoning_effort="none")
    assert (got.text(), got.budget["mechanism"], got.budget["kept"]) == (ANSWER, "native", True)
    assert (off.status, off.budget["mechanism"]) == (200, "native")
    assert [request.thinking_budget_tokens for request in main.requests] == [12, 0]


async def test_a_ceiling_leaves_a_model_that_does_not_think_untouched(serve: Serve) -> None:
    async with FakeUpstream((said("It is 3."),), kind="vllm") as server:
        engine = await OpenAIEngine.open(server.url)
        async with serve(engine, max_thinking_tokens=100) as url:
            got = await ask(url, model=engine.model, stream=True, logprobs=True)
        await engine.close()
    assert got.text() == "It is 3."
    assert not any("taut" in event for event in got.events)
    assert server.calls[-1].body["logprobs"] is True
