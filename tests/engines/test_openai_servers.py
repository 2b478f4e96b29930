"""The engine on real servers, llama.cpp in this process and vLLM on the CPU: most tests run on both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from taut.core import Count, End, Piece, Prompt, Request, Sampling, Streamed, Turn, Usage
from taut.engines.openai import OpenAIEngine
from taut.errors import EngineError, UsageError
from tests.engines import make_model
from tests.engines.servers import Server

QUESTION = ({"role": "user", "content": "What is 2 + 3? Then greet me with 🦊."},)
GREEDY = Sampling(max_tokens=12, temperature=0.0)
PATIENCE_S = 20.0
CLOSE_TAG_TOKEN = "5"
"""Id of ``</think>`` in the model folder smollm2-think."""

Open = Callable[..., Awaitable[OpenAIEngine]]


@pytest.fixture(
    params=[pytest.param("llama", marks=pytest.mark.embedded), pytest.param("vllm", marks=pytest.mark.vllm)]
)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
async def open_engine(server: Server) -> AsyncIterator[Open]:
    engines: list[OpenAIEngine] = []

    async def open_one(**options: Any) -> OpenAIEngine:
        engines.append(await OpenAIEngine.open(server.url, **{"api_key": server.api_key, **options}))
        return engines[-1]

    yield open_one
    for engine in engines:
        await engine.close()


async def collect(engine: OpenAIEngine, request: Request) -> list[Streamed]:
    return [item async for item in engine.stream(request)]


def text_of(items: list[Streamed], kind: str | None = None) -> str:
    return "".join(item.text for item in items if isinstance(item, Piece) and kind in (None, item.kind))


def ask(turn: Turn = Turn(), sampling: Sampling = GREEDY, **more: Any) -> Request:
    return Request(Prompt(QUESTION, turn), sampling, **more)


@pytest.mark.parametrize("turn", [Turn(), Turn(thinking="The sum of"), Turn(thinking="It is 5.", closed=True)])
async def test_the_pieces_add_up_to_the_reported_usage(open_engine: Open, turn: Turn) -> None:
    engine = await open_engine()
    assert "token_counts" in engine.offers
    items = await collect(engine, ask(turn))
    last, tokens = items[-1], sum(item.tokens for item in items if isinstance(item, Piece))
    assert isinstance(last, End)
    assert last.usage.completion == Count(tokens, "reported")
    assert last.usage.prompt.source == "reported"
    early = [item for item in items if isinstance(item, Usage)]
    assert [usage.prompt for usage in early] == [last.usage.prompt]
    assert not isinstance(items[-2], Usage)


async def test_both_routes_write_the_same(open_engine: Open) -> None:
    chat, raw = await open_engine(route="chat"), await open_engine(route="raw")
    by_chat, by_raw = await collect(chat, ask()), await collect(raw, ask())
    assert text_of(by_chat) == text_of(by_raw) != ""
    ends = [items[-1] for items in (by_chat, by_raw)]
    assert isinstance(ends[0], End)
    assert isinstance(ends[1], End)
    assert ends[0].usage.prompt == ends[1].usage.prompt


async def test_a_turn_goes_on_where_it_was_left(open_engine: Open) -> None:
    engine = await open_engine(dialect="think_tags")
    whole = text_of(await collect(engine, ask(Turn(thinking="Let me see:"))))
    first = text_of(await collect(engine, ask(Turn(thinking="Let me see:"), Sampling(max_tokens=5, temperature=0.0))))
    rest = Sampling(max_tokens=7, temperature=0.0)
    second = await collect(engine, ask(Turn(thinking=f"Let me see:{first}"), rest))
    assert first + text_of(second, "thinking") == whole


async def test_log_probabilities_come_for_every_token_on_both_routes(open_engine: Open) -> None:
    engine = await open_engine()
    # Plain words only: llama.cpp tells the several tokens of an emoji as one.
    prompt = Prompt(({"role": "user", "content": "What is 2 + 3?"},))
    for turn in (Turn(), Turn(thinking="The sum of 2 and 3")):
        sampling = Sampling(max_tokens=4, temperature=0.0)
        items = await collect(engine, Request(replace(prompt, turn=turn), sampling, top_logprobs=3))
        told = [logprob for item in items if isinstance(item, Piece) for logprob in item.logprobs]
        assert len(told) == 4
        for token in told:
            assert token.logprob <= 0
            values = [value for _, value in token.top]
            assert len(values) >= 3
            assert values == sorted(values, reverse=True)
            # Greedy: what was sampled is the most likely.
            assert token.logprob == pytest.approx(values[0], abs=1e-3)


async def test_leaving_stops_the_server(open_engine: Open, server: Server) -> None:
    engine = await open_engine()
    async for item in engine.stream(ask(sampling=Sampling(max_tokens=1000, extra={"ignore_eos": True}))):
        if isinstance(item, Piece):
            break
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):
        while await _requests_running(session, server, engine.server.kind):
            await asyncio.sleep(0.1)


async def _requests_running(session: aiohttp.ClientSession, server: Server, kind: str) -> int:
    headers = {"Authorization": f"Bearer {server.api_key}"}
    if kind == "llamacpp":
        async with session.get(f"{server.url}/slots", headers=headers) as reply:
            return sum(slot["is_processing"] for slot in await reply.json())
    async with session.get(f"{server.url}/metrics") as reply:
        lines = (await reply.text()).splitlines()
    values = [line.split()[-1] for line in lines if line.startswith("vllm:num_requests_running")]
    assert values
    return int(sum(map(float, values)))


async def test_without_a_limit_a_raw_completion_is_not_cut_after_16_tokens(open_engine: Open) -> None:
    engine = await open_engine()
    unlimited = Sampling(temperature=0.0, stop=("\n28",))
    items = await collect(
        engine, Request(Prompt(({"role": "user", "content": "Count."},), Turn(thinking=_count(20))), unlimited)
    )
    last = items[-1]
    assert isinstance(last, End)
    assert last.usage.completion.tokens > 16


def _count(end: int) -> str:
    return "".join(f"{number}\n" for number in range(1, end)) + str(end)


async def test_a_stop_string_ends_the_text_before_it(open_engine: Open) -> None:
    engine = await open_engine()
    stopped = Sampling(max_tokens=40, temperature=0.0, stop=("23",))
    items = await collect(
        engine, Request(Prompt(({"role": "user", "content": "Count."},), Turn(thinking=_count(20))), stopped)
    )
    last = items[-1]
    assert isinstance(last, End)
    assert (text_of(items), last.finish) == ("\n21\n22\n", "stop")


async def test_a_prompt_that_is_too_long_is_refused_with_the_servers_reason(open_engine: Open) -> None:
    engine = await open_engine()
    long = ({"role": "user", "content": "word " * 9000},)
    for turn in (Turn(), Turn(thinking="x")):
        with pytest.raises(EngineError) as caught:
            await collect(engine, Request(Prompt(long, turn), GREEDY))
        assert (caught.value.kind, caught.value.status) == ("refused", 400)


async def test_a_deadline_ends_the_call_and_the_engine_stays_usable(open_engine: Open) -> None:
    engine = await open_engine()
    endless = Sampling(max_tokens=1500, extra={"ignore_eos": True})
    with pytest.raises(EngineError) as caught:
        await collect(engine, ask(sampling=endless, deadline_s=0.5))
    assert caught.value.kind == "timeout"
    assert text_of(await collect(engine, ask()))


@pytest.mark.embedded
async def test_a_wrong_key_is_told_in_a_sentence() -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(make_model.packaged_gguf())
    parameters.api_keys = ["right"]
    parameters.warmup = False
    running = xllamacpp.Server(parameters)
    with pytest.raises(EngineError, match="OPENAI_API_KEY"):
        await OpenAIEngine.open(running.listening_address, api_key="wrong")
    engine = await OpenAIEngine.open(running.listening_address, api_key="right")
    assert text_of(await collect(engine, ask()))
    await engine.close()


@pytest.mark.vllm
async def test_vllm_keeps_to_a_thinking_budget(vllm_server: Server) -> None:
    engine = await OpenAIEngine.open(vllm_server.url, offers=("thinking_budget", "prefill"), route="raw")
    request = Request(Prompt(QUESTION), Sampling(max_tokens=40, temperature=0.0), thinking_budget_tokens=6)
    items = await collect(engine, request)
    last = items[-1]
    assert isinstance(last, End)
    # The text that the server forces to end the thinking counts too.
    assert 6 <= last.usage.thinking.tokens <= 12
    assert text_of(items, "answer")
    await engine.close()


@pytest.mark.vllm
async def test_a_closing_tag_that_is_a_special_token_ends_the_thinking(vllm_server: Server) -> None:
    for route in ("raw", "chat"):
        engine = await OpenAIEngine.open(vllm_server.url, route=route)
        assert engine.dialect.template_opens
        forced = Sampling(max_tokens=3, temperature=0.0, extra={"logit_bias": {CLOSE_TAG_TOKEN: 100}})
        items = await collect(engine, Request(Prompt(QUESTION), forced))
        assert text_of(items) == ""
        last = items[-1]
        assert isinstance(last, End)
        assert last.usage.completion == Count(3, "reported")
        await engine.close()


@pytest.mark.vllm
async def test_vllm_names_its_models_when_a_name_is_wrong(vllm_server: Server) -> None:
    with pytest.raises(UsageError, match=vllm_server.model):
        await OpenAIEngine.open(vllm_server.url, model="smol")
