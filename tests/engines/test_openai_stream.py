"""The engine against a fake server: routes, retries, deadlines and leaving."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import cast

import pytest

from taut.core import Count, End, Piece, Prompt, Request, Sampling, Streamed, Turn
from taut.engines import _exchange, _retry
from taut.engines.openai import OpenAIEngine
from taut.errors import EngineError
from tests.engines.asking import ASK, BUSY, GOOD, QUESTION, ask, collect, fail, text_of
from tests.engines.fake_upstream import DONE, FakeUpstream, Reply, chat, counted, event, raw, stream_of, usage


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "FIRST_DELAY_S", 0.01)


async def test_a_reply_comes_as_pieces_and_one_end() -> None:
    items, server = await ask(GOOD)
    assert [item.text for item in items if isinstance(item, Piece)] == ["The", " sum", " is 5"]
    last = items[-1]
    assert isinstance(last, End)
    assert (last.finish, last.model) == ("stop", "fake-model")
    assert last.usage.prompt == Count(10, "reported")
    assert last.usage.completion == Count(3, "reported")
    assert server.calls[0].body["messages"] == list(QUESTION)


async def test_pieces_come_while_the_server_is_still_writing() -> None:
    async with FakeUpstream([Reply([event(chat("first"))], then="hang")]) as server:
        engine = await OpenAIEngine.open(server.url)
        stream = cast(AsyncGenerator[Streamed, None], engine.stream(ASK))
        assert await anext(stream) == Piece("answer", "first", 1)
        await stream.aclose()
        await engine.close()


async def test_leaving_the_stream_breaks_the_connection() -> None:
    async with FakeUpstream([Reply([event(chat("x"))] * 10_000, pause_s=0.005)]) as server:
        engine = await OpenAIEngine.open(server.url)
        stream = cast(AsyncGenerator[Streamed, None], engine.stream(ASK))
        await anext(stream)
        await stream.aclose()
        for _ in range(200):
            if server.left:
                break
            await asyncio.sleep(0.01)
        assert server.left == 1
        await engine.close()


async def test_cancelling_the_task_breaks_the_connection_before_the_first_token_too() -> None:
    async with FakeUpstream([Reply(then="hang")]) as server:
        engine = await OpenAIEngine.open(server.url)
        task = asyncio.create_task(collect(engine))
        while not server.calls:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(200):
            if server.left:
                break
            await asyncio.sleep(0.01)
        assert server.left == 1
        await engine.close()


async def test_finished_streams_give_their_connection_back() -> None:
    async with FakeUpstream([GOOD]) as server:
        engine = await OpenAIEngine.open(server.url)
        for _ in range(5):
            await collect(engine)
        assert len(server.connections) == 1
        await engine.close()


async def test_256_streams_at_once_do_not_mix() -> None:
    async with FakeUpstream([Reply(stream_of([f"<{n}>"] * 8)) for n in range(256)] + [GOOD]) as server:
        engine = await OpenAIEngine.open(server.url)
        replies = await asyncio.gather(*[collect(engine) for _ in range(256)])
        assert sorted(text_of(items) for items in replies) == sorted(f"<{n}>" * 8 for n in range(256))
        await engine.close()


# --- trying again ---


@pytest.mark.parametrize(
    "first",
    [
        BUSY,
        Reply(status=429),
        Reply(status=500),
        Reply(then="cut"),
        Reply([event(chat(role="assistant"))], then="cut"),
        Reply([event({"error": {"message": "overloaded", "code": 503}})]),
    ],
    ids=["503", "429", "500", "cut", "cut after the role", "error event"],
)
async def test_a_failure_before_the_first_token_is_tried_again(first: Reply) -> None:
    items, server = await ask(first, first, GOOD)
    assert text_of(items) == "The sum is 5"
    assert len(server.calls) == 3


async def test_after_the_first_token_nothing_is_tried_again() -> None:
    async with FakeUpstream([Reply([event(chat("The"))], then="cut"), GOOD]) as server:
        engine = await OpenAIEngine.open(server.url)
        items = []
        with pytest.raises(EngineError) as caught:
            items += [item async for item in engine.stream(ASK)]
        assert caught.value.kind == "cut"
        assert len(server.calls) == 1
        await engine.close()


@pytest.mark.parametrize("status", [400, 404, 422, 501])
async def test_a_refusal_is_not_tried_again(status: int) -> None:
    reply = Reply([b'{"error": {"message": "too long"}}'], status=status, content_type="application/json")
    error = await fail(reply, GOOD)
    assert (error.kind, error.status) == ("refused", status)
    assert "too long" in str(error)


async def test_an_empty_account_is_not_tried_again_though_it_answers_429() -> None:
    body = b'{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
    assert (await fail(Reply([body], status=429), GOOD)).kind == "refused"


async def test_tries_end_after_max_retries() -> None:
    async with FakeUpstream([BUSY]) as server:
        engine = await OpenAIEngine.open(server.url, max_retries=2)
        with pytest.raises(EngineError, match="503: busy") as caught:
            await collect(engine)
        assert caught.value.kind == "overloaded"
        assert len(server.calls) == 3
        await engine.close()


async def test_retry_after_is_waited_for() -> None:
    began = time.monotonic()
    items, _ = await ask(Reply(status=429, headers={"Retry-After": "0.3"}), GOOD)
    assert text_of(items) == "The sum is 5"
    # A lower bound only: it holds on a machine of any speed.
    assert time.monotonic() - began >= 0.3


async def test_a_server_that_wants_to_be_left_alone_past_the_deadline_fails_at_once() -> None:
    reply = Reply([b"later"], status=429, headers={"Retry-After": "30"})
    error = await fail(reply, GOOD, request=Request(Prompt(QUESTION), deadline_s=20))
    assert error.kind == "overloaded"


# --- time ---


async def test_the_deadline_ends_a_stream_under_way() -> None:
    reply = Reply([event(chat("x"))] * 10_000, pause_s=0.01)
    error = await fail(reply, request=Request(Prompt(QUESTION), deadline_s=0.2))
    assert error.kind == "timeout"
    assert "deadline" in str(error)


async def test_the_deadline_covers_the_wait_for_the_first_token_and_all_tries() -> None:
    assert (await fail(Reply(then="hang"), request=Request(Prompt(QUESTION), deadline_s=0.1))).kind == "timeout"
    assert (await fail(Reply(delay_s=5), request=Request(Prompt(QUESTION), deadline_s=0.1))).kind == "timeout"


async def test_silence_after_the_first_token_is_a_timeout_and_keep_alives_do_not_break_it() -> None:
    reply = Reply([event(chat("x")), *[b": keep-alive\n\n"] * 1000], pause_s=0.02)
    error = await fail(reply, idle_timeout_s=0.1)
    assert error.kind == "timeout"
    assert "silent" in str(error)


async def test_the_first_token_may_take_longer_than_the_idle_limit() -> None:
    items, _ = await ask(Reply([b": wait\n\n", b": wait\n\n", *GOOD.parts], pause_s=0.08), idle_timeout_s=0.12)
    assert text_of(items) == "The sum is 5"


async def test_without_a_token_the_limit_for_the_first_one_strikes() -> None:
    error = await fail(Reply(then="hang"), timeout_s=0.1)
    assert (error.kind, "no token" in str(error)) == ("timeout", True)


async def test_empty_chunks_do_not_break_the_silence() -> None:
    error = await fail(Reply([event(chat("x")), *[event(chat(""))] * 1000], pause_s=0.02), idle_timeout_s=0.1)
    assert "silent" in str(error)


@pytest.mark.parametrize("after", [[], [event(chat(""))] * 1000], ids=["nothing", "empty chunks"])
async def test_silence_after_the_finish_reason_ends_the_reply_well(
    after: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_exchange, "AFTER_FINISH_S", 0.1)
    items, _ = await ask(Reply([event(chat("5")), event(chat(finish="stop")), *after], then="hang", pause_s=0.02))
    assert text_of(items) == "5"
    assert isinstance(items[-1], End)
    assert items[-1].finish == "stop"


async def test_counts_that_come_a_little_after_the_finish_reason_are_taken() -> None:
    items, _ = await ask(Reply([event(chat("5")), event(chat(finish="stop")), event(usage(10, 3)), DONE], pause_s=0.05))
    assert isinstance(items[-1], End)
    assert items[-1].usage.completion == Count(3, "reported")


# --- thinking on both routes ---


async def test_an_open_thought_goes_as_a_raw_completion_and_goes_on_as_thinking() -> None:
    texts = [" 3 = 5", "\n</think>", "\n\n", "5"]
    parts = [event(counted(raw(text), "vllm", 10, n)) for n, text in enumerate(texts, 1)]
    reply = Reply([*parts, event(counted(raw("", finish="stop"), "vllm", 10, 5)), event(usage(10, 5)), DONE])
    async with FakeUpstream([reply], kind="vllm", template="<user>{text}<assistant><think>\n") as server:
        engine = await OpenAIEngine.open(server.url, dialect="qwq")
        request = Request(Prompt(QUESTION, Turn(thinking="2 +")), Sampling(max_tokens=20))
        items = await collect(engine, request)
        body = server.calls[0].body
        assert server.calls[0].path == "/v1/completions"
        assert body["prompt"] == "<user>What is 2+3?<assistant><think>\n2 +"
        assert body["add_special_tokens"] is False
        assert body["skip_special_tokens"] is False
        thinking = "".join(i.text for i in items if isinstance(i, Piece) and i.kind == "thinking")
        answer = "".join(i.text for i in items if isinstance(i, Piece) and i.kind == "answer")
        assert (thinking.rstrip(), answer) == (" 3 = 5", "5")
        await engine.close()


async def test_once_a_server_has_sent_reasoning_apart_its_content_is_the_answer() -> None:
    first = Reply([event(chat(reasoning="hm")), event(chat("5")), event(chat(finish="stop")), DONE])
    second = Reply([event(chat("7")), event(chat(finish="stop")), DONE])
    async with FakeUpstream([first, second]) as server:
        engine = await OpenAIEngine.open(server.url, dialect="qwq")
        await collect(engine)
        items = await collect(engine)
        assert items[0] == Piece("answer", "7", 1)
        await engine.close()


async def test_without_a_limit_a_raw_completion_asks_for_the_room_that_is_left() -> None:
    async with FakeUpstream(
        [Reply(stream_of(["5"], kind="vllm", route="raw"))], kind="vllm", template="{text}"
    ) as server:
        engine = await OpenAIEngine.open(server.url)
        await collect(engine, Request(Prompt(QUESTION, Turn(thinking="So"))))
        # 12 characters of question and 2 of thinking, a "token" each, in a context of 4096.
        assert server.calls[0].body["max_tokens"] == 4096 - 14
        await engine.close()


async def test_a_prompt_is_rendered_once_for_all_its_continuations() -> None:
    async with FakeUpstream([Reply(stream_of(["5"], kind="llamacpp", route="raw"))], kind="llamacpp") as server:
        engine = await OpenAIEngine.open(server.url)
        for thinking in ("a", "ab", "abc"):
            await collect(engine, Request(Prompt(QUESTION, Turn(thinking=thinking))))
        rendered = [call for call in server.received if call.path == "/apply-template"]
        assert [call.body["messages"][0]["content"] for call in rendered] == ["Hi", "What is 2+3?"]
        await engine.close()
