"""The engine against servers that misbehave: what came is kept, and one sentence tells the rest."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from taut.core import Count, End, Piece
from taut.engines import _retry
from taut.engines.openai import OpenAIEngine
from taut.errors import EngineError
from tests.engines.asking import ASK, GOOD, ask, collect, fail, text_of
from tests.engines.fake_upstream import DONE, FakeUpstream, Reply, chat, event, usage


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "FIRST_DELAY_S", 0.01)


async def test_a_server_that_ignores_the_limit_is_left() -> None:
    async with FakeUpstream([Reply([event(chat("word 12 "))] * 100_000, pause_s=0.0001)]) as server:
        engine = await OpenAIEngine.open(server.url)
        items = await collect(engine)
        last = items[-1]
        assert isinstance(last, End)
        assert last.finish == "length"
        # 50 + 10 % + 64 = 119 tokens are within the slack; the next one ends it. 8 characters are 2 tokens by estimate.
        assert last.usage.completion == Count(240, "estimated")
        assert len(text_of(items)) == 120 * 8
        for _ in range(200):
            if server.left:
                break
            await asyncio.sleep(0.01)
        assert server.left == 1
        await engine.close()


async def test_a_web_page_instead_of_a_stream_is_told_in_a_sentence() -> None:
    error = await fail(Reply([b"<!doctype html><html><title>Welcome</title></html>"], content_type="text/html"))
    assert error.kind == "garbled"
    assert "web page" in str(error)


async def test_an_error_object_with_status_200_is_an_error() -> None:
    reply = Reply([b'{"error": {"message": "model is gone", "code": 404}}'], content_type="application/json")
    error = await fail(reply)
    assert (error.kind, error.status) == ("refused", 404)
    assert "model is gone" in str(error)


async def test_a_whole_reply_in_one_document_is_taken_though_a_stream_was_asked_for() -> None:
    message = {"role": "assistant", "reasoning_content": "2+3", "content": "5"}
    document: dict[str, Any] = {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    document |= {"usage": {"prompt_tokens": 4, "completion_tokens": 8}}
    items, _ = await ask(Reply([json.dumps(document, indent=1).encode()], content_type="application/json"))
    assert [(item.kind, item.text) for item in items if isinstance(item, Piece)] == [
        ("thinking", "2+3"),
        ("answer", "5"),
    ]
    last = items[-1]
    assert isinstance(last, End)
    assert last.usage.completion == Count(8, "reported")
    assert last.usage.thinking == Count(6, "estimated")


async def test_an_error_event_in_mid_stream_is_a_cut() -> None:
    error = await fail(Reply([event(chat("The")), b'event: error\ndata: {"message": "out of memory"}\n\n', DONE]))
    assert error.kind == "cut"
    assert "out of memory" in str(error)


async def test_a_reply_that_ends_by_itself_past_the_limit_keeps_its_finish_and_counts() -> None:
    whole = chat("word " * 5000, finish="stop")
    items, _ = await ask(Reply([event(whole), event(usage(10, 5000)), DONE], pause_s=0.02))
    last = items[-1]
    assert isinstance(last, End)
    assert (last.finish, last.usage.completion) == ("stop", Count(5000, "reported"))


async def test_what_came_in_the_same_read_as_an_error_is_given_first() -> None:
    error_event = event({"error": {"message": "out of memory"}})
    async with FakeUpstream([Reply([event(chat("The")) + event(chat(" sum")) + error_event])]) as server:
        engine = await OpenAIEngine.open(server.url)
        stream = engine.stream(ASK)
        assert [await anext(stream), await anext(stream)] == [Piece("answer", "The", 1), Piece("answer", " sum", 1)]
        with pytest.raises(EngineError, match="out of memory"):
            await anext(stream)
        assert len(server.calls) == 1
        await engine.close()


async def test_a_stream_that_ends_in_the_middle_is_cut() -> None:
    assert (await fail(Reply([event(chat("The"))]))).kind == "cut"
    assert (await fail(Reply([event(chat("The")), b'data: {"choi']))).kind in ("cut", "garbled")


@pytest.mark.parametrize("tail", [[], [DONE], [event(usage(10, 1))]], ids=["nothing", "done", "usage"])
async def test_a_finish_reason_makes_a_reply_whole_whatever_follows(tail: list[bytes]) -> None:
    items, _ = await ask(Reply([event(chat("5")), event(chat(finish="length")), *tail]))
    last = items[-1]
    assert isinstance(last, End)
    assert last.finish == "length"


async def test_a_connection_cut_after_the_finish_reason_loses_nothing() -> None:
    items, _ = await ask(Reply([event(chat("5")), event(chat(finish="stop"))], pause_s=0.02, then="cut"))
    assert text_of(items) == "5"


async def test_done_without_a_finish_reason_is_a_stop() -> None:
    items, _ = await ask(Reply([event(chat("5")), DONE]))
    assert isinstance(items[-1], End)
    assert items[-1].finish == "stop"


async def test_a_reply_without_text_is_returned_as_it_is() -> None:
    items, _ = await ask(Reply([event(chat(finish="stop")), event(usage(9, 0)), DONE]))
    assert len(items) == 1


async def test_an_endless_line_is_refused() -> None:
    error = await fail(Reply([b"data: " + b"x" * (1 << 20)] * 10))
    assert "more than 4 MiB" in str(error)


async def test_a_redirect_is_not_followed_with_the_question() -> None:
    error = await fail(Reply(status=307, headers={"Location": "https://elsewhere.example/v1"}))
    assert "https://elsewhere.example/v1" in str(error)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("/other/v1", "/other/v1 (307): use that address"),
        ("/v1/chat/completions", "redirects to itself"),
        ("", "without saying where to"),
    ],
)
async def test_a_redirect_within_the_server_names_the_whole_address(location: str, said: str) -> None:
    error = await fail(Reply(status=307, headers={"Location": location}))
    assert said in str(error)
    assert "http://127.0.0.1:" in str(error)


async def test_a_secret_that_the_server_repeats_is_blacked_out() -> None:
    secret = "sk-very-secret-12345"
    body = json.dumps({"error": {"message": f"key {secret} may not use this model"}}).encode()
    error = await fail(Reply([body], status=400), api_key=secret)
    assert "***" in str(error)
    assert secret not in str(error)
    error = await fail(Reply([event({"error": {"message": f"bad {secret}", "code": 400}})]), api_key=secret)
    assert secret not in str(error)


async def test_a_server_that_goes_away_is_unreachable() -> None:
    async with FakeUpstream([GOOD]) as server:
        engine = await OpenAIEngine.open(server.url, max_retries=1)
    with pytest.raises(EngineError) as caught:
        await collect(engine)
    assert caught.value.kind == "unreachable"
    assert "Connection refused" in str(caught.value)
    await engine.close()


async def test_a_closed_engine_says_so() -> None:
    async with FakeUpstream([GOOD]) as server:
        engine = await OpenAIEngine.open(server.url)
        await engine.close()
        with pytest.raises(EngineError, match="closed"):
            await collect(engine)
