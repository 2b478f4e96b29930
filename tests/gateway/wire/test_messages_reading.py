"""``/v1/messages``: what is understood, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from taut.gateway.nouns import Ask, Problem
from taut.gateway.wire.messages import Writer, problem, read
from tests.gateway.wire.replies import HEAD, events, read_or_problem, spoilt

QUESTION = [{"role": "user", "content": "2+2?"}]


def ask(**fields: Any) -> Ask:
    return read({"model": "budget(512)", "max_tokens": 2000, "messages": QUESTION, "stream": True, **fields})


def refused(**fields: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        ask(**fields)
    return caught.value


def test_system_and_blocks_become_chat_messages() -> None:
    asked = ask(
        system=[
            {"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Be kind."},
        ],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "I have to look.", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "text", "text": "I look it up."},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"q": 1}},
                    {"type": "tool_use", "id": "b", "name": "g", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "b",
                        "is_error": True,
                        "content": [{"type": "text", "text": "no such key"}],
                    },
                    {"type": "text", "text": "And now?"},
                ],
            },
            {"role": "assistant", "content": "Now"},
        ],
    )
    assert asked.messages == (
        {"role": "system", "content": "Be short.\n\nBe kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": "I look it up.",
            "reasoning_content": "I have to look.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"q":1}'}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "Error:\nno such key"},
        {"role": "user", "content": "And now?"},
        {"role": "assistant", "content": "Now"},
    )


def test_an_assistant_that_only_calls_has_no_content() -> None:
    blocks = [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]
    message = ask(messages=[*QUESTION, {"role": "assistant", "content": blocks}]).messages[-1]
    assert message["content"] is None


def test_a_tool_result_may_be_empty() -> None:
    blocks = [{"type": "tool_result", "tool_use_id": "a"}]
    assert ask(messages=[{"role": "user", "content": blocks}]).messages == (
        {"role": "tool", "tool_call_id": "a", "content": ""},
    )


def test_a_text_document_is_text() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Once upon a time"}
    blocks = [{"type": "document", "title": "Tale", "source": source}]
    assert ask(messages=[{"role": "user", "content": blocks}]).messages[0]["content"] == "Tale\n\nOnce upon a time"


def test_tools_take_the_chat_form() -> None:
    schema = {"type": "object", "properties": {}}
    tools = [
        {"name": "f", "description": "d", "input_schema": schema, "cache_control": {"type": "ephemeral"}},
        {"type": "custom", "name": "g", "input_schema": schema, "strict": True},
    ]
    extra = ask(tools=tools, tool_choice={"type": "auto", "disable_parallel_tool_use": True}).sampling.extra
    assert extra == {
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}},
            {"type": "function", "function": {"name": "g", "strict": True, "parameters": schema}},
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    }


@pytest.mark.parametrize(
    ("given", "chat"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_every_tool_choice_has_a_chat_form(given: dict[str, Any], chat: Any) -> None:
    assert ask(tool_choice=given).sampling.extra == {"tool_choice": chat}


def test_sampling_is_read_and_unknown_fields_pass_through() -> None:
    asked = ask(
        temperature=0.5,
        top_p=0.9,
        top_k=20,
        stop_sequences=["END"],
        metadata={"user_id": "u"},
        service_tier="auto",
        context_management={"edits": []},
        top_secret={"a": 1},
    )
    sampling = asked.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.top_k) == (2000, 0.5, 0.9, 20)
    assert sampling.stop == ("END",)
    assert sampling.extra == {"user": "u", "top_secret": {"a": 1}}
    assert (asked.protocol, asked.stream, asked.n) == ("messages", True, 1)


def test_an_output_format_is_a_response_format() -> None:
    schema = {"type": "object", "properties": {}}
    form = {"type": "json_schema", "schema": schema}
    wanted = {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}
    assert ask(output_config={"effort": "low", "format": form}).sampling.extra == wanted
    assert ask(output_format=form).sampling.extra == wanted


def test_budgets_are_read_and_1024_is_no_minimum() -> None:
    asked = ask(model="budget", thinking={"type": "enabled", "budget_tokens": 100})
    assert asked.wish.budget_tokens == 100
    assert asked.sampling.extra == {}
    assert ask(model="budget", thinking={"type": "disabled"}).wish.think is False
    adaptive = ask(model="budget", thinking={"type": "adaptive"}, output_config={"effort": "high"})
    assert (adaptive.wish.effort, adaptive.sampling.extra) == ("high", {})
    assert ask(thinking={"type": "adaptive", "display": "omitted"}).wish.exclude


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"max_tokens": None}, "max_tokens", "this protocol needs it"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "thinking.budget_tokens", "below max_tokens"),
        ({"messages": []}, "messages", "at least one message"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "user, assistant, system"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "a string or a list"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]", "an object"),
        (
            {"messages": [{"role": "user", "content": [{"type": "imag"}]}]},
            "messages[0].content[0].type",
            "did you mean 'image'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]},
            "messages[0].content[0].source.type",
            "no files are stored",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "base64"}}]}]},
            "messages[0].content[0].source.type",
            "not converted",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "input": {}}]}]},
            "messages[0].content[0].name",
            "a string",
        ),
        ({"system": [{"type": "image"}]}, "system[0].type", "one of text"),
        ({"tools": [{"type": "web_search_20250305", "name": "s"}]}, "tools[0].type", "no tools are run here"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema", "an object"),
        ({"tool_choice": {"type": "all"}}, "tool_choice.type", "auto, any, none, tool"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name", "a string"),
        ({"mcp_servers": [{}]}, "mcp_servers", "no tools are run here"),
        ({"n": 2}, "n", "/v1/chat/completions"),
        ({"stop_sequences": 5}, "stop_sequences", "a list"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type", "json_schema"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id", "a string"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(fields: dict[str, Any], param: str, says: str) -> None:
    found = refused(**fields)
    assert (found.status, found.param) == (400, param)
    assert says in str(found)


EVERYTHING: dict[str, Any] = {
    "model": "budget(512)",
    "max_tokens": 2000,
    "system": [{"type": "text", "text": "a"}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "x"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}},
                {"type": "document", "title": "t", "source": {"type": "text", "data": "x"}},
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "is_error": True,
                    "content": [{"type": "text", "text": "x"}],
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "x", "signature": ""},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"a": 1}},
                {"type": "text", "text": "x"},
            ],
        },
        {"role": "system", "content": "x"},
    ],
    "tools": [{"name": "f", "input_schema": {}, "description": "d", "type": "custom"}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 5, "display": "omitted"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["x"],
    "top_k": 5,
    "n": 1,
    "stream": True,
    "taut": {"deadline_s": 5},
    "mcp_servers": [],
}


def test_no_odd_value_anywhere_is_more_than_a_problem_that_names_its_field() -> None:
    for document in spoilt(EVERYTHING):
        found = read_or_problem(read, document)
        assert found.param if isinstance(found, Problem) else events(Writer(HEAD, found).begin())


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "authentication_error", "authentication_error"),
        (403, "permission_error", "permission_error"),
        (404, "not_found_error", "not_found_error"),
        (413, "invalid_request_error", "request_too_large"),
        (429, "rate_limit_error", "rate_limit_error"),
        (500, "server_error", "api_error"),
        (502, "upstream_error", "api_error"),
        (503, "overloaded_error", "overloaded_error"),
        (504, "timeout_error", "timeout_error"),
    ],
)
def test_a_problem_has_anthropics_name(status: int, code: str, kind: str) -> None:
    body = problem(Problem("So it is.", status=status, code=code))
    assert body == {"type": "error", "error": {"type": kind, "message": "So it is."}}
