"""The live page of a real ``taut serve``, in a real browser: what clients do shows, and the button works."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.engines.fake_upstream import FakeUpstream, Reply, chat, event, stream_of
from tests.gateway.browser import Tab, chromium, installed

pytestmark = pytest.mark.skipif(installed() is None, reason="Chromium is not installed: apt-get install chromium")

START_LIMIT_S = 60
SLOW_UPSTREAM = Reply(
    [*(event(chat(None, reasoning_content=f"word{number} ")) for number in range(600)), *stream_of(["late"])],
    pause_s=0.05,
)
QUICK_UPSTREAM = Reply(stream_of(["The answer is ", "42."], kind="vllm", route="raw"))
SLOW_ENGINE = '[engines.slow]\nkind = "fake"\ntoken_s = 0.05\n'
FAR_ENGINE = '[engines.far]\nkind = "openai"\nurl = "{url}"\ndialect = "qwen3"\n'
NUMBERS = 200
QUESTION = "Add " + " ".join(map(str, range(1, NUMBERS + 1)))
"""The fake thinker thinks about a minute about it."""


def free_port() -> int:
    """A port that nobody listens on; several workers need to be told one."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@asynccontextmanager
async def taut_serve(folder: Path, *options: str, engines: str = SLOW_ENGINE) -> AsyncIterator[str]:
    """A gateway in a process of its own, over the slow fake engine if not told otherwise; yields its address."""
    config = folder / "taut.toml"
    config.write_text(engines)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "taut.cli", "serve", "--config", str(config), "--port", str(free_port()), *options),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "300"},
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(START_LIMIT_S):
            told = ""
            while not (found := re.search(r"(http://\S+)/v1", told)):
                line = (await process.stderr.readline()).decode()
                assert line, told
                told += line
        reading = asyncio.create_task(process.stderr.read())
        yield found[1]
    finally:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(20):
                await process.wait()
    assert "Traceback" not in (await reading).decode()


async def ask(client: aiohttp.ClientSession, address: str) -> dict[str, Any]:
    """One request, not streamed."""
    body = {"model": "budget_forcing", "messages": [{"role": "user", "content": QUESTION}]}
    async with client.post(f"{address}/v1/chat/completions", json=body) as reply:
        assert reply.status == 200, await reply.text()
        document: dict[str, Any] = await reply.json()
        return document


async def press_all(tab: Tab, cards: int) -> None:
    """Wait until so many requests are seen thinking, and press the button of each."""
    await tab.until(f"document.querySelectorAll('.card').length === {cards}")
    length = "document.querySelector('.card .thinking').textContent.length"
    seen = await tab.until(length)
    await tab.until(f"{length} > {seen}")
    await tab.until(f"document.querySelectorAll('.card button:enabled').length === {cards}")
    await tab.value("document.querySelectorAll('.card button').forEach(button => button.click())")


async def test_a_request_is_seen_thinking_and_answers_when_the_button_is_pressed(tmp_path: Path) -> None:
    async with (
        taut_serve(tmp_path) as address,
        aiohttp.ClientSession() as client,
        chromium(tmp_path / "profile") as tab,
    ):
        await tab.open(address)
        requests = [asyncio.create_task(ask(client, address)) for _ in range(3)]
        await press_all(tab, 3)
        async with asyncio.timeout(20):
            replies = await asyncio.gather(*requests)
        await tab.until("document.querySelectorAll('#recent li').length === 3")
        rows = await tab.value("document.getElementById('recent').innerText")
        assert rows.count("stop: the answer was asked for now") == 3
        assert "budget_forcing" in await tab.value("document.getElementById('rows').innerText")
    for reply in replies:
        assert 0 < reply["usage"]["completion_tokens_details"]["reasoning_tokens"] < 6 * NUMBERS
        assert reply["choices"][0]["message"]["content"].startswith("The answer is")
    assert tab.complaints == []


async def test_with_several_workers_the_page_shows_and_hurries_the_requests_of_all(tmp_path: Path) -> None:
    replies = [SLOW_UPSTREAM] * 8 + [QUICK_UPSTREAM]
    async with (
        FakeUpstream(replies, kind="vllm") as upstream,
        taut_serve(tmp_path, "--workers", "2", engines=FAR_ENGINE.format(url=upstream.url)) as address,
        # A connection each: the kernel spreads connections over the workers, not requests.
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client,
        chromium(tmp_path / "profile") as tab,
    ):
        await tab.open(address)
        await tab.until("document.getElementById('link').textContent.includes('2 workers')")
        requests = [asyncio.create_task(ask(client, address)) for _ in range(8)]
        await press_all(tab, 8)
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*requests)
        await tab.until("document.querySelectorAll('#recent li').length === 8")
        assert await tab.value("document.getElementById('requests').textContent") == "8"
    assert {answer["choices"][0]["message"]["content"] for answer in answers} == {"The answer is 42."}


async def test_a_client_that_leaves_is_gone_from_the_page(tmp_path: Path) -> None:
    async with (
        taut_serve(tmp_path) as address,
        aiohttp.ClientSession() as client,
        chromium(tmp_path / "profile") as tab,
    ):
        await tab.open(address)
        request = asyncio.create_task(ask(client, address))
        await tab.until("document.querySelectorAll('.card').length === 1")
        request.cancel()
        await asyncio.wait([request])
        await tab.until("document.querySelector('#recent li')?.innerText.includes('the client left')")
