"""The older protocol: one prompt, a reply under ``text``."""

from __future__ import annotations

from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion

from taut.core import Piece, Sampling
from taut.gateway.nouns import Ask, Options, Problem, Wish
from taut.gateway.wire import completions

from .made import CALL, HEAD, RECEIPT, SPENT, events, make_ask, make_outcome
from .replies import serving

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def read(**fields: Any) -> Ask:
    return completions.read({"model": "m", "prompt": "What is 2+2?", **fields})


def writer(**changes: Any) -> completions.Writer:
    return completions.Writer(HEAD, make_ask("completions", **changes))


def full_stream(write: completions.Writer, *pieces: Piece, **outcome: Any) -> bytes:
    middle = b"".join(write.pieces(0, [piece]) for piece in pieces)
    return write.begin() + middle + write.end([make_outcome(**outcome)], SPENT, RECEIPT)


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["What is 2+2?", ["What is 2+2?"]])
def test_the_prompt_becomes_one_user_message(prompt: Any) -> None:
    ask = read(prompt=prompt)
    assert ask.messages == ({"role": "user", "content": "What is 2+2?"},)
    assert (ask.protocol, ask.model) == ("completions", "m")


def test_fields_are_read_or_passed_through() -> None:
    ask = read(
        max_tokens=9,
        temperature=0.5,
        stop="\n",
        n=2,
        stream=True,
        stream_options={"include_usage": True},
        thinking_budget=100,
        taut={"preset": "concise"},
        logit_bias={"5": -100},
    )
    assert ask.sampling == Sampling(9, 0.5, stop=("\n",), extra={"logit_bias": {"5": -100}})
    assert (ask.n, ask.stream, ask.include_usage, ask.options) == (2, True, True, Options("concise"))
    assert ask.wish == Wish("thinking_budget", 100, 100)


def test_fields_that_ask_for_nothing_are_left_out() -> None:
    ask = read(echo=False, best_of=1, suffix=None)
    assert ask.sampling.extra == {}
    completions.refuse_for_presets(ask)


@pytest.mark.parametrize("fields", [{"echo": True}, {"suffix": "end"}, {"best_of": 2}, {"logprobs": 0}])
def test_presets_refuse_what_only_one_call_can_give(fields: dict[str, Any]) -> None:
    ask = read(**fields)
    with pytest.raises(Problem, match="ask for the engine's own model") as caught:
        completions.refuse_for_presets(ask)
    assert caught.value.param == next(iter(fields))


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"prompt": None}, "prompt", "a string that is not empty, not nothing"),
        ({"prompt": ""}, "prompt", "a string that is not empty"),
        ({"prompt": []}, "prompt", "not an empty list"),
        ({"prompt": ["a", "b"]}, "prompt", "neither several prompts nor token numbers"),
        ({"prompt": [1, 2, 3]}, "prompt", "ask for the engine's own model"),
        ({"prompt": [[1, 2]]}, "prompt", "ask for the engine's own model"),
        ({"max_tokens": -5}, "max_tokens", "from 1 to"),
        ({"tools": [{"type": "function"}]}, "tools", "/v1/chat/completions"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(Problem) as caught:
        read(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert says in str(caught.value)


# --- writing ---------------------------------------------------------------------------------------------------------


def test_a_stream_is_written_byte_for_byte() -> None:
    opening = (
        'data: {"id":"cmpl-abc","object":"text_completion","created":1700000000,"model":"concise(512)","choices":['
    )
    assert full_stream(writer(), Piece("thinking", "hm"), Piece("answer", "4")).decode() == (
        opening + '{"index":0,"text":"","reasoning":"hm","reasoning_content":"hm","logprobs":null,"finish_reason":null}'
        "]}\n\n" + opening + '{"index":0,"text":"4","logprobs":null,"finish_reason":null}]}\n\n'
        + opening + '{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}],'
        '"taut":{"preset":"concise","kept":true}}\n\n'
        "data: [DONE]\n\n"
    )  # fmt: skip


def test_a_whole_reply_is_openais() -> None:
    body = writer(stream=False).whole([make_outcome(), make_outcome(1, finish="length")], SPENT, RECEIPT)
    Completion.model_validate_json(body, strict=True)
    document = msgspec.json.decode(body)
    assert document["choices"][0] == {
        "index": 0,
        "text": "4",
        "logprobs": None,
        "finish_reason": "stop",
        "reasoning": "hmm",
        "reasoning_content": "hmm",
    }
    assert [choice["finish_reason"] for choice in document["choices"]] == ["stop", "length"]
    assert document["usage"]["completion_tokens_details"] == {"reasoning_tokens": 20}
    assert document["taut"] == RECEIPT


def test_hidden_thinking_is_not_sent() -> None:
    write = writer(wish=Wish(exclude=True))
    assert b"secret" not in full_stream(write, Piece("thinking", "secret"), Piece("answer", "4"), thinking="secret")
    assert b"secret" not in write.whole([make_outcome(thinking="secret")], SPENT, RECEIPT)


def test_tool_calls_have_no_place_here() -> None:
    write = writer()
    assert write.pieces(0, [Piece("answer", "", tool_calls=({"index": 0, "id": "x"},))]) == b""
    assert events(full_stream(write, tool_calls=(CALL,)))[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_failure_is_an_error_event_and_the_end_mark() -> None:
    (event,) = events(writer().fail(Problem("too slow", status=504, code="timeout_error"), SPENT, RECEIPT))
    assert (event["error"]["type"], event["error"]["code"], event["taut"]) == ("timeout_error", "504", RECEIPT)


@given(texts=st.lists(TEXTS))
def test_any_text_survives(texts: list[str]) -> None:
    write = writer()
    stream = write.pieces(0, [Piece("answer", text) for text in texts])
    found = events(stream + b"data: [DONE]\n\n")
    assert "".join(event["choices"][0]["text"] for event in found) == "".join(texts)
    assert len(found) <= 1


@pytest.mark.parametrize("include_usage", [True, False])
async def test_openais_client_reads_a_stream(include_usage: bool) -> None:
    write = writer(include_usage=include_usage)
    pieces = (Piece("thinking", "hm"), Piece("answer", "4"), Piece("answer", "2"))
    stream = write.keep_alive("waiting") + full_stream(write, *pieces)
    # The type has no null as a reason to finish, which OpenAI's own server sends until the end.
    Completion.model_validate(events(stream)[-1])
    async with (
        serving("/v1/completions", stream, content_type=write.content_type) as url,
        openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as client,
    ):
        reply = await client.completions.create(model="m", prompt="2+2", stream=True)
        chunks = [chunk async for chunk in reply]
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "42"
    assert chunks[-1].model_extra == {"taut": RECEIPT}
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == ([41] if include_usage else [])
