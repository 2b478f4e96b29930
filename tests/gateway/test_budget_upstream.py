"""Budgets over the wire: what a real protocol carries to servers that keep them, cannot keep them, or are unknown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from taut.engines.openai import OpenAIEngine
from tests.engines.fake_upstream import DONE, FakeUpstream, chat, counted, event, stream_of
from tests.engines.fake_upstream import Reply as ServerReply
from tests.gateway.asking import CHAT, COMPLETIONS, MESSAGES, RESPONSES, ask
from tests.gateway.conftest import Serve
from tests.gateway.scripts import QUESTION, reasoned, upstream

ANSWER = "It is 3."
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    "fields", [{"reasoning_effort": "low"}, {"reasoning": {"max_tokens": 12}}, {"thinking_budget": 12}], ids=str
)
async def test_a_server_of_which_nothing_is_known_gets_the_clients_own_fields(
    serve: Serve, fields: Mapping[str, Any]
) -> None:
    async with upstream(reasoned()) as (server, main), serve(main) as url:
        got = await ask(url, model="fake-model", stream=True, **fields)
        assert server.calls[-1].body == {"model": "fake-model", "messages": QUESTION, "stream": True, **fields}
        assert got.headers["x-taut-mechanism"] == "passed on"
        assert got.headers["x-taut-enforced"] == "false"


@pytest.mark.parametrize("fields", [{"reasoning_effort": "low"}, {"reasoning": {"max_tokens": 12}}], ids=str)
async def test_it_gets_them_with_a_receipt_as_well(serve: Serve, fields: Mapping[str, Any]) -> None:
    async with upstream(reasoned()) as (server, main), serve(main) as url:
        got = await ask(url, model="fake-model", taut={"receipt": True}, **fields)
        assert server.calls[-1].body.items() >= fields.items()
        assert (got.budget["mechanism"], got.budget["enforced"]) == ("passed on", False)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"model": "fake-model(low)"}),
        (RESPONSES, {"model": "fake-model", "reasoning": {"effort": "low"}}),
        (MESSAGES, {"model": "fake-model", "output_config": {"effort": "low"}}),
    ],
)
async def test_an_effort_is_one_word_in_every_protocol(serve: Serve, path: str, fields: Mapping[str, Any]) -> None:
    async with upstream(reasoned()) as (server, main), serve(main) as url:
        got = await ask(url, path, stream=True, **fields)
        assert server.calls[-1].body["reasoning_effort"] == "low"
        assert server.calls[-1].body["model"] == "fake-model"
        assert got.headers["x-taut-mechanism"] == "passed on"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"model": "fake-model(12)"}),
        (MESSAGES, {"model": "fake-model", "thinking": {"type": "enabled", "budget_tokens": 12}}),
        (CHAT, {"model": "concise", "thinking_token_budget": 12}),
    ],
)
async def test_a_number_that_such_a_server_has_no_field_for_is_said_to_be_lost(
    serve: Serve, path: str, fields: Mapping[str, Any]
) -> None:
    async with upstream(reasoned()) as (_, main), serve(main) as url:
        got = await ask(url, path, stream=True, **fields)
        assert (got.headers["x-taut-mechanism"], got.headers["x-taut-enforced"]) == ("none", "false")
        assert got.headers["x-taut-thinking-budget"] == "12"


async def test_a_ceiling_that_cannot_be_kept_is_not_called_enforced(serve: Serve) -> None:
    async with upstream(reasoned()) as (_, main), serve(main, max_thinking_tokens=10, unenforceable="refuse") as url:
        got = await ask(url, model="fake-model", stream=True)
        assert got.status == 200
        assert (got.headers["x-taut-thinking-budget"], got.headers["x-taut-enforced"]) == ("10", "false")


def thought(words: int, finish: str) -> ServerReply:
    """A vLLM stream whose reasoning parser works: so many tokens of thinking, then an answer unless it was cut."""
    chunks = [counted(chat(reasoning=f"w{n} "), "vllm", 10, n + 1) for n in range(words)]
    if finish == "stop":
        chunks.append(counted(chat(ANSWER), "vllm", 10, words + 1))
    chunks.append(counted(chat(finish=finish), "vllm", 10, words + (finish == "stop")))
    return ServerReply([*map(event, chunks), DONE])


@asynccontextmanager
async def vllm(*replies: ServerReply, **options: Any) -> AsyncIterator[tuple[FakeUpstream, OpenAIEngine]]:
    async with FakeUpstream(replies, kind="vllm") as server:
        main = await OpenAIEngine.open(server.url, dialect="qwen3", **options)
        try:
            yield server, main
        finally:
            await main.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_over_the_wire_a_thought_is_cut_by_max_tokens_and_continued_closed(serve: Serve, stream: bool) -> None:
    rest = ServerReply(stream_of(["It ", "is ", "3."], kind="vllm", route="raw"))
    async with vllm(thought(4, "length"), rest) as (server, main), serve(main) as url:
        got = await ask(url, model="fake-model", thinking_token_budget=4, stream=stream, x_unknown=[1])
        first, second = server.calls
    assert (first.path, first.body["max_tokens"], first.body["x_unknown"]) == (CHAT, 4, [1])
    assert second.path == COMPLETIONS
    assert second.body["prompt"].endswith("<think>\nw0 w1 w2 w3 \n</think>\n\n")
    assert second.body["x_unknown"] == [1]
    assert (got.text(), got.text("reasoning").split()) == (ANSWER, ["w0", "w1", "w2", "w3"])
    assert (got.receipt["tokens"]["thinking"], got.receipt["tokens"]["answer"], got.budget["kept"]) == (4, 3, True)
    assert "thinking_token_budget" not in first.body


async def test_over_the_wire_a_server_that_keeps_budgets_gets_the_number_and_one_call(serve: Serve) -> None:
    offers = ("prefill", "thinking_budget", "thinking_switch", "token_counts", "cancel")
    async with vllm(thought(4, "stop"), offers=offers) as (server, main), serve(main) as url:
        got = await ask(url, model="fake-model", reasoning={"max_tokens": 4}, max_tokens=300)
        (only,) = server.calls
    assert (only.body["thinking_token_budget"], only.body["max_tokens"]) == (4, 300)
    assert "reasoning" not in only.body
    assert (got.text(), got.budget["mechanism"], got.budget["kept"]) == (ANSWER, "native", True)


async def test_over_the_wire_off_is_the_servers_own_switch(serve: Serve) -> None:
    async with vllm(ServerReply(stream_of([ANSWER], kind="vllm"))) as (server, main), serve(main) as url:
        got = await ask(url, model="fake-model", think=False)
        (only,) = server.calls
    assert only.body["chat_template_kwargs"] == {"enable_thinking": False}
    assert (got.text(), got.budget["mechanism"]) == (ANSWER, "switch")


async def test_over_the_wire_a_request_with_tools_is_restarted_with_its_tools(serve: Serve) -> None:
    endless = ServerReply([event(counted(chat(reasoning=f"w{n} "), "vllm", 10, n + 1)) for n in range(9)], then="hang")
    rest = ServerReply(stream_of(["It ", "is ", "3."], kind="vllm"))
    async with vllm(endless, rest) as (server, main), serve(main) as url:
        got = await ask(url, model="fake-model", tools=TOOLS, tool_choice="auto", thinking_token_budget=4)
        first, second = server.calls
    assert "max_tokens" not in first.body
    assert [call.body["tools"] for call in (first, second)] == [TOOLS, TOOLS]
    assert second.body["chat_template_kwargs"] == {"enable_thinking": False}
    assert (got.text(), got.receipt["answer"]) == (ANSWER, "asked for again without thinking")
