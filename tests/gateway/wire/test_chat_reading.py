"""Chat requests are understood, or refused by the name of the field."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taut.core import Sampling
from taut.gateway.nouns import Ask, Options, Problem, Wish
from taut.gateway.wire import chat
from taut.gateway.wire._fields import ROLES

from .made import CALL

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
MESSAGES = [{"role": "user", "content": "hi"}]


def read(**fields: Any) -> Ask:
    return chat.read({"model": "m", "messages": MESSAGES, **fields})


def test_every_sampling_field_is_read() -> None:
    ask = read(
        max_tokens=100,
        temperature=0,
        top_p=0.9,
        top_k=40.0,
        min_p=0.05,
        seed=-7,
        stop=["a", "b"],
        n=2,
        stream=True,
        stream_options={"include_usage": True},
    )
    assert ask.sampling == Sampling(100, 0.0, 0.9, 40, 0.05, -7, ("a", "b"))
    assert (ask.protocol, ask.model, ask.n, ask.stream, ask.include_usage) == ("chat", "m", 2, True, True)
    assert ask.messages == ({"role": "user", "content": "hi"},)


def test_what_is_missing_or_null_is_left_to_the_engine() -> None:
    names = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "n")
    nulls = dict.fromkeys((*names, "stream", "stream_options", "taut"))
    for ask in (read(), read(**nulls)):
        assert ask.sampling == Sampling()
        assert (ask.n, ask.stream, ask.include_usage, ask.options, ask.wish) == (1, False, False, Options(), Wish())


def test_max_completion_tokens_is_the_same_as_max_tokens() -> None:
    assert read(max_completion_tokens=5).sampling.max_tokens == 5
    assert read(max_completion_tokens=5, max_tokens=5).sampling.max_tokens == 5


def test_fields_that_are_not_read_pass_through_untouched() -> None:
    passed: dict[str, Any] = {
        "tools": [{"type": "function", "function": {"name": "add"}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "logit_bias": {"5": 1},
        "user": "u",
        "whatever": None,
        "chat_template_kwargs": {"documents": []},
    }
    ask = read(**passed, reasoning_effort="low", taut={"receipt": True}, stream=True, stop="x")
    assert ask.sampling.extra == passed
    assert ask.wish == Wish("reasoning_effort", "low", effort="low")
    assert ask.document["reasoning_effort"] == "low"


def test_a_suffix_of_the_model_is_a_wish() -> None:
    ask = chat.read({"model": "small(512)", "messages": MESSAGES})
    assert (ask.model, ask.wish) == ("small(512)", Wish("model suffix", 512, 512))


def test_the_taut_field_is_read() -> None:
    ask = read(taut={"preset": "concise", "deadline_s": 2, "receipt": True})
    assert ask.options == Options("concise", 2.0, True)


def test_messages_stay_as_they_are() -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [CALL]},
        {"role": "tool", "content": "2", "tool_call_id": "call_1"},
        {"role": "assistant", "reasoning": "hm", "tool_calls": [CALL]},
        {"role": "function", "name": "f", "content": ""},
    ]
    assert chat.read({"model": "m", "messages": messages}).messages == tuple(messages)


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"model": None}, "model", "GET /v1/models"),
        ({"model": 3}, "model", "a string, not 3"),
        ({"messages": []}, "messages", "at least one message, not an empty list"),
        ({"messages": "hi"}, "messages", "a list of at least one message"),
        ({"messages": ["hi"]}, "messages[0]", "an object with role and content"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "one of system"),
        ({"messages": [{"role": "usr", "content": "x"}]}, "messages[0].role", "did you mean 'user'"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "not 5"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]", "an object such as"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type", "a string"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "a string"),
        ({"max_tokens": 0}, "max_tokens", "from 1 to"),
        ({"max_tokens": "100"}, "max_tokens", "a whole number"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens", "6 and max_tokens is 5"),
        ({"temperature": -1}, "temperature", "from 0 to 100, not -1"),
        ({"temperature": True}, "temperature", "not true"),
        ({"temperature": float("inf")}, "temperature", "a number"),
        ({"temperature": 10**400}, "temperature", "not a number so large"),
        ({"top_p": 1.5}, "top_p", "from 0 to 1, not 1.5"),
        ({"top_k": -2}, "top_k", "from -1"),
        ({"min_p": "x" * 50}, "min_p", "…"),
        ({"seed": 2**63}, "seed", "whole number"),
        ({"seed": 1.5}, "seed", "whole number"),
        ({"stop": [""]}, "stop", "a string that is not empty"),
        ({"stop": 5}, "stop", "a list of such"),
        ({"n": 0}, "n", "of at least 1, not 0"),
        ({"stream": "yes"}, "stream", "true or false"),
        ({"stream_options": True}, "stream_options", "an object"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "true or false"),
        ({"taut": "concise"}, "taut", "an object"),
        ({"taut": {"presets": "x"}}, "taut.presets", "did you mean 'preset'"),
        ({"taut": {"deadline_s": 0}}, "taut.deadline_s", "above 0"),
        ({"taut": {"receipt": "yes"}}, "taut.receipt", "true or false"),
        ({"reasoning_effort": "hihg"}, "reasoning_effort", "did you mean 'high'"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(Problem) as caught:
        read(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields", [{"logprobs": True}, {"top_logprobs": 3}, {"prompt_logprobs": 0}, {"echo": True}, {"best_of": 3}]
)
def test_presets_refuse_what_only_one_call_can_give(fields: dict[str, Any]) -> None:
    ask = read(**fields)
    with pytest.raises(Problem, match="ask for the engine's own model") as caught:
        chat.refuse_for_presets(ask)
    assert caught.value.param == next(iter(fields))


def test_presets_accept_a_field_that_asks_for_nothing() -> None:
    chat.refuse_for_presets(read(logprobs=False, top_logprobs=None, best_of=1, echo=False))


FIELD_NAMES = ("messages", "max_tokens", "temperature", "top_k", "seed", "stop", "n", "stream_options", "taut", "think")


@given(
    st.dictionaries(
        st.sampled_from(FIELD_NAMES),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from(ROLES),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(("role", "content", "type")), inner),
            max_leaves=5,
        ),
    )
)
def test_no_body_brings_reading_down(fields: dict[str, Any]) -> None:
    try:
        ask = read(**fields)
    except Problem as problem:
        msgspec.json.encode(chat.problem(problem))
    else:
        assert ask.n >= 1
