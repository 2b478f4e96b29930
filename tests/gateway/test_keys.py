"""Keys: how they are read, found and kept secret, and ``taut key``."""

from __future__ import annotations

import hmac
import io
import logging
import tomllib
import traceback
from base64 import b64encode
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from taut.cli import main
from taut.errors import UsageError
from taut.gateway.keys import Key, Keyring, credentials_of, hash_of, make_key
from taut.gateway.nouns import Problem
from taut.gateway.settings import Limits

ALICE, BOB = "taut-alice-secret", "taut-bob-secret"
HASH = {"hash": hash_of(ALICE)}


def ring() -> Keyring:
    return Keyring.read({"alice": HASH, "bob": {"hash": hash_of(BOB), "requests_at_once": 4, "admin": True}})


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def refusal(headers: dict[str, str], keyring: Keyring | None = None) -> Problem:
    with pytest.raises(Problem) as caught:
        (keyring or ring()).find(CIMultiDict(headers))
    assert (caught.value.status, caught.value.code) == (401, "authentication_error")
    return caught.value


def test_the_hash_is_plain_sha256() -> None:
    # printf abc | sha256sum
    assert hash_of("abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_made_keys_hold_256_bits_and_differ() -> None:
    keys = {make_key() for _ in range(100)}
    assert len(keys) == 100
    # 32 bytes are 43 characters of six bits.
    assert {len(key) for key in keys} == {len("taut-") + 43}
    assert all(key.startswith("taut-") for key in keys)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {ALICE}"},
        {"authorization": f"bearer   {ALICE} "},
        {"X-Api-Key": ALICE},
        {"x-api-key": f" {ALICE}"},
        basic("", ALICE),
        basic("anybody", ALICE),
        {"Authorization": "Bearer placeholder", "x-api-key": ALICE},
        {"Authorization": f"Bearer {ALICE}", "x-api-key": "placeholder"},
    ],
)
def test_a_key_is_found_in_every_header_that_clients_use(headers: dict[str, str]) -> None:
    assert ring().find(CIMultiDict(headers)).name == "alice"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": ALICE},
        {"Authorization": f"Digest {ALICE}"},
        {"Cookie": f"key={ALICE}"},
        basic(ALICE, ""),
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic \udcff"},
    ],
)
def test_without_a_key_the_refusal_says_how_to_send_one(headers: dict[str, str]) -> None:
    assert "Authorization: Bearer KEY" in str(refusal(headers))


@pytest.mark.parametrize(
    "text", ["taut-carol-secret", ALICE[:-1], ALICE + "x", ALICE.upper(), hash_of(ALICE), "ü\udcff", "x" * 100_000]
)
def test_a_wrong_key_is_refused(text: str) -> None:
    assert str(refusal({"x-api-key": text})) == "this key is not known here"


def test_keys_are_compared_in_constant_time_known_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return real(first, second)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keyring = ring()
    assert keyring.owner(ALICE) is not None
    assert keyring.owner("wrong") is None
    known, unknown = compared
    assert known[0] == known[1]
    assert unknown[1] == bytes(32)
    assert {len(part) for pair in compared for part in pair} == {32}


def test_a_key_is_refused_from_the_day_it_expires() -> None:
    key = Key("alice", b"", expires=date(2027, 1, 1))
    assert not key.has_expired(date(2026, 12, 31))
    assert key.has_expired(date(2027, 1, 1))
    assert not Key("bob", b"").has_expired(date(9999, 12, 31))
    keyring = Keyring.read({"alice": {**HASH, "expires": date(2020, 2, 29)}})
    assert str(refusal({"x-api-key": ALICE}, keyring)) == "the key of 'alice' has expired on 2020-02-29"


