"""A real headless Chromium, driven through its DevTools protocol: for tests of the live page."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

START_LIMIT_S = 60
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def installed() -> str | None:
    """The path of a Chromium; ``None`` where there is none."""
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


class Tab:
    """One page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []
        """What the page wrote to the console, and exceptions that nobody caught."""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; what it answers."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=START_LIMIT_S)
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            if message.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
                self.complaints.append(str(message["params"]))

    async def open(self, url: str, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Go to ``url`` in a window of this size."""
        await self.call("Page.enable")
        await self.call("Runtime.enable")
        await self.call("Log.enable")
        await self.resize(width, height, dark=dark)
        await self.call("Page.navigate", url=url)
        await self.until("location.protocol !== 'about:' && document.readyState === 'complete'")

    async def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Another size or another colour scheme."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def value(self, script: str) -> Any:
        """What an expression comes to, promises waited for."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str, limit_s: float = 20.0) -> Any:
        """Wait until an expression is true, and return it."""
        end = time.monotonic() + limit_s
        while not (found := await self.value(script)):
            if time.monotonic() > end:
                text = await self.value("document.body.innerText")
                raise AssertionError(f"not within {limit_s:g} s: {script}\n{text}\n{self.complaints}")
            await asyncio.sleep(0.05)
        return found

    async def press(self, key: str) -> None:
        """Press a key: ``Tab`` or ``Enter``."""
        code, text = {"Tab": (9, ""), "Enter": (13, "\r")}[key]
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **extra)

    async def picture(self, path: Path) -> None:
        """Save what the window shows."""
        data = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(data["data"]))


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Tab]:
    """A browser of its own with one tab; ``profile`` is a new folder."""
    program = installed()
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program,
        *FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as reply:
                tabs = await reply.json(content_type=None)
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                yield Tab(socket)
                await socket.send_json({"id": 0, "method": "Browser.close"})
        async with asyncio.timeout(10):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _port(file: Path) -> int:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        await asyncio.sleep(0.05)
    raise AssertionError(f"Chromium did not start within {START_LIMIT_S} s")
