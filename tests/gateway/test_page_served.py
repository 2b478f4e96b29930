"""The live page of a real ``taut serve``, in a real browser: what clients do shows, and the button works."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.browser import chromium, installed

pytestmark = pytest.mark.skipif(installed() is None, reason="Chromium is not installed: apt-get install chromium")

START_LIMIT_S = 60
SLOW_ENGINE = '[engines.slow]\nkind = "fake"\ntoken_s = 0.05\n'
NUMBERS = 200
QUESTION = "Add " + " ".join(map(str, range(1, NUMBERS + 1)))
"""The fake thinker thinks about a minute about it."""


@asynccontextmanager
async def taut_serve(folder: Path, *options: str) -> AsyncIterator[str]:
    """A gateway in a process of its own over the slow fake engine; yields its address."""
    config = folder / "taut.toml"
    config.write_text(SLOW_ENGINE)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "taut.cli", "serve", "--config", str(config), "--port", "0", *options),
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


async def ask(client: aiohttp.ClientSession, address: str, preset: str = "budget_forcing") -> dict[str, Any]:
    """One request, not streamed."""
    body = {"model": preset, "messages": [{"role": "user", "content": QUESTION}]}
    async with client.post(f"{address}/v1/chat/completions", json=body) as reply:
        assert reply.status == 200, await reply.text()
        document: dict[str, Any] = await reply.json()
        return document


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_request_is_seen_thinking_and_answers_when_the_button_is_pressed(tmp_path: Path, workers: int) -> None:
    options = ("--workers", str(workers)) if workers > 1 else ()
    async with (
        taut_serve(tmp_path, *options) as address,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client,
        chromium(tmp_path / "profile") as tab,
    ):
        await tab.open(address)
        await tab.until("document.getElementById('link').textContent.startsWith('live')")
        requests = [asyncio.create_task(ask(client, address)) for _ in range(3)]
        await tab.until("document.querySelectorAll('.card').length === 3")
        length = "document.querySelector('.card .thinking').textContent.length"
        seen = await tab.until(length)
        await tab.until(f"{length} > {seen}")
        await tab.until("document.querySelectorAll('.card button:enabled').length === 3")
        await tab.value("document.querySelectorAll('.card button').forEach(button => button.click())")
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


async def test_a_client_that_leaves_is_gone_from_the_page(tmp_path: Path) -> None:
    async with (
        taut_serve(tmp_path) as address,
        aiohttp.ClientSession() as client,
        chromium(tmp_path / "profile") as tab,
    ):
        await tab.open(address)
        request = asyncio.create_task(ask(client, address, "direct"))
        await tab.until("document.querySelector('.card')?.innerText.includes('does not run the thinking loop')")
        request.cancel()
        await tab.until("document.querySelector('#recent li')?.innerText.includes('the client left')")
