"""``/v1/responses``: what is understood, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taut.gateway.nouns import Ask, Problem
from taut.gateway.wire.responses import Writer, problem, read
from tests.gateway.wire.replies import HEAD, events, read_or_problem, spoilt


def ask(**fields: Any) -> Ask:
    return read({"model": "budget(512)", "input": "2+2?", "stream": True, **fields})


def refused(**fields: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        ask(**fields)
    return caught.value


def test_a_string_is_a_user_message_and_instructions_come_first() -> None:
    assert ask(instructions="Be short.").messages == (
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "2+2?"},
    )


def test_items_become_chat_messages() -> None:
    items = [
        {"role": "developer", "content": "Be short."},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look it up."}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": ""},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "2"}]},
    ]
    assert ask(input=items).messages == (
        {"role": "developer", "content": "Be short."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": "I look it up.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
    )


def test_reading_leaves_the_document_as_it_was() -> None:
    items = [
        {"role": "assistant", "content": "x"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    ]
    document = {"model": "m", "input": items}
    before = json.dumps(document)
    read(document)
    assert json.dumps(document) == before


def test_tools_choice_and_format_take_the_chat_form() -> None:
    schema = {"type": "object", "properties": {}}
    extra = ask(
        tools=[{"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": True}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}, "verbosity": "low"},
    ).sampling.extra
    assert extra == {
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": schema, "strict": True},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}},
        "verbosity": "low",
    }


def test_only_the_allowed_tools_are_shown_to_the_model() -> None:
    extra = ask(
        tools=[{"type": "function", "name": name, "parameters": {}} for name in ("f", "g")],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]},
    ).sampling.extra
    assert [tool["function"]["name"] for tool in extra["tools"]] == ["g"]
    assert extra["tool_choice"] == "required"


def test_sampling_is_read_and_unknown_fields_pass_through() -> None:
    asked = ask(max_output_tokens=99, temperature=0.5, top_p=0.9, top_k=20, user="u", top_secret={"a": 1}, store=True)
    sampling = asked.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.top_k) == (99, 0.5, 0.9, 20)
    assert sampling.extra == {"user": "u", "top_secret": {"a": 1}}
    assert (asked.protocol, asked.stream, asked.n) == ("responses", True, 1)


def test_every_dialect_of_a_budget_is_read() -> None:
    assert ask(model="budget", reasoning={"effort": "low", "summary": "auto"}).wish.effort == "low"
    assert ask(model="budget", thinking_budget=77).wish.budget_tokens == 77
    assert ask(reasoning={"effort": "low"}).wish.budget_tokens == 512
    assert "reasoning" not in ask(reasoning={"effort": "low", "summary": "auto"}).sampling.extra


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "nothing is stored"),
        ({"conversation": {"id": "c"}}, "conversation", "whole conversation"),
        ({"background": True}, "background", "nothing is stored"),
        ({"prompt": {"id": "p"}}, "prompt", "nothing is stored"),
        ({"messages": []}, "messages", "input"),
        ({"n": 2}, "n", "/v1/chat/completions"),
        ({"input": []}, "input", "at least one item"),
        ({"input": None}, "input", "a string that is not empty"),
        ({"input": [{"type": "reasoning"}]}, "input", "reasoning items only"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]", "send the item itself"),
        ({"input": [{"type": "mesage", "role": "user", "content": "x"}]}, "input[0].type", "did you mean 'message'"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", "one of user, assistant"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content", "a string or a list"),
        ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, "input[0].content[0].type", "input_text"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0]",
            "no files are stored",
        ),
        (
            {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
            "input[0].call_id",
            "a string that is not empty",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "only 'function' is possible"),
        ({"tools": "f"}, "tools", "a list of functions"),
        ({"tools": [{"type": "function", "parameters": {}}]}, "tools[0].name", "a string"),
        ({"tool_choice": "any"}, "tool_choice", "auto, none, required"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "json_schema"),
        ({"max_output_tokens": 0}, "max_output_tokens", "from 1"),
        ({"include": ["message.output_text.logprobs"]}, "include", "/v1/chat/completions"),
        ({"include": 5}, "include", "a list of strings"),
        ({"reasoning": 5}, "reasoning", "an object"),
        ({"stream": "yes"}, "stream", "true or false"),
        ({"taut": {"presett": "x"}}, "taut.presett", "did you mean 'preset'"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(fields: dict[str, Any], param: str, says: str) -> None:
    found = refused(**fields)
    assert (found.status, found.param) == (400, param)
    assert says in str(found)


EVERYTHING: dict[str, Any] = {
    "model": "budget(512)",
    "instructions": "x",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "u", "detail": "low"},
                {"type": "input_file", "file_data": "x", "filename": "n"},
                {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
            ],
        },
        {"type": "reasoning", "id": "r", "summary": []},
        {"role": "assistant", "content": [{"type": "output_text", "text": "t"}, {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "1"}]},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True, "description": "d"}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "metadata": {"a": "b"},
    "include": ["reasoning.encrypted_content"],
    "parallel_tool_calls": True,
    "max_output_tokens": 5,
    "stop": ["a"],
    "n": 1,
    "store": True,
    "stream": True,
    "taut": {"preset": "x"},
}


def test_no_odd_value_anywhere_is_more_than_a_problem_that_names_its_field() -> None:
    for document in spoilt(EVERYTHING):
        found = read_or_problem(read, document)
        assert found.param if isinstance(found, Problem) else events(Writer(HEAD, found).begin())


def test_a_problem_is_an_error_in_openais_form() -> None:
    error = problem(refused(background=True))["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", "background")
