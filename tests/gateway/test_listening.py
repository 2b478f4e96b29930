"""Connections: what is no HTTP is refused without a word of it, who says nothing is left, and files may run out."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web

from taut.engines.fake import FakeEngine
from taut.gateway.listening import Runner, cannot_listen, raise_file_limit
from taut.gateway.settings import read_settings
from tests.gateway.conftest import running
from tests.gateway.processes import ROOT, free_port

SECRET = b"sk-secret"
HEAD_S = 0.3


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def exchanged(url: str, *lines: bytes, body: bytes = b"") -> bytes:
    """What comes back for a head of these lines."""
    async with connected(url) as (reader, writer), asyncio.timeout(5):
        writer.write(b"\r\n".join([*lines, b"", body]))
        return await reader.read()


POST = b"POST /v1/chat/completions HTTP/1.1"
HOST = b"Host: localhost"
KEY = b"Authorization: Bearer " + SECRET
LAST = b"Connection: close"
LENGTH = b"Content-Length: 2"


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (400, [POST, HOST, KEY + b"\x00\x01"]),
        (400, [POST, HOST, b"Authorization Bearer " + SECRET]),
        (400, [POST, HOST, b"Authorization: Bearer", b" " + SECRET]),
        (400, [b"HELLO " + SECRET, HOST]),
        (400, [POST, HOST, KEY, b"Content-Length: -1"]),
        (400, [POST, HOST, KEY, b"Transfer-Encoding: " + SECRET]),
        (431, [POST, HOST, b"Authorization: Bearer " + SECRET * 2000]),
        (431, [b"GET /" + SECRET * 2000 + b" HTTP/1.1", HOST]),
        (417, [POST, HOST, KEY, b"Expect: " + SECRET, LENGTH, LAST]),
        (415, [POST, HOST, KEY, b"Content-Encoding: zstd", LENGTH, LAST]),
        (415, [POST, HOST, KEY, b"Content-Encoding: br", LENGTH, LAST]),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_what_is_no_http_is_refused_in_the_usual_form_without_a_word_of_it(
    status: int, lines: list[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    async with running(FakeEngine()) as (url, _):
        reply = await exchanged(url, *lines, body=b"{}")
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.split()[1] == b"%d" % status, head
    assert b"application/json" in head
    assert set(json.loads(body)["error"]) >= {"message", "type", "code"}
    assert b"\r\nServer: taut\r\n" in head + b"\r\n"
    told = capfd.readouterr()
    for text in (reply, (told.err + told.out).encode()):
        assert SECRET not in text
        assert b"aiohttp" not in text


async def test_no_reply_names_the_library_it_is_served_by() -> None:
    async with running(FakeEngine()) as (url, _):
        for path in (b"/health", b"/v1/models", b"/nothing", b"/"):
            reply = await exchanged(url, b"GET " + path + b" HTTP/1.1", HOST, LAST)
            assert b"\r\nServer: taut\r\n" in reply
            assert b"aiohttp" not in reply.partition(b"\r\n\r\n")[0]


@asynccontextmanager
async def impatient() -> AsyncIterator[str]:
    """A server that waits `HEAD_S` for a head, and whose one page takes three times as long."""

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(3 * HEAD_S)
        return web.Response(text="here it is")

    app = web.Application()
    app.router.add_get("/slow", slow)
    app.router.add_post("/slow", slow)
    runner = Runner(app, shutdown_timeout_s=0.1, head_s=HEAD_S)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("begun", [b"", b"GET /slow HT", b"GET /slow HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n"])
async def test_a_connection_that_sends_no_whole_head_is_closed(begun: bytes) -> None:
    async with impatient() as url, connected(url) as (reader, writer), asyncio.timeout(5):
        writer.write(begun)
        assert await reader.read() == b""


async def test_a_head_that_drips_in_is_not_waited_for() -> None:
    async with impatient() as url, connected(url) as (reader, writer), asyncio.timeout(5):
        writer.write(b"GET /slow HTTP/1.1\r\n")
        began_s = time.monotonic()
        while not reader.at_eof():
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.05)
            if time.monotonic() > began_s + 10 * HEAD_S:
                break
        assert reader.at_eof() or reader.exception() is not None


async def test_a_request_under_way_is_not_touched_and_its_connection_may_be_idle_afterwards() -> None:
    async with impatient() as url, connected(url) as (reader, writer), asyncio.timeout(10):
        for _ in range(2):
            writer.write(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await reader.readuntil(b"here it is")
            await asyncio.sleep(2 * HEAD_S)


async def test_a_second_head_that_does_not_end_is_not_waited_for_either() -> None:
    async with impatient() as url, connected(url) as (reader, writer), asyncio.timeout(10):
        writer.write(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"here it is")
        writer.write(b"GET /slow HT")
        assert await reader.read() == b""


def test_a_process_may_open_as_many_files_as_the_system_lets_it() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 256), before[1]))
    try:
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


async def test_running_out_of_files_is_told_in_a_sentence_now_and_then() -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "taut.cli", "serve", "--engine", "fake", "--port", str(port)],
        cwd=ROOT / "tests",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=limit_files,
    )
    try:
        async with AsyncExitStack() as stack:
            await until_it_listens(port)
            for _ in range(100):
                await stack.enter_async_context(connected(f"http://127.0.0.1:{port}"))
            await asyncio.sleep(3)
        process.terminate()
        said = (await asyncio.to_thread(process.communicate, timeout=20))[1].decode()
    finally:
        process.kill()
        process.wait()
    assert 1 <= said.count("no more files can be opened") <= 2
    assert "Traceback" not in said
    assert len(said) < 5000


async def until_it_listens(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                async with connected(f"http://127.0.0.1:{port}"):
                    return
            except ConnectionError:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(98, "error while attempting to bind"), "port 8000 of 127.0.0.1 is in use already"),
        (PermissionError(13, "Permission denied"), "above 1023"),
        (OSError(99, "error while attempting to bind"), "(Cannot assign requested address): give an address of this"),
        (OSError(-2, "Name or service not known"), "(Name or service not known): give an address of this"),
    ],
)
@pytest.mark.skipif(os.uname().sysname != "Linux", reason="error numbers of Linux")
def test_an_address_that_cannot_be_had_is_told_with_a_way_out(error: OSError, says: str) -> None:
    assert says in str(cannot_listen(read_settings({}, {}, "test"), error))


@pytest.mark.parametrize("host", ["[::1]", "::1"])
def test_an_address_may_be_written_as_in_a_url(host: str) -> None:
    assert read_settings({}, {"host": host}, "test").host == "::1"
