"""A gateway from outside: names, candidates, keep-alives, deadlines, limits, an orderly end, answers asked for now."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import aiohttp
import pytest

from taut.core import Reply as MethodReply
from taut.core import Request
from taut.engines.fake import FakeEngine, Scripted
from taut.gateway.starting import Gateway
from taut.run import Preset
from taut.session import Session
from tests.engines.fake_upstream import MODEL
from tests.gateway.asking import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Got, ask, look
from tests.gateway.conftest import Serve, running
from tests.gateway.scripts import KEY, QUESTION, endless, until, upstream

PATHS = (CHAT, COMPLETIONS, MESSAGES, RESPONSES)
ANSWER = "It is 3."
THINKING = "one two three four five"
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def thinker(words: int = 5, token_s: float = 0.0, model: str = "fake-thinker", answer: str = ANSWER) -> FakeEngine:
    """Thinks some words, unless it is told not to, and answers."""
    thought = " ".join(THINKING.split()[number % 5] for number in range(words))

    def script(request: Request) -> Scripted:
        return Scripted("" if request.prompt.think is False else thought, answer)

    return FakeEngine(script, model=model, token_s=token_s)


def slow() -> FakeEngine:
    """Thinks for twenty seconds."""
    return thinker(words=2000, token_s=0.01)


async def wait_for_requests(one: Gateway, requests: int) -> None:
    """Wait until so many requests are under way."""
    await until(lambda: len(one.serving) == requests)


# Names


async def test_the_list_has_presets_and_models_and_each_can_be_looked_up(serve: Serve) -> None:
    async with serve(thinker(), thinker(model="giant")) as url:
        listed = (await look(url, "/v1/models")).body
        short = (await look(url, "/models")).body
        one = await look(url, "/v1/models/concise@giant")
        none = await look(url, "/v1/models/gaint")
    names = [entry["id"] for entry in listed["data"]]
    assert listed == short
    assert names[-2:] == ["fake-thinker", "giant"]
    assert {"direct", "concise", "tale"} <= set(names)
    assert all(entry["object"] == "model" and entry["owned_by"] == "taut" for entry in listed["data"])
    assert one.body["id"] == "concise@giant"
    assert (none.status, none.problem["param"]) == (404, "model")
    assert "'giant'" in none.problem["message"]


@pytest.mark.parametrize(
    ("fields", "preset", "says"),
    [
        ({"model": "concise"}, "concise", "small"),
        ({"model": "concise@giant"}, "concise", "large"),
        ({"model": "giant", "taut": {"preset": "concise"}}, "concise", "large"),
        ({"model": "engine2"}, "engine", "large"),
        ({"model": "main(3)"}, "engine", "small"),
    ],
)
async def test_a_name_and_the_taut_field_choose_preset_and_engine(
    serve: Serve, fields: dict[str, Any], preset: str, says: str
) -> None:
    async with serve(thinker(answer="small"), thinker(model="giant", answer="large")) as url:
        got = await ask(url, **fields)
    assert (got.text(), got.receipt["preset"]) == (says, preset)
    # The reply names the model as the client did.
    assert got.body["model"] == fields["model"]


async def test_two_engines_of_one_model_are_reached_by_their_names(serve: Serve) -> None:
    async with serve(thinker(answer="here"), thinker(answer="there")) as url:
        assert (await ask(url, model="fake-thinker")).text() == "here"
        assert (await ask(url, model="engine2")).text() == "there"
        assert (await ask(url, model="concise@engine2")).text() == "there"


async def test_a_key_for_a_preset_does_not_open_other_engines_to_it(serve: Serve) -> None:
    keys = {"alice": {"hash": f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}", "models": ["concise"]}}
    told = {"Authorization": f"Bearer {KEY}"}
    async with serve(thinker(), thinker(model="giant"), keys=keys) as url:
        assert (await ask(url, model="concise", headers=told)).status == 200
        assert (await ask(url, model="concise(64)", headers=told)).status == 200
        for fields in (
            {"model": "giant", "taut": {"preset": "concise"}},
            {"model": "concise@giant"},
            {"model": "giant"},
            {"model": "fake-thinker", "taut": {"preset": "direct"}},
        ):
            assert (await ask(url, headers=told, **fields)).status == 403


@pytest.mark.parametrize(("path", "status"), [("/v1/nothing", 404), ("/nothing", 404), ("/v1/chat/completions", 405)])
async def test_what_is_not_served_is_an_error_in_form(serve: Serve, path: str, status: int) -> None:
    async with serve(thinker()) as url:
        got = await look(url, path)
    assert (got.status, set(got.problem)) == (status, {"message", "type", "code", "param"})


# Candidates and keep-alives


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("stream", [False, True])
async def test_candidates_come_each_under_its_own_index(serve: Serve, path: str, stream: bool) -> None:
    async with serve(thinker()) as url:
        got = await ask(url, path, n=3, stream=stream)
    documents = got.events if stream else [got.body]
    for index in range(3):
        choices = [choice for item in documents for choice in item["choices"] if choice["index"] == index]
        parts = [choice.get("delta") or choice.get("message") or {"content": choice.get("text")} for choice in choices]
        assert "".join(part.get("content") or "" for part in parts) == ANSWER
        assert choices[-1]["finish_reason"] == "stop"
    assert got.receipt["tokens"]["total"] == 3 * 8


async def test_candidates_draw_differently_and_the_same_again_under_a_seed(serve: Serve) -> None:
    engine = thinker()
    async with serve(engine) as url:
        await ask(url, n=3)
        await ask(url, n=3, seed=7)
        await ask(url, n=3, seed=7)
    seeds = [request.sampling.seed for request in engine.requests]
    assert len(set(seeds[:3])) == 3
    assert len(set(seeds[3:6])) == 3
    assert sorted(map(str, seeds[3:6])) == sorted(map(str, seeds[6:]))


@pytest.mark.parametrize(("path", "mark"), [(CHAT, b"\n: taut"), (RESPONSES, b"\n: taut"), (MESSAGES, b"event: ping")])
async def test_silence_is_filled_with_keep_alives_that_clients_skip(serve: Serve, path: str, mark: bytes) -> None:
    async with serve(thinker(words=2, token_s=0.25), keep_alive_s=0.05) as url:
        got = await ask(url, path, stream=True, max_tokens=1000)
    assert got.data.count(mark) >= 2
    assert ANSWER.split()[0].encode() in got.data


async def test_a_stream_that_flows_has_no_keep_alives(serve: Serve) -> None:
    async with serve(thinker(), keep_alive_s=5.0) as url:
        got = await ask(url, stream=True)
    assert b": taut" not in got.data


class Voting:
    """Asks three times and shows nothing until it has counted."""

    needs: frozenset[str] = frozenset()

    async def __call__(self, session: Session) -> MethodReply:
        replies = [await session.generate() for _ in range(3)]
        for call in session.trace.calls[1:]:
            call.discarded = True
        session.decide("vote", why="all three agree")
        return replies[0]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_method_that_shows_nothing_has_comments_on_the_way_and_its_answer_at_the_end(stream: bool) -> None:
    async with running(thinker(token_s=0.02), keep_alive_s=0.1) as (url, one):
        one.catalog.presets["vote"] = Preset("vote", Voting())
        got = await ask(url, model="vote", stream=stream)
    assert got.text() == ANSWER
    assert (b": taut still at work: 1 calls" in got.data) == stream
    tokens = got.receipt["tokens"]
    assert (tokens["thinking"], tokens["answer"], tokens["discarded"], tokens["total"]) == (5, 3, 16, 24)
    assert got.receipt["decisions"][0]["why"] == "all three agree"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fields", [{"reasoning": {"exclude": True}}, {"include_reasoning": False}], ids=str)
async def test_thinking_that_is_not_wanted_is_counted_and_not_sent(
    serve: Serve, fields: dict[str, Any], stream: bool
) -> None:
    async with serve(thinker()) as url:
        got = await ask(url, stream=stream, **fields)
    assert (got.text(), got.text("reasoning"), got.text("reasoning_content")) == (ANSWER, "", "")
    assert b"three" not in got.data
    assert got.receipt["tokens"]["thinking"] == 5


# Deadlines


@pytest.mark.parametrize("path", PATHS)
async def test_a_deadline_before_the_end_of_a_whole_reply_is_504(serve: Serve, path: str) -> None:
    engine = slow()
    async with serve(engine, deadline_s=0.2) as url:
        got = await ask(url, path)
    assert got.status == 504
    assert "timeout" in got.problem["type"]
    assert got.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("path", PATHS)
async def test_a_deadline_within_a_stream_ends_it_in_form(serve: Serve, path: str) -> None:
    async with serve(slow()) as url:
        got = await ask(url, path, stream=True, taut={"deadline_s": 0.2})
    assert got.status == 200
    assert b"error" in got.data
    assert got.data.endswith(b"\n\n")


async def test_a_client_can_only_shorten_the_deadline(serve: Serve) -> None:
    async with serve(slow(), deadline_s=0.2) as url:
        got = await ask(url, taut={"deadline_s": 3600})
    assert got.status == 504


async def test_a_deadline_that_strikes_in_the_second_call_keeps_what_had_come(serve: Serve) -> None:
    async with serve(thinker(words=3000, token_s=0.01)) as url:
        got = await ask(url, stream=True, thinking_token_budget=5, taut={"deadline_s": 0.07})
    assert got.text("reasoning").split() == THINKING.split()
    assert got.problem["type"] == "timeout_error"
    assert got.receipt["tokens"]["thinking"] == 5


# Answer now


async def begin_stream(session: aiohttp.ClientSession, url: str, **fields: Any) -> tuple[aiohttp.ClientResponse, bytes]:
    """A stream that has given its first pieces."""
    body = {"model": "fake-thinker", "messages": QUESTION, "stream": True, **fields}
    response = await session.post(url + CHAT, json=body)
    return response, await response.content.readany()


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS}, {"thinking_token_budget": 1000}], ids=str)
async def test_an_answer_asked_for_now_comes_now(serve: Serve, fields: dict[str, Any]) -> None:
    async with serve(slow()) as url, aiohttp.ClientSession() as session, asyncio.timeout(10):
        response, seen = await begin_stream(session, url, **fields)
        asked = await look(url, f"/v1/requests/{response.headers['x-request-id']}/answer_now", method="POST")
        seen += await response.read()
        got = Got(response.status, response.headers, seen)
    assert (asked.status, asked.body["answer_now"]) == (200, True)
    assert got.text() == ANSWER
    assert got.receipt["tokens"]["thinking"] < 1000
    assert got.receipt["answer"] != "as the model wrote it"


async def test_only_its_owner_or_an_admin_may_ask_for_it() -> None:
    def hashed(key: str) -> str:
        return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"

    keys = {"alice": {"hash": hashed("a" * 20)}, "bob": {"hash": hashed("b" * 20)}}
    keys["root"] = {"hash": hashed("r" * 20), "admin": True}  # type: ignore[dict-item]
    async with running(slow(), keys=keys) as (url, one), asyncio.timeout(10):
        task = asyncio.create_task(ask(url, stream=True, headers={"x-api-key": "a" * 20}))
        await wait_for_requests(one, 1)
        (entry,) = one.books.under_way.snapshot()["running"]
        path = f"/v1/requests/{entry['id']}/answer_now"
        assert (await look(url, path, method="POST")).status == 401
        assert (await look(url, path, {"x-api-key": "b" * 20}, "POST")).status == 404
        assert (await look(url, path, {"x-api-key": "r" * 20}, "POST")).status == 200
        assert (await task).text() == ANSWER


async def test_what_is_over_or_passes_through_cannot_be_hurried() -> None:
    async with upstream(endless()) as (_, engine), running(engine) as (url, one):
        assert (await look(url, "/v1/requests/nothing/answer_now", method="POST")).status == 404
        task = asyncio.create_task(ask(url, model=MODEL, stream=True))
        await wait_for_requests(one, 1)
        (entry,) = one.books.under_way.snapshot()["running"]
        assert (await look(url, f"/v1/requests/{entry['id']}/answer_now", method="POST")).status == 404
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# Browsers


ORIGIN = "https://chat.example.org"


async def test_an_allowed_page_may_ask_and_read_streams(serve: Serve) -> None:
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    async with serve(thinker(), allow_origins=(ORIGIN,)) as url:
        first = await look(url, CHAT, preflight, "OPTIONS")
        for stream in (False, True):
            got = await ask(url, stream=stream, headers={"Origin": ORIGIN})
            assert (got.status, got.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
            assert got.headers["Access-Control-Expose-Headers"] == "*"
        wrong = await ask(url, data=b"{", headers={"Origin": ORIGIN})
    assert (first.status, first.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN)
    assert (wrong.status, wrong.headers["Access-Control-Allow-Origin"]) == (400, ORIGIN)


async def test_any_other_page_may_not(serve: Serve) -> None:
    headers = {"Origin": "https://evil.example"}
    async with serve(thinker(), allow_origins=(ORIGIN,)) as url:
        got = await ask(url, headers=headers)
        first = await look(url, CHAT, {**headers, "Access-Control-Request-Method": "POST"}, "OPTIONS")
    assert (got.status, got.problem["type"]) == (403, "permission_error")
    assert "Access-Control-Allow-Origin" not in {**got.headers, **first.headers}


# Order


async def test_everything_is_given_back_when_a_request_is_over() -> None:
    async with running(thinker()) as (url, one):
        for path in PATHS:
            for stream in (False, True):
                assert (await ask(url, path, stream=stream)).status == 200
        await ask(url, model="nothing")
        await wait_for_requests(one, 0)
        assert len(one.books.under_way) == 0
        history = one.books.under_way.snapshot()["recent"]
    assert len(history) == 8
    assert json.dumps(history).count('"finish": "stop"') == 8


async def test_a_fault_of_tauts_own_is_a_number_and_no_text(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_: Request) -> Scripted:
        raise ZeroDivisionError("a secret prompt")

    async with serve(FakeEngine(broken)) as url:
        got = await ask(url)
    assert (got.status, got.problem["type"]) == (500, "server_error")
    assert "secret" not in got.data.decode() + capsys.readouterr().err
