"""The live page, over HTTP and in a real headless Chromium."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from taut.core import Piece
from taut.gateway.entry import Ending
from taut.gateway.nouns import Grant
from taut.gateway.page import VIEWERS, Changes, Page, page_file, saved_in_all
from taut.gateway.savings import Baseline, Savings
from taut.gateway.siblings import Siblings
from taut.gateway.under_way import UnderWay
from tests.gateway.browser import Tab, chromium, installed
from tests.gateway.live_app import enter, populate, say, serving

EVENTS = {"Accept": "text/event-stream"}
BUTTON = {"x-taut-page": "1"}
EVIL = "<img src=x onerror=\"window.hit='onerror'\"><script>window.hit='script'</script>"
needs_chromium = pytest.mark.skipif(installed() is None, reason="Chromium is not installed: apt-get install chromium")


@pytest.fixture
def register() -> UnderWay:
    return UnderWay(store_texts=True)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    async with chromium(tmp_path / "profile") as tab:
        yield tab


async def message(reply: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next message of an event stream."""
    async with asyncio.timeout(10):
        line = await reply.content.readline()
        assert await reply.content.readline() == b"\n"
    return msgspec.json.decode(line.removeprefix(b"data: "), type=dict[str, Any])


def test_the_page_is_small_and_needs_nothing_from_elsewhere() -> None:
    text, _ = page_file()
    assert len(text.encode()) < 30_000
    assert not re.search(r"https?://|@import|url\(|innerHTML|insertAdjacentHTML|document\.write|\beval\b", text)
    assert not re.search(r"\s(style|on\w+)=\"", text)


async def test_only_the_scripts_and_styles_of_the_page_itself_may_run(
    register: UnderWay, client: aiohttp.ClientSession
) -> None:
    async with serving(register) as address, client.get(address) as reply:
        policy = reply.headers["Content-Security-Policy"]
        assert reply.content_type == "text/html"
        assert reply.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy


async def test_anybody_else_than_a_browser_gets_one_snapshot(register: UnderWay, client: aiohttp.ClientSession) -> None:
    say(enter(register, "a", "cap", "alice"), "thinking", "hm hm")
    async with serving(register) as address, client.get(f"{address}/live") as reply:
        snapshot = await reply.json()
    assert snapshot["running"][0]["thinking"]["text"] == "hm hm "
    assert snapshot["saved"] == []


async def test_a_viewer_is_sent_only_what_is_new(register: UnderWay, client: aiohttp.ClientSession) -> None:
    enter(register, "old", "cap", "alice").leave()
    entry = enter(register, "a", "cap", "alice")
    say(entry, "thinking", "one")
    async with serving(register) as address, client.get(f"{address}/live", headers=EVENTS) as reply:
        first = await message(reply)
        say(entry, "thinking", "two")
        later = await message(reply)
        while later["running"][0]["thinking"]["chars"] < 8:
            later = await message(reply)
        register.compared("old", 90, True)
        compared = await message(reply)
        while not compared["recent"]:
            compared = await message(reply)
    assert (first["first"], later["first"]) == (True, False)
    assert first["running"][0]["thinking"] == {"text": "one ", "chars": 4}
    assert later["running"][0]["thinking"] == {"text": "two ", "chars": 8}
    assert [item["id"] for item in first["recent"]] == ["old"]
    assert later["recent"] == []
    assert compared["recent"][0]["unmodified_tokens"] == 90


def test_a_text_that_grew_by_more_than_is_kept_is_sent_as_it_is() -> None:
    changes = Changes()

    def sent(text: str, chars: int) -> str:
        item = {"id": "a", "thinking": {"text": text, "chars": chars}}
        return str(changes.since_last({"running": [item], "recent": []})["running"][0]["thinking"]["text"])

    assert [sent("bc", 3), sent("bcd", 4), sent("yz", 26), sent("yz", 26)] == ["bc", "d", "yz", ""]


