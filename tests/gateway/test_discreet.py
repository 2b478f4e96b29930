"""What aiohttp logs about connections: a fault is told by its kind and place, a client's words never."""

from __future__ import annotations

import pytest
from aiohttp.http_exceptions import LineTooLong

from taut.gateway.discreet import discreet_logger

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
