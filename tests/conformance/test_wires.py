"""One suite for every protocol found in the folder: reading, whole and streamed replies, errors, the receipt."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest

from taut.engines.fake import FakeEngine, Scripted
from taut.errors import EngineError
from taut.gateway import wire
from taut.gateway.app import WIRES
from tests.gateway.conftest import running

FOLDER = Path(str(wire.__file__)).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
QUESTION = "What is 17 + 25?"
ASKS: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": QUESTION}]},
    "completions": {"prompt": QUESTION},
    "responses": {"input": QUESTION},
    "messages": {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 2000},
}
"""The least that a request of each protocol has to say."""


def module(name: str) -> ModuleType:
    return importlib.import_module(f"taut.gateway.wire.{name}")


async def post(url: str, name: str, **fields: Any) -> tuple[int, str, Mapping[str, str]]:
    body = {"model": "direct", **ASKS[name], **fields}
    async with aiohttp.ClientSession() as client, client.post(url + module(name).PATH, json=body) as response:
        return response.status, await response.text(), response.headers


def test_every_file_is_served_and_tested() -> None:
    assert [one.__name__.rpartition(".")[2] for one in sorted(WIRES, key=lambda one: one.__name__)] == NAMES
    assert sorted(ASKS) == NAMES
    for name in NAMES:
        assert all(hasattr(module(name), member) for member in ("PATH", "read", "Writer", "problem"))


@pytest.mark.parametrize("name", NAMES)
async def test_a_whole_reply_has_thinking_answer_counts_and_receipt(name: str) -> None:
    engine = FakeEngine(script=lambda _: Scripted("One two three. ", "Forty-two."))
    async with running(engine) as (url, _):
        status, text, headers = await post(url, name)
    assert status == 200
    assert "One two three." in text
    assert "Forty-two." in text
    receipt = json.loads(text)["taut"]
    assert receipt["tokens"] == {
        "thinking": 3,
        "answer": 1,
        "total": 4,
        "source": {"thinking": "reported", "answer": "reported"},
        "prompt": 5,
    }
    assert headers["x-taut-thinking-tokens"] == "3"
    assert headers["x-request-id"] == receipt["request_id"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_stream_says_the_same_in_parts_and_ends_with_the_receipt(name: str) -> None:
    engine = FakeEngine(script=lambda _: Scripted("One two three. ", "Forty-two."))
    async with running(engine) as (url, _):
        status, text, headers = await post(url, name, stream=True)
    assert status == 200
    assert headers["Content-Type"].startswith("text/event-stream")
    payloads = [line[6:] for line in text.splitlines() if line.startswith("data: ") and line != "data: [DONE]"]
    events = [json.loads(payload) for payload in payloads]
    assert text.index("three.") < text.index("Forty-two.")
    receipts = [
        found for event in events for found in (event.get("taut"), event.get("response", {}).get("taut")) if found
    ]
    assert receipts[-1]["tokens"]["total"] == 4


@pytest.mark.parametrize("name", NAMES)
async def test_a_budget_is_kept_and_said(name: str) -> None:
    engine = FakeEngine(script=lambda _: Scripted("word " * 50, "Forty-two."))
    async with running(engine) as (url, _):
        _, text, headers = await post(url, name, thinking_token_budget=7)
    receipt = json.loads(text)["taut"]
    assert receipt["budget"]["asked"] == {"field": "thinking_token_budget", "value": 7}
    assert (receipt["budget"]["mechanism"], receipt["budget"]["kept"]) == ("loop", True)
    assert receipt["tokens"]["thinking"] == 7
    assert headers["x-taut-kept"] == "true"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failed_engine_is_an_error_with_a_status(name: str, stream: bool) -> None:
    broken = Scripted(error=EngineError("the server is down", kind="unreachable"))
    async with running(FakeEngine(script=lambda _: broken)) as (url, _):
        status, text, _ = await post(url, name, stream=stream)
    assert status == 502
    assert "the server is down" in json.loads(text)["error"]["message"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_wrong_field_is_named(name: str) -> None:
    async with running(FakeEngine()) as (url, _):
        status, text, _ = await post(url, name, temperature="warm")
    assert status == 400
    assert "temperature" in json.loads(text)["error"]["message"]
