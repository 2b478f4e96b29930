"""What an operator may write under [serve], and what is refused there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taut.errors import UsageError
from taut.gateway.settings import EFFORT, Limits, Settings, read_settings


def test_without_a_word_the_defaults_hold() -> None:
    settings = read_settings({}, {}, "[serve]")
    assert settings == Settings()
    assert (settings.host, settings.port, settings.unenforceable) == ("127.0.0.1", 8000, "say")


def test_what_is_given_on_the_command_line_wins() -> None:
    settings = read_settings({"port": 1, "max_tokens": 10}, {"port": 2, "max_tokens": 20}, "[serve]")
    assert (settings.port, settings.limits) == (2, Limits(max_tokens=20))


def test_an_effort_is_changed_and_the_others_stay() -> None:
    assert read_settings({"effort": {"low": 7}}, {}, "[serve]").effort == {**EFFORT, "low": 7}


def test_a_path_is_a_path() -> None:
    assert read_settings({"traces": "runs/live"}, {}, "[serve]").traces == Path("runs/live")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"prot": 1}, "unknown key 'prot' (did you mean 'port'?)"),
        ({"max_thinking_token": 1}, "did you mean 'max_thinking_tokens'?"),
        ({"limits": {}}, "unknown key 'limits'"),
        ({"port": "high"}, "port"),
        ({"port": 70000}, "port is 70000; ports go up to 65535"),
        ({"port": -1}, "port is -1"),
        ({"shadow": 1.5}, "shadow is 1.5; it is a share"),
        ({"unenforceable": "ignore"}, "unenforceable"),
        ({"requests_at_once": 0}, "requests_at_once is 0; it must be above 0"),
        ({"max_thinking_tokens": -1}, "max_thinking_tokens is -1; it must be 0 or more"),
        ({"deadline_s": 0}, "deadline_s is 0; it must be above 0"),
        ({"deadline_s": float("nan")}, "deadline_s is nan"),
        ({"keep_alive_s": 0}, "keep_alive_s is 0"),
        ({"keep_alive_s": float("inf")}, "keep_alive_s is inf; it must be 86400 seconds at most, a day"),
        ({"drain_s": 1e9}, "drain_s is 1e+09; it must be 86400"),
        ({"deadline_s": 86_401}, "deadline_s is 86401; it must be 86400"),
        ({"slow_reader_s": float("inf")}, "slow_reader_s is inf"),
        ({"effort": {"low": -1}}, "effort.low is -1"),
        ({"effort": {"low": "much"}}, "effort"),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_by_its_name(table: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_settings(table, {}, "[serve] in taut.toml")
    assert says in str(caught.value)
    assert str(caught.value).startswith("[serve] in taut.toml")


@pytest.mark.parametrize("name", ["no way", "none", "AUTO", "512", "x(1)"])
def test_an_effort_that_no_client_could_ask_for_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="effort"):
        read_settings({"effort": {name: 100}}, {}, "[serve]")


@pytest.mark.parametrize("key", ["port", "shadow", "max_thinking_tokens", "drain_s", "shadow_at_once"])
def test_zero_means_something_for_a_few(key: str) -> None:
    read_settings({key: 0}, {}, "[serve]")


def test_keys_are_not_shown() -> None:
    settings = read_settings({"keys": {"alice": {"hash": "sha256:abc"}}}, {}, "[serve]")
    assert "alice" not in repr(settings)
