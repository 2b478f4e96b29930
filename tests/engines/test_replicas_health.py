"""Several servers as one engine: which of them are up, who may join, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from taut.cli import main
from taut.config import Config
from taut.doctor.examine import open_target
from taut.engines import _replica, _replicas
from taut.engines.openai import OpenAIEngine, open_engine
from taut.errors import EngineError, UsageError
from tests.engines.asking import ASK, BUSY, GOOD
from tests.engines.fake_upstream import FakeUpstream, Kind, Reply, chat, event
from tests.engines.fleets import begun, called, collect, fleet, no_waiting, stopped, until, ups

__all__ = ["no_waiting"]

HANG = Reply([event(chat("So"))], then="hang")
GONE = Reply(then="cut")
OTHER_MODEL = ({"id": "other", "owned_by": "someone"},)


async def test_with_none_up_a_call_fails_at_once_and_says_how_many_there_are() -> None:
    servers = [FakeUpstream([GOOD]) for _ in range(2)]
    for server in servers:
        await server.__aenter__()
    async with fleet(*servers, health_interval_s=1000.0) as engine:
        for server in servers:
            await stopped(server)
        for _ in range(2):
            with pytest.raises(
                EngineError, match=r"none of the 2 servers of openai:.* and 1 more is up: no server"
            ) as e:
                await collect(engine)
            assert e.value.kind == "unreachable"
        assert ups(engine) == [False, False]


async def test_the_only_server_that_breaks_one_call_off_is_asked_again() -> None:
    server = FakeUpstream([GONE, GOOD])
    async with fleet(server) as engine:
        with pytest.raises(EngineError, match="broke the connection off"):
            await collect(engine, replace(ASK, deadline_s=5.0))
        assert ups(engine) == [True]
        assert await collect(engine) == "The sum is 5"


async def test_a_server_that_comes_back_is_asked_again() -> None:
    first, second = FakeUpstream([GOOD]), FakeUpstream([GOOD])
    await first.__aenter__()
    async with fleet(first, second) as engine:
        await stopped(first)
        await until(lambda: ups(engine) == [False, True])
        async with FakeUpstream([GOOD], port=first.port) as back:
            await until(lambda: ups(engine) == [True, True])
            for _ in range(2):
                await collect(engine)
            assert called(back, second) == [1, 1]


async def test_a_server_that_comes_back_with_another_model_stays_out() -> None:
    first, second = FakeUpstream([GOOD]), FakeUpstream([GOOD])
    await first.__aenter__()
    async with fleet(first, second) as engine:
        await stopped(first)
        await until(lambda: ups(engine) == [False, True])
        async with FakeUpstream([GOOD], models=OTHER_MODEL, port=first.port) as back:
            await until(lambda: "no model 'fake-model'" in engine.state()[0].why_down)
            for _ in range(2):
                await collect(engine)
            assert (called(back, second), ups(engine)) == ([0, 2], [False, True])


async def test_a_server_that_is_down_at_the_start_joins_later() -> None:
    late, first = FakeUpstream([GOOD], kind="hosted"), FakeUpstream([GOOD], kind="vllm")
    await late.__aenter__()
    await stopped(late)
    async with fleet(late, first) as engine:
        assert (ups(engine), engine.model) == ([False, True], "fake-model")
        assert "logprobs" in engine.offers
        async with FakeUpstream([GOOD], port=late.port):
            await until(lambda: ups(engine) == [True, True])
            # What is offered is what both do.
            assert engine.offers == {"stop"}


async def test_a_server_that_hangs_at_the_start_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_replicas, "GRACE_S", 0.05)
    pages = {"/v1/models": Reply(delay_s=1000.0)}
    hanging = FakeUpstream([GOOD], pages=pages)
    async with fleet(hanging, FakeUpstream([GOOD]), connect_timeout_s=0.2) as engine:
        assert ups(engine) == [False, True]
        pages.clear()
        await until(lambda: ups(engine) == [True, True])


async def test_a_server_with_another_model_stays_out() -> None:
    servers = [FakeUpstream([GOOD]), FakeUpstream([GOOD], models=OTHER_MODEL)]
    async with fleet(*servers) as engine:
        await until(lambda: "it has: other" in engine.state()[1].why_down)
        for _ in range(2):
            await collect(engine)
        assert (called(*servers), ups(engine), engine.model) == ([2, 0], [True, False], "fake-model")


async def test_a_server_with_several_models_joins_with_that_of_the_first() -> None:
    several = [*OTHER_MODEL, {"id": "fake-model"}]
    async with fleet(FakeUpstream([GOOD]), FakeUpstream([GOOD], models=several)) as engine:
        await until(lambda: ups(engine) == [True, True])


@pytest.mark.parametrize("kind", ["hosted", "vllm"])
async def test_a_server_is_up_while_its_health_page_and_its_list_of_models_are(kind: Kind) -> None:
    page = Reply([b""], content_type="text/plain")
    server = FakeUpstream([GOOD], kind=kind, pages={"/health": page})
    async with fleet(server) as engine:
        pages = cast(dict[str, Reply], server.pages)
        for path in ("/health", "/v1/models"):
            pages[path] = BUSY
            await until(lambda: ups(engine) == [False])
            assert "answered 503" in engine.state()[0].why_down
            pages.pop(path)
            await until(lambda: ups(engine) == [True])


async def test_a_server_that_is_busy_with_calls_is_still_looked_at() -> None:
    server = FakeUpstream([HANG])
    async with fleet(server, max_connections=1) as engine:
        stream = await begun(engine)
        looks = len(server.received)
        await until(lambda: len(server.received) > looks + 4)
        assert ups(engine) == [True]
        await stream.aclose()


async def test_a_server_that_hangs_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_replica, "CHECK_LIMIT_S", 0.1)
    server, other = FakeUpstream([GOOD]), FakeUpstream([GOOD])
    async with fleet(server, other) as engine:
        cast(dict[str, Reply], server.pages)["/health"] = Reply(then="hang", delay_s=1000.0)
        # Where there is no such page it is not asked for again: the list of models tells.
        cast(dict[str, Reply], server.pages)["/v1/models"] = Reply(then="hang", delay_s=1000.0)
        await until(lambda: "did not answer in 0.1 s" in engine.state()[0].why_down)


# --- opening and closing ---


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "url is missing: give either url, for one server, or urls"),
        ({"url": "http://a", "urls": ("http://b",)}, "both url and urls are given: give either"),
        ({"urls": ()}, "urls is empty"),
        ({"urls": ("http://a:1", "http://a:1/v1/")}, "urls has http://a:1/v1 twice"),
        ({"urls": ("http://a", "ftp://b")}, "'ftp://b' is not an HTTP address"),
        ({"urls": ("http://a", "http://key@b")}, "set the key in the environment variable"),
        ({"urls": ("http://a",), "health_interval_s": 0.0}, "health_interval_s is 0; it must be"),
        ({"urls": ("http://a",), "max_retries": -1}, "max_retries is -1; it must be"),
        ({"urls": ("http://127.0.0.1:1",), "route": "rawe"}, "no route 'rawe' (did you mean 'raw'?)"),
    ],
)
async def test_what_is_wrong_with_the_options_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        await open_engine(**options)
    assert sentence in str(caught.value)


async def test_with_none_up_opening_fails_with_one_sentence() -> None:
    with pytest.raises(EngineError) as caught:
        await open_engine(urls=("http://127.0.0.1:1", "http://127.0.0.1:2"))
    assert caught.value.kind == "unreachable"
    assert str(caught.value) == (
        "none of the 2 servers is up; the first: no server answers at http://127.0.0.1:1: Connection refused"
    )


async def test_a_wrong_model_is_told_as_of_one_server() -> None:
    with pytest.raises(UsageError, match=r"has no model 'fake-modell' \(did you mean 'fake-model'\?\)"):
        async with fleet(FakeUpstream(), FakeUpstream(), model="fake-modell"):
            pass


async def test_the_options_hold_for_every_server() -> None:
    servers = [FakeUpstream([GOOD]) for _ in range(2)]
    async with fleet(*servers, headers={"x-team": "blue"}, body={"user": "me"}, name="big") as engine:
        for _ in range(2):
            await collect(engine)
        assert engine.name == "big"
        for server in servers:
            (call,) = server.calls
            assert (call.headers["x-team"], call.body["user"]) == ("blue", "me")
            assert all(each.headers["x-team"] == "blue" for each in server.received)


async def test_one_address_is_still_one_engine_without_looks() -> None:
    async with FakeUpstream([GOOD]) as server:
        engine = await open_engine(server.url)
        assert isinstance(engine, OpenAIEngine)
        await engine.close()


async def test_opening_using_and_closing_leave_no_task_and_no_connection_behind() -> None:
    before = asyncio.all_tasks()
    first, second = FakeUpstream([HANG]), FakeUpstream([GOOD])
    await first.__aenter__()
    async with second:
        async with fleet(first, second, FakeUpstream(models=OTHER_MODEL)) as engine:
            stream = await begun(engine)
            await collect(engine)
            await stopped(first)
            await until(lambda: not ups(engine)[0])
            await stream.aclose()
            opened = [replica.engine for replica in engine._replicas]
        assert all(one is None or one._http._session.closed for one in opened if one and one._http._session)
        assert ups(engine) == [False, False, False]
        with pytest.raises(EngineError, match="the engine is closed"):
            await collect(engine)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_opening_that_is_cancelled_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    async with FakeUpstream(pages={"/v1/models": Reply(delay_s=1000.0)}) as server:
        opening = asyncio.create_task(open_engine(urls=(server.url,)))
        await until(lambda: bool(server.received))
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
    assert asyncio.all_tasks() == before


# --- from the command line ---


async def test_the_doctor_looks_at_the_first_server() -> None:
    async with FakeUpstream([GOOD]) as first:
        table = {"kind": "openai", "urls": [first.url, "http://127.0.0.1:1"], "model": "fake-model"}
        engine, _ = await open_target("big", Config(Path("taut.toml"), {"big": table}), {})
        assert isinstance(engine, OpenAIEngine)
        assert engine.name == f"openai:{first.url}"
        await engine.close()


def test_a_bench_goes_over_both_servers_and_on_when_one_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = FakeUpstream([replace(GOOD, pause_s=0.01)]), FakeUpstream([replace(GOOD, pause_s=0.01)])
    loop = asyncio.new_event_loop()
    serving = threading.Thread(target=loop.run_forever)
    serving.start()

    def there(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(20)

    async def kill_after_some_calls() -> None:
        await until(lambda: len(first.calls) >= 4)
        await stopped(first)

    try:
        for server in (first, second):
            there(server.__aenter__())
        (tmp_path / "questions.jsonl").write_text(
            "".join(f'{{"question": "What is {n} + 3?", "answer": "{n + 3}"}}\n' for n in range(20)), encoding="utf-8"
        )
        urls = json.dumps([first.url, second.url])
        (tmp_path / "taut.toml").write_text(f'[engines.big]\nkind = "openai"\nurls = {urls}\n', encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        killing = asyncio.run_coroutine_threadsafe(kill_after_some_calls(), loop)
        command = "bench --engine big --task questions.jsonl --preset direct --concurrency 4 --out run"
        assert main(command.split()) == 0, capsys.readouterr().err
        killing.result(20)
        traces = [json.loads(line) for line in (tmp_path / "run" / "traces.jsonl").read_text().splitlines()]
        ended = [trace["error_kind"] for trace in traces]
        # Streams that had begun on the killed server are lost, all other questions are answered.
        assert len(ended) == 20
        assert set(ended) <= {None, "cut"}
        assert ended.count("cut") <= 2
        assert len(second.calls) >= 12
        there(second.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        serving.join()
        loop.close()
