"""What aiohttp logs about connections: a fault is told by its kind and place, a client's words never."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.http_exceptions import LineTooLong

from taut.gateway.discreet import NO_FILES, Seldom, discreet_logger, discreet_loop

SECRET = "sk-secret"


def raised(error: Exception) -> None:
    try:
        raise error
    except Exception:  # noqa: BLE001 - as aiohttp does
        discreet_logger().exception("Error handling request with %s", SECRET)


def test_a_fault_is_told_by_its_kind_and_its_place(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    raised(KeyError(SECRET))
    told = capsys.readouterr().err
    assert told.startswith("taut: fault between requests: KeyError at test_discreet.py:")
    assert SECRET not in told + caplog.text
    assert told.count("\n") == 1


def test_what_is_no_http_is_not_told(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    raised(LineTooLong(SECRET.encode(), 8190))
    discreet_logger().warning("something about %s", SECRET)
    assert capsys.readouterr().err + caplog.text == ""


def test_the_same_sentence_is_said_once_in_five_seconds_and_others_meanwhile(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = [0.0]
    seldom = Seldom(lambda: clock[0])
    for clock[0], sentence in ((0.0, "a"), (0.1, "a"), (4.9, "b"), (4.95, "a"), (5.0, "a"), (5.1, "b"), (9.8, "a")):
        seldom.say(sentence)
    assert capsys.readouterr().err == "taut: a\ntaut: b\ntaut: a\n"


async def test_a_fault_in_the_loop_is_one_line_without_its_words(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(text: str) -> None:
        raise KeyError(text)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(discreet_loop())
    loop.call_soon(fail, SECRET)
    await asyncio.sleep(0.01)
    for _ in range(500):
        loop.call_exception_handler({"message": NO_FILES, "exception": OSError(24, "Too many open files")})
    loop.call_exception_handler({"message": f"Unclosed connection <{SECRET}>"})
    fault, files, rest = capfd.readouterr().err.splitlines()
    assert fault.startswith("taut: fault in the event loop: KeyError at test_discreet.py:")
    assert "no more files can be opened" in files
    assert rest == "taut: fault in the event loop: Unclosed connection"