def test_a_table_of_toml_becomes_a_key() -> None:
    text = f"""
    [alice]
    hash = "{hash_of(ALICE).upper().replace("SHA", "sha")}"
    requests_at_once = 4
    requests_per_minute = 60
    tokens_per_minute = 100_000
    max_thinking_tokens = 0
    max_tokens = 4096
    models = ["concise", "qwen*"]
    admin = true
    expires = 2999-01-01
    """
    key = Keyring.read(tomllib.loads(text)).find({"x-api-key": ALICE})
    assert (key.requests_at_once, key.requests_per_minute, key.tokens_per_minute) == (4, 60, 100_000)
    assert (key.max_thinking_tokens, key.max_tokens, key.admin) == (0, 4096, True)
    assert (key.models, key.expires) == (("concise", "qwen*"), date(2999, 1, 1))


WRONG_TABLES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "unknown key": ("alice", {**HASH, "request_at_once": 1}, ("'request_at_once'", "did you mean 'requests_at_once'?")),
    "no hash": ("alice", {}, ("[serve.keys.alice]", 'hash = "sha256:"', "64")),
    "hash is a number": ("alice", {"hash": 7}, ("64 hexadecimal digits",)),
    "short hash": ("alice", {"hash": "sha256:abc"}, ("64 hexadecimal digits",)),
    "other hash": ("alice", {"hash": "md5:" + "0" * 64}, ("sha256:",)),
    "no requests": ("alice", {**HASH, "requests_at_once": 0}, ("[serve.keys.alice]: requests_at_once = 0", ">= 1")),
    "negative": ("alice", {**HASH, "tokens_per_minute": -5}, ("tokens_per_minute = -5",)),
    "negative thinking": ("alice", {**HASH, "max_thinking_tokens": -1}, ("max_thinking_tokens", ">= 0")),
    "a part of a request": ("alice", {**HASH, "requests_per_minute": 1.5}, ("requests_per_minute", "int")),
    "true is no number": ("alice", {**HASH, "max_tokens": True}, ("max_tokens",)),
    "no models": ("alice", {**HASH, "models": []}, ("models", ">= 1")),
    "one model as text": ("alice", {**HASH, "models": "concise"}, ("models", "array")),
    "admin is a number": ("alice", {**HASH, "admin": 1}, ("admin", "bool")),
    "no date": ("alice", {**HASH, "expires": "soon"}, ("expires = 'soon'",)),
    "name with a space": ("al ice", HASH, ("'alice'", "letters")),
    "long name": ("a" * 65, HASH, ("64 letters",)),
    "empty name": ("", HASH, ("64 letters",)),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_a_wrong_table_is_named_with_what_would_be_right(name: str) -> None:
    holder, table, expected = WRONG_TABLES[name]
    with pytest.raises(UsageError) as caught:
        Keyring.read({holder: table})
    for part in expected:
        assert part in str(caught.value)


def test_a_key_that_is_no_table_is_refused() -> None:
    with pytest.raises(UsageError, match=r"written \[serve.keys.alice\]"):
        Keyring.read({"alice": "sha256:…"})  # type: ignore[dict-item]


def test_two_names_with_one_hash_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\[serve.keys.alice\] and \[serve.keys.bob\] have the same hash"):
        Keyring.read({"alice": HASH, "bob": HASH})


def test_a_keyring_is_true_where_there_are_keys() -> None:
    assert not Keyring()
    assert not Keyring.read({})
    assert ring()
    assert ring().names == ("alice", "bob")


@pytest.mark.parametrize(
    ("model", "allowed"),
    [("concise", True), ("concise2", False), ("qwen3-8b", True), ("Qwen3-8b", False), ("direct", False)],
)
def test_models_are_patterns(model: str, allowed: bool) -> None:
    assert Key("alice", b"", models=("concise", "qwen*")).allows(model) is allowed
    assert Key("bob", b"").allows(model)


def test_a_key_lowers_ceilings_and_never_raises_them() -> None:
    wide = Limits(n=3, max_tokens=1000, max_thinking_tokens=None)
    assert Key("a", b"").lower(wide) == wide
    lowered = Key("a", b"", max_tokens=2000, max_thinking_tokens=0).lower(wide)
    assert (lowered.max_tokens, lowered.max_thinking_tokens, lowered.n) == (1000, 0, 3)
    lowered = Key("a", b"", max_tokens=10, requests_at_once=1).lower(wide)
    assert (lowered.max_tokens, lowered.max_thinking_tokens, lowered.requests_at_once) == (10, None, 512)


