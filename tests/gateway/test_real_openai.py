"""OpenAI's own Python client against the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from taut.engines.fake import FakeEngine, Scripted
from taut.errors import EngineError
from tests.engines.fake_upstream import MODEL, Reply
from tests.gateway import scripts
from tests.gateway.conftest import Serve
from tests.gateway.scripts import ANSWER, QUESTION, THINKING

openai = pytest.importorskip("openai", reason="the package openai is not installed")

KEY = "sk-test"


@asynccontextmanager
async def client(url: str, **options: Any) -> AsyncIterator[Any]:
    """No retries: a test wants to see the first error."""
    settings = {"base_url": f"{url}/v1", "api_key": KEY, "max_retries": 0, **options}
    async with openai.AsyncOpenAI(**settings) as made:
        yield made


async def chunks_of(url: str, model: str = "fake-thinker", **fields: Any) -> list[Any]:
    """All chunks of one streamed chat."""
    async with client(url) as openai_client:
        stream = await openai_client.chat.completions.create(model=model, messages=QUESTION, stream=True, **fields)
        return [chunk async for chunk in stream]


async def put_together(openai_client: Any, **fields: Any) -> Any:
    """One streamed chat, as the client's own helper puts it together."""
    async with openai_client.chat.completions.stream(messages=QUESTION, **fields) as stream:
        async for _ in stream:
            pass
        return await stream.get_final_completion()


async def collect(stream: Any, seen: list[Any]) -> None:
    """Add what comes to ``seen``, so that it is there even if the stream raises."""
    async for item in stream:
        seen.append(item)


def joined(chunks: list[Any], name: str) -> str:
    """What all deltas together say under ``name``."""
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    return "".join(getattr(delta, name, None) or "" for delta in deltas)