async def test_the_button_needs_the_header_of_the_page(register: UnderWay, client: aiohttp.ClientSession) -> None:
    entry = enter(register, "a", "cap", "alice")
    async with serving(register) as address:
        async with client.post(f"{address}/live/answer_now/a") as reply:
            assert reply.status == 403
            assert "x-taut-page" in await reply.text()
        assert not entry.is_answer_wanted()
        async with client.get(f"{address}/live/answer_now/a", headers=BUTTON) as reply:
            assert reply.status == 405
        async with client.post(f"{address}/live/answer_now/a", headers=BUTTON) as reply:
            assert reply.status == 200
        assert entry.is_answer_wanted()
        async with client.post(f"{address}/live/answer_now/gone", headers=BUTTON) as reply:
            assert reply.status == 409
            assert (await reply.json())["asked"] is False


async def test_streams_end_at_shutdown_and_viewers_are_counted_down(
    register: UnderWay, client: aiohttp.ClientSession
) -> None:
    page = Page(Siblings(register), interval_s=0.05)
    app = web.Application()
    page.add_to(app)
    runner = web.AppRunner(app, shutdown_timeout=20)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/live"
    left = await client.get(address, headers=EVENTS)
    reply = await client.get(address, headers=EVENTS)
    await message(reply)
    counts = [page.viewers]
    left.close()
    while page.viewers > 1:
        await message(reply)
    async with asyncio.timeout(5):
        await runner.cleanup()
        await reply.read()
    assert [*counts, page.viewers] == [2, 0]


async def test_too_many_viewers_are_told_so(register: UnderWay, client: aiohttp.ClientSession) -> None:
    async with serving(register) as address:
        replies = [await client.get(f"{address}/live", headers=EVENTS) for _ in range(VIEWERS)]
        async with client.get(f"{address}/live", headers=EVENTS) as refused:
            assert refused.status == 503
        for reply in replies:
            assert reply.status == 200
            reply.close()


def shadow_of_two() -> Savings:
    """Preset a: 10 pairs of 50 against 100; b: 10 pairs of 240 against 300; c: too few for an interval."""
    savings = Savings()
    for number in range(10):
        savings.add_pair("a", 50 + number % 2, 100 + number % 2, True)
        savings.add_pair("b", 240 + number % 2, 300 + number % 2, number > 0)
    savings.add_pair("c", 900, 1000, None)
    return savings


def test_savings_of_all_presets_add_up_by_tokens_and_never_mix_their_measures() -> None:
    savings = Savings(Baseline("direct", 200.0, 100.0, 50))
    savings.merge([shadow_of_two().state()])
    for number in range(20):
        savings.add_request("a", 150 + number % 2)
    shadow, baseline = saved_in_all(savings.report())
    # 10 · 100.5 + 10 · 300.5 unmodified tokens, 10 · 50 + 10 · 60 of them saved; c has no interval and is left out.
    assert (shadow["against"], shadow["n"], shadow["tokens_saved"]) == ("shadow", 20, 1100)
    assert shadow["saved"]["value"] == pytest.approx(1100 / 4010)
    assert shadow["saved"]["low"] < 1100 / 4010 < shadow["saved"]["high"]
    assert (baseline["against"], baseline["n"], baseline["tokens_saved"]) == ("baseline", 20, 990)
    assert baseline["saved"]["value"] == pytest.approx(0.2475)


def test_savings_without_an_interval_are_told_without_one() -> None:
    savings = Savings()
    savings.add_pair("c", 900, 1000, None)
    (line,) = saved_in_all(savings.report())
    assert line["saved"] == {"value": pytest.approx(0.1), "low": None, "high": None}
    assert saved_in_all([]) == []


async def test_the_states_of_all_workers_reach_the_report(client: aiohttp.ClientSession) -> None:
    seen: list[Mapping[str, Any]] = []

    def report(states: Sequence[Mapping[str, Any]]) -> list[Any]:
        seen.extend(states)
        return []

    page = Page(Siblings(UnderWay(savings_state=shadow_of_two().state)), report_savings=report)
    await page.look()
    assert seen[0]["a"]["pairs"] == 10


