"""The OpenAPI description is valid, and says what is true."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import aiohttp
import jsonschema_rs
import pytest
import schemathesis

from taut.engines.fake import FakeEngine
from taut.gateway import wishes
from taut.gateway.bounds import check_limits
from taut.gateway.nouns import Problem
from taut.gateway.openapi import description
from taut.gateway.settings import Settings, read_settings
from taut.gateway.wire import chat, completions, messages, responses
from taut.gateway.wishes import read_wish
from tests.gateway.conftest import Serve, running

QUESTION = [{"role": "user", "content": "1 + 2?"}]
LEAST: dict[str, tuple[ModuleType, dict[str, Any]]] = {
    "ChatRequest": (chat, {"model": "direct", "messages": QUESTION}),
    "CompletionRequest": (completions, {"model": "direct", "prompt": "1 + 2?"}),
    "ResponseRequest": (responses, {"model": "direct", "input": "1 + 2?"}),
    "MessageRequest": (messages, {"model": "direct", "messages": QUESTION, "max_tokens": 100}),
}
REFERENCE = "#/components/schemas/"


def described(*, has_keys: bool = False, **settings: Any) -> dict[str, Any]:
    found: Any = description(read_settings({}, settings, "test"), has_keys=has_keys)
    assert isinstance(found, dict)
    return found


def validator(name: str, **settings: Any) -> jsonschema_rs.Draft202012Validator:
    document = described(**settings)
    return jsonschema_rs.Draft202012Validator({**document, "$ref": f"{REFERENCE}{name}"})


def is_read(wire: ModuleType, body: dict[str, Any]) -> bool:
    try:
        check_limits(body, Settings().limits)
        wire.read(body)
    except Problem:
        return False
    return True


@pytest.mark.parametrize("has_keys", [False, True])
def test_the_description_is_valid_openapi(has_keys: bool) -> None:
    schemathesis.openapi.from_dict(described(has_keys=has_keys)).validate()


def test_every_operation_can_be_generated_from() -> None:
    operations: Any = schemathesis.openapi.from_dict(described()).get_all_operations()
    labels = {result.ok().label for result in operations}
    assert labels == {
        "POST /v1/chat/completions",
        "POST /v1/completions",
        "POST /v1/responses",
        "POST /v1/messages",
        "GET /v1/models",
        "GET /v1/models/{name}",
        "POST /v1/requests/{id}/answer_now",
        "GET /health",
        "GET /metrics",
        "GET /openapi.json",
    }


async def test_every_described_path_is_served_and_every_other_one_is_an_alias_or_the_page() -> None:
    async with running(FakeEngine()) as (_, one):
        served = {route.resource.canonical for route in one.app.router.routes() if route.resource is not None}
    told = set(described()["paths"])
    assert told <= {path.replace("{name:.+}", "{name}") for path in served}
    aliases = {path.removeprefix("/v1") for path in told}
    assert served - told - aliases == {"/", "/live", "/live/answer_now/{id}"}


async def test_it_is_served(serve: Serve) -> None:
    async with serve(FakeEngine()) as url, aiohttp.ClientSession() as http, http.get(f"{url}/openapi.json") as reply:
        assert reply.content_type == "application/json"
        assert await reply.json() == described()


@pytest.mark.parametrize("name", LEAST)
def test_the_smallest_request_is_allowed_by_the_description_and_read(name: str) -> None:
    wire, body = LEAST[name]
    assert validator(name).is_valid(body)
    assert is_read(wire, body)


@pytest.mark.parametrize("name", LEAST)
def test_a_request_without_a_needed_field_is_refused_by_both(name: str) -> None:
    wire, body = LEAST[name]
    for field in described()["components"]["schemas"][name]["required"]:
        less = {key: value for key, value in body.items() if key != field}
        assert not validator(name).is_valid(less)
        assert not is_read(wire, less)


def edges(schema: dict[str, Any]) -> list[Any]:
    """Values at and beyond the edges of a schema, of every kind of JSON."""
    numbers = [schema[key] for key in ("minimum", "maximum", "exclusiveMinimum") if key in schema]
    around = [value for number in numbers for value in (number, number - 1, number + 1)]
    inner = [value for part in schema.get("anyOf", ()) for value in edges(part)]
    words = [*schema.get("enum", ()), "no such word", "", "text"]
    return [*around, *inner, *words, None, True, False, 0.5, 3, [], ["text"], [""], [1], {}]


LOOSE = {
    # The description cannot say what holds only together with other fields, or only for presets.
    "ChatRequest": set[str](),
    "CompletionRequest": {"prompt", "tools"},
    "ResponseRequest": {"tool_choice", "text"},
    "MessageRequest": {"tool_choice", "output_config", "thinking"},
}


@pytest.mark.parametrize("name", LEAST)
def test_every_described_field_is_read_as_it_is_described(name: str) -> None:
    wire, body = LEAST[name]
    schema = described()["components"]["schemas"][name]
    check, found = validator(name), []
    for field, form in schema["properties"].items():
        for value in edges(form) if field not in LOOSE[name] else ():
            changed = {**body, field: value}
            if check.is_valid(changed) != is_read(wire, changed):
                found.append((field, value))
    assert found == []


@pytest.mark.parametrize("field", wishes.FIELDS, ids=lambda field: field.path)
def test_every_place_of_a_budget_is_described_and_read_alike(field: wishes.Field) -> None:
    check = validator("ChatRequest")
    value: Any
    for value in (-2, -1, 0, 512, 10**7, 10**7 + 1, 0.5, "high", "none", "nope", "enabled", True, None, [], {}):
        inner: Any = value
        for name in reversed(field.path.split(".")):
            inner = {name: inner}
        try:
            read_wish(inner)
            is_fine = True
        except Problem:
            is_fine = False
        assert check.is_valid({**LEAST["ChatRequest"][1], **inner}) == is_fine, value


def test_the_operators_efforts_and_limits_are_the_described_ones() -> None:
    check = validator("ChatRequest", effort={"huge": 99999}, n=2, max_tokens=50, messages=1)
    body = LEAST["ChatRequest"][1]
    assert check.is_valid({**body, "reasoning_effort": "huge", "n": 2, "max_tokens": 50})
    assert not check.is_valid({**body, "n": 3})
    assert not check.is_valid({**body, "max_tokens": 51})
    assert not check.is_valid({**body, "messages": QUESTION * 2})


def test_keys_are_asked_for_only_where_there_are_keys_and_never_for_health() -> None:
    assert "security" not in described()
    locked = described(has_keys=True)
    assert locked["security"] == [{"bearer": []}, {"apiKey": []}]
    assert locked["paths"]["/health"]["get"]["security"] == []


@pytest.mark.parametrize("wire", [chat, completions, responses, messages])
def test_errors_are_described_in_the_form_of_their_protocol(wire: ModuleType) -> None:
    name = "MessageError" if wire is messages else "Error"
    refusals = described()["paths"][wire.PATH]["post"]["responses"]
    for status in ("400", "401", "403", "404", "405", "413", "429", "500", "502", "503", "504"):
        assert refusals[status]["content"]["application/json"]["schema"]["$ref"] == f"{REFERENCE}{name}"
    assert validator(name).is_valid(wire.problem(Problem("no", param="model")))
    other = "Error" if wire is messages else "MessageError"
    assert not validator(other).is_valid(wire.problem(Problem("no")))