async def test_a_whole_reply_has_the_answer_both_reasoning_names_and_the_thinking_tokens(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url, client(url) as openai_client:
        reply = await openai_client.chat.completions.create(model="fake-thinker", messages=QUESTION)
    message = reply.choices[0].message
    assert (message.content, message.reasoning, message.reasoning_content) == (ANSWER, THINKING, THINKING)
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.completion_tokens == 9
    assert reply.usage.completion_tokens_details.reasoning_tokens == 6
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 9
    assert reply.taut["tokens"]["thinking"] == 6


async def test_a_stream_has_the_same_and_its_counts_where_they_are_asked_for(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        chunks = await chunks_of(url, stream_options={"include_usage": True})
    assert joined(chunks, "content") == ANSWER
    assert joined(chunks, "reasoning") == joined(chunks, "reasoning_content") == THINKING
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens == 6
    assert chunks[-1].taut["tokens"]["total"] == 9
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_stream_has_no_counts_where_nobody_asked(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        chunks = await chunks_of(url)
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)
    assert chunks[-1].taut["tokens"]["total"] == 9


async def test_the_stream_helper_puts_the_reply_together(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url, client(url) as openai_client:
        reply = await put_together(openai_client, model="concise", stream_options={"include_usage": True})
    message = reply.choices[0].message
    assert (message.content, message.reasoning) == (ANSWER, THINKING)
    assert reply.usage.completion_tokens == 9


async def test_candidates_come_apart_by_their_index(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url, client(url) as openai_client:
        reply = await put_together(openai_client, model="concise", n=3)
    assert [(choice.index, choice.message.content) for choice in reply.choices] == [
        (0, ANSWER),
        (1, ANSWER),
        (2, ANSWER),
    ]


async def test_the_list_of_models_has_the_presets_and_the_engines_own(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url, client(url) as openai_client:
        names = [model.id async for model in openai_client.models.list()]
    assert {"concise", "fake-thinker"} <= set(names)


async def test_an_effort_becomes_a_budget_that_is_in_force(serve: Serve) -> None:
    async with serve(FakeEngine(script=lambda _: Scripted("word " * 2000, ANSWER))) as url:
        chunks = await chunks_of(url, reasoning_effort="minimal", stream_options={"include_usage": True})
    told = chunks[-1].taut["budget"]
    assert (told["asked"], told["thinking_tokens"]) == ({"field": "reasoning_effort", "value": "minimal"}, 512)
    assert told["enforced"] is told["kept"] is True
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens <= 512
    assert joined(chunks, "content").strip() == ANSWER


async def test_a_number_in_extra_body_is_a_budget_as_well(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url, client(url) as openai_client:
        reply = await openai_client.chat.completions.create(
            model="fake-thinker", messages=QUESTION, extra_body={"thinking_token_budget": 3}
        )
    assert reply.taut["budget"]["thinking_tokens"] == 3
    assert reply.usage.completion_tokens_details.reasoning_tokens <= 3
    assert reply.choices[0].message.content.strip() == ANSWER


async def test_the_receipt_is_in_the_headers_too(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url, client(url) as openai_client:
        raw = await openai_client.chat.completions.with_raw_response.create(model="concise(100)", messages=QUESTION)
    assert raw.headers["x-taut-thinking-budget"] == "100"
    assert raw.headers["x-taut-kept"] == "true"
    assert raw.parse().choices[0].message.content == ANSWER


@pytest.mark.parametrize("model", [MODEL, "concise"])
async def test_a_streamed_tool_call_arrives_whole(serve: Serve, model: str) -> None:
    async with scripts.upstream(scripts.tool_called()) as (server, engine), serve(engine) as url, client(url) as ours:
        reply = await put_together(ours, model=model, tools=[scripts.ADD_TOOL], tool_choice="auto")
    choice = reply.choices[0]
    (call,) = choice.message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "add", scripts.ARGUMENTS)
    assert choice.finish_reason == "tool_calls"
    assert server.calls[-1].body["tools"] == [scripts.ADD_TOOL]
    assert server.calls[-1].body["tool_choice"] == "auto"


@pytest.mark.parametrize(("model", "reply"), [(MODEL, scripts.whole_tool_call()), ("concise", scripts.tool_called())])
async def test_a_tool_call_of_a_whole_reply_arrives_whole(serve: Serve, model: str, reply: Reply) -> None:
    async with scripts.upstream(reply) as (_, engine), serve(engine) as url, client(url) as ours:
        answer = await ours.chat.completions.create(model=model, messages=QUESTION, tools=[scripts.ADD_TOOL])
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("add", scripts.ARGUMENTS)
    assert answer.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("model", [MODEL, "concise"])
async def test_pictures_a_response_format_and_unknown_fields_arrive_upstream(serve: Serve, model: str) -> None:
    fields = {"response_format": scripts.SUM_FORMAT, "extra_body": {"colour": "blue"}, "logit_bias": {"5": 1}}
    async with scripts.upstream(scripts.reasoned()) as (server, engine), serve(engine) as url, client(url) as ours:
        stream = await ours.chat.completions.create(model=model, messages=scripts.LOOKING, stream=True, **fields)
        assert joined([chunk async for chunk in stream], "content") == "It is 3."
    sent = server.calls[-1].body
    assert scripts.LOOKING[0]["content"][1] in sent["messages"][-1]["content"]
    assert sent["response_format"] == scripts.SUM_FORMAT
    assert (sent["colour"], sent["logit_bias"]) == ("blue", {"5": 1})


async def test_the_upstreams_reasoning_is_seen_through_a_preset_and_untouched(serve: Serve) -> None:
    async with scripts.upstream(scripts.reasoned()) as (_, engine), serve(engine) as url:
        through = await chunks_of(url, "concise", stream_options={"include_usage": True})
        untouched = await chunks_of(url, MODEL, stream_options={"include_usage": True})
    assert joined(through, "reasoning") == joined(through, "reasoning_content") == "Let me add."
    assert joined(untouched, "reasoning_content") == "Let me add."
    counts = [chunks[-1].usage.completion_tokens_details.reasoning_tokens for chunks in (through, untouched)]
    assert counts == [2, 2]


async def test_a_name_that_is_not_known_is_not_found(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url:
        with pytest.raises(openai.NotFoundError, match="did you mean 'concise'") as caught:
            await chunks_of(url, "concis")
    assert (caught.value.param, caught.value.type) == ("model", "not_found_error")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "warm"}, "temperature"),
        ({"extra_body": {"thinking_token_budget": -5}}, "thinking_token_budget"),
        ({"reasoning_effort": "hgih"}, "reasoning_effort"),
        ({"extra_body": {"taut": {"prest": "concise"}}}, "taut.prest"),
    ],
)
async def test_a_wrong_field_is_a_bad_request_that_names_it(serve: Serve, fields: dict[str, Any], param: str) -> None:
    async with serve(scripts.thinker()) as url:
        with pytest.raises(openai.BadRequestError) as caught:
            await chunks_of(url, "concise", **fields)
    assert caught.value.param == param


@pytest.mark.parametrize("model", [MODEL, "concise"])
@pytest.mark.parametrize("stream", [True, False])
async def test_an_upstream_that_is_busy_is_a_rate_limit_with_a_time_to_wait(
    serve: Serve, model: str, stream: bool
) -> None:
    async with scripts.upstream(scripts.refused(429)) as (_, engine), serve(engine) as url, client(url) as ours:
        with pytest.raises(openai.RateLimitError) as caught:
            await ours.chat.completions.create(model=model, messages=QUESTION, stream=stream)
    assert int(caught.value.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("model", [MODEL, "concise"])
async def test_what_the_upstream_refuses_is_told_in_its_own_words(serve: Serve, model: str) -> None:
    refusal = scripts.refused(400, "top_k must be positive")
    async with scripts.upstream(refusal) as (_, engine), serve(engine) as url:
        with pytest.raises(openai.BadRequestError, match="top_k must be positive"):
            await chunks_of(url, model)


@pytest.mark.parametrize("model", [MODEL, "concise"])
async def test_a_broken_upstream_is_a_server_error(serve: Serve, model: str) -> None:
    async with scripts.upstream(scripts.refused(500)) as (_, engine), serve(engine) as url:
        with pytest.raises(openai.InternalServerError):
            await chunks_of(url, model)


@pytest.mark.parametrize("model", [MODEL, "concise"])
async def test_an_upstream_that_dies_on_the_way_raises_after_the_pieces_that_came(serve: Serve, model: str) -> None:
    async with scripts.upstream(scripts.broken_off()) as (_, engine), serve(engine) as url, client(url) as ours:
        seen: list[Any] = []
        stream = await ours.chat.completions.create(model=model, messages=QUESTION, stream=True)
        with pytest.raises(openai.APIError) as caught:
            await collect(stream, seen)
    assert not isinstance(caught.value, openai.APIConnectionError)
    assert joined(seen, "content") == "It is "


async def test_an_engine_that_fails_half_way_raises_with_its_sentence(serve: Serve) -> None:
    fault = Scripted(THINKING, ANSWER, EngineError("the server went away", kind="cut"), error_after_tokens=2)
    async with serve(FakeEngine(script=lambda _: fault)) as url:
        with pytest.raises(openai.APIError, match="the server went away"):
            await chunks_of(url, "concise")


@pytest.mark.parametrize("model", [MODEL, "concise"])
async def test_closing_a_stream_stops_the_upstream(serve: Serve, model: str) -> None:
    async with scripts.upstream(scripts.endless()) as (server, engine), serve(engine) as url, client(url) as ours:
        stream = await ours.chat.completions.create(model=model, messages=QUESTION, stream=True)
        async for chunk in stream:
            if "well" in joined([chunk], "content"):
                break
        await stream.close()
        await scripts.until(lambda: server.left == 1)


@pytest.mark.parametrize("model", [MODEL, "concise"])
async def test_a_client_that_gives_up_on_a_whole_reply_stops_the_upstream(serve: Serve, model: str) -> None:
    async with scripts.upstream(scripts.endless()) as (server, engine), serve(engine) as url:
        async with client(url, timeout=0.3) as ours:
            with pytest.raises(openai.APITimeoutError):
                await ours.chat.completions.create(model=model, messages=QUESTION)
        await scripts.until(lambda: server.left == 1)


async def test_a_key_is_asked_for_where_there_are_keys(serve: Serve) -> None:
    async with serve(scripts.thinker(), keys=scripts.KEYS) as url:
        with pytest.raises(openai.AuthenticationError):
            await chunks_of(url)
        async with client(url, api_key=scripts.KEY) as ours:
            assert [model.id async for model in ours.models.list()]
            reply = await ours.chat.completions.create(model="concise", messages=QUESTION)
    assert reply.choices[0].message.content == ANSWER


async def test_one_model_can_be_looked_up(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url, client(url) as ours:
        assert (await ours.models.retrieve("concise")).id == "concise"
        with pytest.raises(openai.NotFoundError):
            await ours.models.retrieve("concis")


async def test_the_old_completions_route_answers_whole_and_streamed(serve: Serve) -> None:
    async with serve(scripts.thinker()) as url, client(url) as ours:
        reply = await ours.completions.create(model="concise", prompt="What is 1 + 2?")
        stream = await ours.completions.create(model="concise", prompt="What is 1 + 2?", stream=True)
        text = "".join([choice.text async for chunk in stream for choice in chunk.choices])
    assert reply.choices[0].text == text == ANSWER
    assert reply.usage.completion_tokens_details.reasoning_tokens == 6