@needs_chromium
async def test_requests_appear_think_and_move_to_the_history(tab: Tab, register: UnderWay) -> None:
    async with serving(register) as address:
        await tab.open(address)
        await tab.until("document.getElementById('link').textContent.startsWith('live')")
        assert await tab.value("document.getElementById('none-running').hidden") is False
        entry = enter(register, "5f2c", "cap", "alice")
        entry.grant = Grant(budget_tokens=64, mechanism="loop")
        say(entry, "thinking", "first thoughts")
        await tab.until("document.querySelector('.card .thinking')?.textContent === 'first thoughts '")
        say(entry, "thinking", "and more")
        await tab.until("document.querySelector('.card .thinking').textContent === 'first thoughts and more '")
        text = await tab.value("document.querySelector('.card').innerText")
        assert "thinking 4 · budget 64 (loop)" in text
        assert "thinking · on big · alice · chat · 5f2c" in text
        # 4 of 64 tokens, and the mark of the budget at the end of the bar.
        assert await tab.value("document.querySelector('.card .stack i').style.width") == "6.25%"
        assert await tab.value("document.querySelector('.card .stack b').style.left") == "100%"
        say(entry, "answer", "so 80")
        await tab.until("document.querySelector('.card .answer').textContent === 'so 80 '")
        entry.leave(Ending(tokens={"thinking": 4, "answer": 2, "probe": 6}, decision="stop: the answer is stable"))
        await tab.until("document.querySelectorAll('#recent li').length === 1")
        row = await tab.value("document.querySelector('#recent li').textContent")
        assert "12 tokens" in row
        assert "stop: the answer is stable" in row
        assert "12" in await tab.value("document.querySelector('#rows tr').innerText")
        assert await tab.value("document.getElementById('requests').textContent") == "1"
        await tab.until("document.querySelectorAll('.card').length === 0")
    assert [c for c in tab.complaints if "ERR_" not in c] == []


@needs_chromium
async def test_answer_now_works_from_the_keyboard(tab: Tab, register: UnderWay) -> None:
    pressed: list[str] = []
    entry = enter(register, "a", "cap", "alice", asked=lambda: pressed.append("a"))
    say(entry, "thinking", "hm")
    plain = register.enter("b", preset="big", engine="big", protocol="chat")
    plain.why_not = "it passes through untouched"
    async with serving(register) as address:
        await tab.open(address)
        await tab.until("document.querySelectorAll('.card').length === 2")
        for _ in range(5):
            await tab.press("Tab")
            if await tab.value("document.activeElement.tagName") == "BUTTON":
                break
        assert await tab.value("document.activeElement.closest('.card').dataset.id") == "a"
        await tab.press("Enter")
        await tab.until("document.querySelector('[data-id=a] .foot').innerText.includes('asked for')")
        assert pressed == ["a"]
        assert await tab.value("document.querySelector('[data-id=a] button').disabled")
        assert await tab.value("document.querySelector('[data-id=b] button').disabled")
        assert "it passes through untouched" in await tab.value("document.querySelector('[data-id=b]').innerText")
    assert entry.is_answer_wanted()


@needs_chromium
async def test_markup_from_anybody_is_shown_as_text_and_never_runs(tab: Tab, register: UnderWay) -> None:
    over = register.enter("over", preset=EVIL, engine=EVIL, protocol="chat", key_name=EVIL)
    over.piece(Piece("thinking", EVIL, 5))
    over.piece(Piece("answer", EVIL, 5))
    over.leave(Ending("error", {"answer": 5}, error=EVIL))
    running = register.enter(EVIL, preset=EVIL, engine=EVIL, protocol="chat", key_name=EVIL)
    running.why_not = EVIL
    running.piece(Piece("thinking", EVIL, 5))
    running.piece(Piece("answer", EVIL, 5))
    async with serving(register) as address:
        await tab.open(address)
        await tab.until("document.querySelectorAll('.card').length === 1")
        await tab.until("document.querySelectorAll('#recent li').length === 1")
        assert await tab.value("document.querySelector('.card .thinking').textContent") == EVIL
        assert await tab.value("document.querySelectorAll('img').length + document.scripts.length") == 1
        assert await tab.value("window.hit") is None
        # Were a fault in the page to put markup in, the policy would still keep it from running.
        await tab.value(
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hit = 1'}))"
        )
        assert await tab.value("window.hit") is None
    assert any("Content Security Policy" in complaint for complaint in tab.complaints)


