"""What is sent: routes, the thinking switch, continued turns and budgets, in each server's own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from taut.core import Prompt, Request, Sampling, Turn
from taut.dialects import Dialect, Switch, by_name
from taut.engines._look import Seen, offered
from taut.engines._plan import Plan, Planner, Route
from taut.engines._render import Messages
from taut.engines._servers import SERVERS, by_kind
from taut.errors import EngineError

QUESTION: Messages = ({"role": "user", "content": "2+3?"},)
TAGS = Dialect(
    "test", "<think>\n", "\n</think>\n\n", open_tags=("<think>",), close_tags=("</think>",), chat_prefill=True
)
OFF_BY_KWARG = replace(TAGS, off=Switch("template_kwarg", "enable_thinking", False))


async def render(messages: Messages, variables: Mapping[str, Any]) -> str:
    text = "".join(f"[{m['role']}]{m['content']}" for m in messages) + "[assistant]"
    return text + ("<think>\n\n</think>\n\n" if variables.get("enable_thinking") is False else "")


def planner(
    kind: str, dialect: Dialect = TAGS, route: Route = "auto", *, renders: bool = False, **more: Any
) -> Planner:
    server = by_kind(kind)
    lent = render if renders else None
    given = more.pop("offers", offered(Seen(server, "m", dialect, lent), route))
    return Planner(server, dialect, "m", route, given, render=lent, **more)


async def plan(planner: Planner, *, turn: Turn = Turn(), think: bool | None = None, **request: Any) -> Plan:
    return await planner.plan(Request(Prompt(QUESTION, turn, think), **request))


def body_of(plan: Plan) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(plan.body)
    return body


async def refusal(planner: Planner, **options: Any) -> str:
    with pytest.raises(EngineError) as caught:
        await plan(planner, **options)
    assert caught.value.kind == "refused"
    return str(caught.value)


async def test_an_empty_turn_goes_over_the_chat_route_and_a_begun_one_raw() -> None:
    both = planner("llamacpp", renders=True)
    assert (await plan(both)).path == "/chat/completions"
    begun = await plan(both, turn=Turn(thinking="Well"))
    assert begun.path == "/completions"
    assert body_of(begun)["prompt"] == "[user]2+3?[assistant]<think>\nWell"
    assert begun.start == "thinking"


async def test_a_closed_turn_goes_on_with_the_answer() -> None:
    closed = await plan(planner("llamacpp", renders=True), turn=Turn(thinking="Well", closed=True, answer="It is"))
    assert body_of(closed)["prompt"] == "[user]2+3?[assistant]<think>\nWell\n</think>\n\nIt is"
    assert closed.start == "answer"


async def test_the_route_can_be_forced() -> None:
    assert (await plan(planner("llamacpp", route="raw", renders=True))).path == "/completions"
    chat = await plan(planner("llamacpp", route="chat", renders=True), turn=Turn(thinking="Well"))
    assert body_of(chat)["messages"][-1] == {"role": "assistant", "content": "<think>\nWell"}


@pytest.mark.parametrize(
    ("kind", "message", "fields"),
    [
        ("llamacpp", {}, {}),
        ("ollama", {}, {}),
        ("vllm", {}, {"continue_final_message": True, "add_generation_prompt": False}),
        ("sglang", {}, {"continue_final_message": True, "add_generation_prompt": False}),
        ("mistral", {"prefix": True}, {}),
        ("deepseek", {"prefix": True}, {}),
    ],
)
async def test_each_server_continues_a_message_in_its_own_way(
    kind: str, message: dict[str, Any], fields: dict[str, Any]
) -> None:
    sent = await plan(planner(kind, route="chat"), turn=Turn(thinking="Well"))
    body = body_of(sent)
    assert body["messages"][-1] == {"role": "assistant", "content": "<think>\nWell", **message}
    assert {key: body[key] for key in fields} == fields
    assert sent.base == ("/beta" if kind == "deepseek" else "")


async def test_a_server_that_cannot_continue_refuses_in_a_sentence() -> None:
    assert "continue a turn" in await refusal(planner("openai"), turn=Turn(thinking="Well"))


async def test_a_template_that_rewrites_thinking_is_not_given_any() -> None:
    rewriting = replace(TAGS, chat_prefill=False)
    assert "chat_template" in await refusal(planner("sglang", rewriting), turn=Turn(thinking="Well"))


@pytest.mark.parametrize("kind", SERVERS)
async def test_every_server_gets_a_stream_and_the_sampling(kind: str) -> None:
    sampling = Sampling(max_tokens=9, temperature=0.5, top_p=0.9, seed=7, stop=("X",), extra={"top_a": 1})
    body = body_of(await plan(planner(kind), sampling=sampling))
    wanted = {"model": "m", "stream": True, "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["X"], "top_a": 1}
    assert {key: body[key] for key in wanted} == wanted
    assert body["max_completion_tokens" if kind == "openai" else "max_tokens"] == 9
    assert not {"top_k", "min_p", "logprobs"} & body.keys()


async def test_log_probabilities_are_asked_for_in_the_form_of_the_route() -> None:
    both = planner("vllm", renders=True)
    chat = body_of(await plan(both, top_logprobs=5))
    raw = body_of(await plan(both, turn=Turn(thinking="W"), top_logprobs=5, sampling=Sampling(max_tokens=1)))
    assert (chat["logprobs"], chat["top_logprobs"]) == (True, 5)
    assert (raw["logprobs"], "top_logprobs" in raw) == (5, False)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("llamacpp", {"timings_per_token": True, "stream_options": {"include_usage": True}}),
        ("vllm", {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
        ("hosted", {"stream_options": {"include_usage": True}}),
    ],
)
async def test_counts_are_asked_for_in_each_servers_way(kind: str, fields: dict[str, Any]) -> None:
    body = body_of(await plan(planner(kind)))
    assert {key: body.get(key) for key in fields} == fields


async def test_special_tokens_appear_in_raw_text_only_where_tags_are_looked_for() -> None:
    limit = Sampling(max_tokens=5)
    for kind, field, value in [
        ("llamacpp", "preserved_tokens", ["</think>", "<think>"]),
        ("vllm", "skip_special_tokens", False),
    ]:
        tagged = body_of(await plan(planner(kind, route="raw", renders=True), sampling=limit))
        plain = body_of(await plan(planner(kind, by_name("plain"), route="raw", renders=True), sampling=limit))
        assert tagged[field] == value
        assert field not in plain


async def test_harmony_tags_are_named_token_by_token() -> None:
    body = body_of(await plan(planner("llamacpp", by_name("gpt_oss"), route="raw", renders=True)))
    assert {"<|channel|>", "<|message|>", "<|end|>", "<|start|>"} <= set(body["preserved_tokens"])


async def test_tools_and_pictures_stay_on_the_chat_route() -> None:
    turn, limit = Turn(thinking="W"), Sampling(max_tokens=5, extra={"tools": [{"type": "function"}]})
    assert (await plan(planner("llamacpp", renders=True), turn=turn, sampling=limit)).path == "/chat/completions"
    assert "tools" in await refusal(planner("llamacpp", route="raw", renders=True), turn=turn, sampling=limit)
    picture = ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},)
    forced = planner("llamacpp", route="raw", renders=True)
    with pytest.raises(EngineError, match="parts other than text"):
        await forced.plan(Request(Prompt(picture)))


SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}}
SUM_FORMAT = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("kind", "asked", "sent"),
    [
        ("vllm", SUM_FORMAT, {"response_format": SUM_FORMAT}),
        ("llamacpp", SUM_FORMAT, {"json_schema": SCHEMA}),
        ("llamacpp", {"type": "json_object"}, {"json_schema": {"type": "object"}}),
        ("llamacpp", {"type": "json_object", "schema": SCHEMA}, {"json_schema": SCHEMA}),
        ("llamacpp", {"type": "text"}, {}),
    ],
)
async def test_a_raw_completion_is_asked_for_the_form_in_the_servers_own_way(
    kind: str, asked: dict[str, Any], sent: dict[str, Any]
) -> None:
    closed = Turn(thinking="W", closed=True)
    limit = Sampling(max_tokens=5, extra={"response_format": asked})
    raw = await plan(planner(kind, renders=True), turn=closed, sampling=limit)
    names = {"response_format", "json_schema"}
    assert raw.path == "/completions"
    assert {key: value for key, value in body_of(raw).items() if key in names} == sent
    chat = await plan(planner(kind, renders=True), sampling=limit)
    assert body_of(chat)["response_format"] == asked


async def test_a_server_without_forms_for_raw_completions_gets_them_on_the_chat_route() -> None:
    formed = Sampling(max_tokens=5, extra={"response_format": SUM_FORMAT})
    closed = await plan(planner("ollama", renders=True), turn=Turn(thinking="W", closed=True), sampling=formed)
    assert closed.path == "/chat/completions"
    assert body_of(closed)["response_format"] == SUM_FORMAT
    assert "response_format" in await refusal(planner("ollama", route="raw", renders=True), sampling=formed)


@pytest.mark.parametrize("wrong", ["json", {"type": "json_schema"}, {"type": "grammar"}])
async def test_a_form_that_cannot_be_sent_is_refused_and_never_dropped_in_silence(wrong: Any) -> None:
    formed = Sampling(extra={"response_format": wrong})
    assert "response_format must be" in await refusal(planner("llamacpp", route="raw", renders=True), sampling=formed)


async def test_a_raw_completion_needs_a_limit_where_the_server_has_a_small_one() -> None:
    assert "max_tokens" in await refusal(planner("hosted", route="raw", renders=True))


# --- the switch ---


async def test_a_template_variable_switches_on_both_routes() -> None:
    both = planner("vllm", OFF_BY_KWARG, renders=True)
    chat = await plan(both, think=False)
    assert body_of(chat)["chat_template_kwargs"] == {"enable_thinking": False}
    assert (chat.start, chat.is_closed) == ("answer", True)
    raw = await plan(replace(both, route="raw"), think=False, sampling=Sampling(max_tokens=5))
    assert body_of(raw)["prompt"].endswith("<think>\n\n</think>\n\n")
    assert raw.start == "answer"


async def test_the_users_own_template_variables_are_kept() -> None:
    both = planner("vllm", OFF_BY_KWARG, renders=True, body={"chat_template_kwargs": {"tone": "dry"}})
    assert body_of(await plan(both, think=False))["chat_template_kwargs"] == {"tone": "dry", "enable_thinking": False}
    assert body_of(await plan(both))["chat_template_kwargs"] == {"tone": "dry"}


async def test_effort_goes_into_the_body_and_into_the_template() -> None:
    effort = replace(TAGS, off=Switch("effort", "reasoning_effort", "low"))
    body = body_of(await plan(planner("vllm", effort), think=False))
    assert (body["reasoning_effort"], body["chat_template_kwargs"]) == ("low", {"reasoning_effort": "low"})
    assert "chat_template_kwargs" not in body_of(await plan(planner("openai", effort), think=False))


async def test_a_switch_in_words_is_added_to_the_messages() -> None:
    system = replace(TAGS, off=Switch("system", value="/no_think"), on=Switch("user_suffix", value="/think"))
    assert body_of(await plan(planner("sglang", system), think=False))["messages"] == [
        {"role": "system", "content": "/no_think"},
        *QUESTION,
    ]
    assert body_of(await plan(planner("sglang", system), think=True))["messages"] == [
        {"role": "user", "content": "2+3? /think"}
    ]


async def test_without_a_switch_the_thought_is_given_as_closed() -> None:
    body = body_of(await plan(planner("llamacpp", renders=True), think=False))
    assert body["prompt"] == "[user]2+3?[assistant]<think>\n\n</think>\n\n"


async def test_without_a_switch_and_without_prefill_it_is_refused() -> None:
    assert "no switch" in await refusal(planner("hosted"), think=False)


async def test_a_servers_own_switch_comes_first_on_the_chat_route() -> None:
    assert body_of(await plan(planner("ollama", OFF_BY_KWARG), think=False))["reasoning_effort"] == "none"
    assert body_of(await plan(planner("openrouter", OFF_BY_KWARG), think=False))["reasoning"] == {"enabled": False}


async def test_a_plain_model_has_nothing_to_switch() -> None:
    plain = planner("hosted", by_name("plain"))
    assert body_of(await plan(plain, think=False)) == body_of(await plan(plain))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("vllm", {"thinking_token_budget": 64}),
        ("llamacpp", {"thinking_budget_tokens": 64, "reasoning_budget_tokens": 64}),
        ("sglang", {"custom_params": {"thinking_budget": 64}}),
        ("openrouter", {"reasoning": {"max_tokens": 64}}),
    ],
)
async def test_a_thinking_budget_goes_into_each_servers_field(kind: str, fields: dict[str, Any]) -> None:
    budgeted = planner(kind, offers=frozenset({"thinking_budget"}))
    body = body_of(await plan(budgeted, thinking_budget_tokens=64))
    assert {key: body[key] for key in fields} == fields


async def test_a_budget_inside_a_given_field_leaves_the_users_own_as_it_is() -> None:
    own = {"custom_params": {"a": 1}}
    budgeted = planner("sglang", offers=frozenset({"thinking_budget"}), body=own)
    body = body_of(await plan(budgeted, thinking_budget_tokens=64))
    assert body["custom_params"] == {"a": 1, "thinking_budget": 64}
    assert own == {"custom_params": {"a": 1}}


async def test_a_budget_that_is_not_offered_is_refused_and_never_dropped_in_silence() -> None:
    assert "thinking budget" in await refusal(planner("vllm"), thinking_budget_tokens=64)