def everything_about(error: BaseException | None) -> str:
    """The texts, causes and attributes of an error and of all that led to it."""
    if error is None:
        return ""
    own = f"{error!r} {error} {error.args} {vars(error)} {getattr(error, 'object', '')!r}"
    return own + everything_about(error.__cause__) + everything_about(error.__context__)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer taut-carol-secret"},
        {"x-api-key": "taut-carol-secret"},
        basic("carol", "taut-carol-secret"),
        {"Authorization": "Basic taut-carol-secret!"},
        {"Authorization": "taut-carol-secret"},
    ],
)
def test_no_key_is_in_an_error_a_traceback_or_a_log(headers: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    problem = refusal(headers)
    told = everything_about(problem) + "".join(traceback.format_exception(problem)) + caplog.text
    assert "carol" not in told
    assert b64encode(b"carol:").decode()[:7] not in told


def test_a_key_pasted_where_its_hash_belongs_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        Keyring.read({"alice": {"hash": ALICE}})
    assert ALICE not in everything_about(caught.value)


def test_the_text_of_a_key_or_its_digest_is_in_no_repr() -> None:
    keyring = ring()
    key = keyring.find({"x-api-key": ALICE})
    shown = f"{key!r} {key} {keyring!r} {keyring} {[*keyring]}"
    assert "alice" in shown
    assert ALICE not in shown
    assert hash_of(ALICE)[-20:] not in shown
    assert repr(key.digest) not in shown


def test_two_credentials_of_one_request_are_both_tried() -> None:
    assert credentials_of({"Authorization": "Bearer a", "x-api-key": "b"}) == ("a", "b")


def run_key(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["key", *arguments])
    return code, *capsys.readouterr()


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "taut.toml"
    path.write_text(
        f'[serve.keys.alice]\nhash = "{hash_of(ALICE)}"\n'
        f'[serve.keys.old]\nhash = "{hash_of(BOB)}"\nexpires = 2020-01-01\n',
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize("name", ["alice", "alice.laptop"])
def test_taut_key_prints_a_key_once_and_the_block_that_knows_it(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, output, told = run_key(capsys, name)
    assert code == 0
    key = output.strip()
    assert output.count("\n") == 1
    assert key not in told
    tables = tomllib.loads(told[told.index("[serve") :])["serve"]["keys"]
    assert Keyring.read(tables).find({"x-api-key": key}).name == name


def test_taut_key_check_says_whose_a_key_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, toml: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{ALICE}\n"))
    assert run_key(capsys, "--check", str(toml)) == (0, "alice\n", "")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"  {ALICE}"))
    assert run_key(capsys, "alice", "--check", str(toml)) == (0, "alice\n", "")


@pytest.mark.parametrize(
    ("arguments", "key", "expected"),
    [
        ((), "taut-carol-secret", "nobody in "),
        ((), "", "nobody in "),
        (("bob",), ALICE, "held by 'alice', not by 'bob'"),
        (("old",), BOB, "expired on 2020-01-01"),
    ],
)
def test_taut_key_check_refuses_a_key_of_nobody(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    toml: Path,
    arguments: tuple[str, ...],
    key: str,
    expected: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(key))
    code, output, told = run_key(capsys, *arguments, "--check", str(toml))
    assert (code, output) == (2, "")
    assert expected in told
    assert not key or key not in told


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "taut key alice"),
        (("al ice",), "letters"),
        (("alice", "--check", "absent.toml"), "absent.toml"),
    ],
)
def test_taut_key_names_what_is_wrong(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    code, output, told = run_key(capsys, *arguments)
    assert (code, output) == (2, "")
    assert expected in told


@pytest.mark.parametrize("text", ["serve = 1", "[serve]\nkeys = []", "[serve.keys]\nalice = 3", "[[[", "\xff"])
def test_taut_key_check_names_a_file_that_is_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_bytes(text.encode("latin-1"))
    monkeypatch.setattr("sys.stdin", io.StringIO(ALICE))
    code, output, told = run_key(capsys, "--check", str(path))
    assert (code, output) == (2, "")
    assert told.count("\n") == 1