@needs_chromium
async def test_without_a_baseline_the_page_says_so_instead_of_a_number(tab: Tab, register: UnderWay) -> None:
    enter(register, "a", "cap", "alice").leave(Ending(tokens={"answer": 3}))
    async with serving(register) as address:
        await tab.open(address)
        await tab.until("document.querySelectorAll('#rows tr').length === 1")
        said = await tab.value("document.getElementById('saved').innerText")
        assert said == "no baseline recorded: start with --baseline RUN or --shadow 0.05"
        assert "no baseline" in await tab.value("document.getElementById('rows').innerText")


@needs_chromium
async def test_savings_are_shown_with_interval_number_and_agreement(tab: Tab, register: UnderWay) -> None:
    for preset in ("a", "b", "d"):
        enter(register, preset, preset, "alice").leave(Ending(tokens={"answer": 3}))
    savings = shadow_of_two()
    for number in range(10):
        savings.add_pair("d", 3000 + number % 2, 1000 + number % 2, None)
    async with serving(register, measures="shadow", lines=savings.report()) as address:
        await tab.open(address)
        await tab.until("document.querySelectorAll('#rows tr').length === 3")
        cells = await tab.value(
            "[...document.querySelectorAll('#rows tr')].map(r => [...r.cells].map(c => c.innerText))"
        )
        tile = await tab.value("document.getElementById('saved').innerText")
    assert re.fullmatch(r"50 % \(\d\d to \d\d\)\nn = 10, shadow", cells[0][5])
    assert re.fullmatch(r"100 % \(72 to 100\)\nn = 10", cells[0][6])
    assert cells[1][6].startswith("90 % (60 to 98)")
    assert re.fullmatch(r"200 % more \(\d+ to \d+\)\nn = 10, shadow", cells[2][5])
    assert cells[2][6] == "–"
    # Saved: 500 + 600 − 20,000 of 1,005 + 3,005 + 10,005 tokens.
    assert tile.startswith("135 % more (")


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [420, 1600])
async def test_nothing_sticks_out_on_a_phone_or_a_wide_screen(tab: Tab, width: int, dark: bool) -> None:
    now = [1000.0]
    register, savings = UnderWay(clock=lambda: now[0]), Savings()
    populate(register, savings, now)
    enter(register, "x" * 80, "a_preset:with=very,long=" + "parameters" * 12, "somebody" * 12)
    async with serving(register, measures="shadow", lines=savings.report()) as address:
        await tab.open(address, width=width, dark=dark)
        await tab.until("document.querySelectorAll('.card').length === 4")
        assert await tab.value("document.documentElement.scrollWidth") <= width
        outside = (
            "[...document.querySelectorAll('main *')].filter(e => !e.closest('pre, thead') && e.offsetWidth"
            " && (e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1)).length"
        )
        assert await tab.value(outside) == 0
        background = await tab.value("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(20, 23, 26)" if dark else "rgb(251, 251, 249)")


@needs_chromium
async def test_the_page_finds_a_gateway_that_was_started_again(tab: Tab, register: UnderWay) -> None:
    enter(register, "a", "cap", "alice").leave()
    async with serving(register) as address:
        await tab.open(address)
        await tab.until("document.querySelectorAll('#recent li').length === 1")
    await tab.until("document.getElementById('link').textContent.startsWith('not connected')")
    async with serving(register, port=int(address.rpartition(":")[2])):
        await tab.until("document.getElementById('link').textContent.startsWith('live')")
        assert await tab.value("document.querySelectorAll('#recent li').length") == 1


@needs_chromium
async def test_an_answer_now_that_comes_too_late_is_told(tab: Tab, register: UnderWay) -> None:
    entry = enter(register, "a", "cap", "alice")
    async with serving(register, interval_s=60) as address:
        await tab.open(address)
        await tab.until("document.querySelectorAll('.card').length === 1")
        entry.leave()
        await tab.value("document.querySelector('.card button').click()")
        await tab.until("document.querySelector('.card .foot').innerText.includes('not possible: it is over')")
