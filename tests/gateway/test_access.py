"""Who is let in: bindings, Host, Origin, wrong keys one after the other, what a key may see and use."""

from __future__ import annotations

import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from taut.errors import UsageError
from taut.gateway import access
from taut.gateway.access import check_binding, check_names, check_request
from taut.gateway.guesses import MAX_PEERS, Guesses
from taut.gateway.keys import Key, Keyring, hash_of
from taut.gateway.nouns import Problem
from taut.gateway.settings import Settings

ALICE, BOB = "taut-alice-secret", "taut-bob-secret"
NO_KEYS = Keyring()
HERE = "127.0.0.1:8000"
PEER = "203.0.113.5"


def ring() -> Keyring:
    return Keyring.read({"alice": {"hash": hash_of(ALICE)}, "bob": {"hash": hash_of(BOB)}})


def request(headers: dict[str, str], peer: str = PEER) -> web.Request:
    return make_mocked_request("POST", "/v1/chat/completions", headers=headers).clone(remote=peer)


def refusal(headers: dict[str, str], keyring: Keyring, settings: Settings = Settings(), peer: str = PEER) -> Problem:
    with pytest.raises(Problem) as caught:
        check_request(request(headers, peer), keyring, settings)
    return caught.value


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.9.10", "taut.localhost"])
def test_loopback_may_be_bound_without_keys(host: str) -> None:
    check_binding(host, has_keys=False, no_keys=False, sure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "taut.example.org", "localhost.example.org"])
def test_any_other_address_needs_a_key_or_being_said_twice(host: str) -> None:
    check_binding(host, has_keys=True, no_keys=False, sure=False)
    check_binding(host, has_keys=False, no_keys=True, sure=True)
    for no_keys, sure in ((False, False), (True, False), (False, True)):
        with pytest.raises(UsageError, match=r"taut key NAME.*--no-keys --yes-without-keys"):
            check_binding(host, has_keys=False, no_keys=no_keys, sure=sure)


def test_keys_and_no_keys_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="take one of them out"):
        check_binding("127.0.0.1", has_keys=True, no_keys=True, sure=True)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:8000", "localhost", "LOCALHOST:1", "localhost.:8000", "a.localhost", "[::1]:8000"),
        *("192.168.1.5:8000", "[fe80::1]", "bound.example.org:8000", "Proxy.example.org:443", "other.example.org:99"),
    ],
)
def test_without_keys_names_that_only_the_operator_gives_are_served(host: str) -> None:
    settings = Settings(host="bound.example.org", allow_hosts=("proxy.Example.org", "other.example.org:99"))
    assert check_request(request({"Host": host}), NO_KEYS, settings) is None


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example"),
        *("evil@localhost", "localhost:x", "localhost:8000:9", "localhost/", "[::1", "[localhost]", "a b"),
        *("other.example.org:98", "2130706433"),
    ],
)
def test_without_keys_a_rebound_name_is_refused(host: str) -> None:
    problem = refusal({"Host": host}, NO_KEYS, Settings(allow_hosts=("other.example.org:99",)))
    assert (problem.status, problem.code) == (403, "permission_error")
    assert "allow_hosts" in str(problem)


def test_a_request_without_host_is_refused_where_there_are_no_keys() -> None:
    assert refusal({}, NO_KEYS).status == 403


def test_with_keys_any_host_is_served() -> None:
    key = check_request(request({"Host": "taut.example.org", "x-api-key": ALICE}), ring(), Settings())
    assert key is not None
    assert key.name == "alice"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8000", HERE),
        ("http://localhost", "localhost:80"),
        ("https://taut.example.org", "taut.example.org"),
        ("https://taut.example.org", "Taut.example.org:443"),
        ("https://chat.example.org", "taut.example.org"),
    ],
)
def test_the_own_page_and_allowed_ones_are_served(origin: str, host: str) -> None:
    settings = Settings(allow_origins=("https://chat.example.org",))
    assert check_request(request({"Host": host, "Origin": origin, "x-api-key": ALICE}), ring(), settings)


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example", "null", "", "http://localhost:8000", "http://127.0.0.1:8001", "http://127.0.0.1"),
        *("file://", "http://", "chrome-extension://abc", "http://[", "https://chat.example.org.evil.example"),
    ],
)
@pytest.mark.parametrize("keyring", [NO_KEYS, ring()])
def test_any_other_web_page_is_refused_with_and_without_keys(origin: str, keyring: Keyring) -> None:
    settings = Settings(allow_origins=("https://chat.example.org",))
    problem = refusal({"Host": HERE, "Origin": origin, "x-api-key": ALICE}, keyring, settings)
    assert (problem.status, problem.code) == (403, "permission_error")
    assert "allow_origins" in str(problem)


def test_a_page_under_a_rebound_name_is_refused() -> None:
    assert "allow_hosts" in str(refusal({"Host": "evil.example", "Origin": "http://evil.example"}, NO_KEYS))


@pytest.mark.parametrize("origin", ["*", "null", "chat.example.org", "https://chat.example.org/", "https://*.org", ""])
def test_an_origin_that_could_never_match_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(UsageError, match=r"https://chat\.example\.org"):
        check_names(Settings(allow_origins=(origin,)))


@pytest.mark.parametrize("host", ["*", "*.example.org", "http://taut.example.org", "taut.example.org/", ""])
def test_a_host_that_could_never_match_is_refused_at_the_start(host: str) -> None:
    with pytest.raises(UsageError, match=r"taut\.example\.org"):
        check_names(Settings(allow_hosts=(host,)))


def test_hosts_and_origins_as_they_are_written_pass() -> None:
    check_names(
        Settings(
            allow_hosts=("taut.example.org", "taut:8000", "[fe80::1]"),
            allow_origins=("https://chat.example.org", "http://localhost:3000", "app://obsidian.md"),
        )
    )


def test_twenty_wrong_keys_of_one_address_shut_it_out_for_a_minute() -> None:
    now_s = 1000.0
    keyring = ring()
    keyring.guesses = Guesses(clock=lambda: now_s)
    for count in range(20):
        now_s = 1000.0 + count
        assert refusal({"x-api-key": f"wrong {count}"}, keyring).status == 401
    problem = refusal({"x-api-key": "wrong"}, keyring)
    assert (problem.status, problem.code, problem.retry_after_s) == (429, "rate_limit_error", 41.0)
    # The right key gets the very same answer: nothing is learnt by trying on.
    right = refusal({"x-api-key": ALICE}, keyring)
    assert (right.status, str(right), right.retry_after_s) == (429, str(problem), 41.0)
    assert check_request(request({"x-api-key": ALICE}, peer="203.0.113.6"), keyring, Settings())
    # The first of the twenty leaves the minute at 1060: one more try is looked at.
    now_s = 1060.0
    assert refusal({"x-api-key": "wrong"}, keyring).status == 401
    assert refusal({"x-api-key": "wrong"}, keyring).retry_after_s == 1.0
    now_s = 1061.0
    assert check_request(request({"x-api-key": ALICE}), keyring, Settings())


def test_whoever_was_let_in_before_stays_in_behind_a_shared_address() -> None:
    keyring = ring()
    check_request(request({"x-api-key": ALICE}), keyring, Settings())
    for _ in range(20):
        refusal({"x-api-key": "stale"}, keyring)
    assert refusal({"x-api-key": "stale"}, keyring).status == 429
    assert refusal({"x-api-key": BOB}, keyring).status == 429
    assert check_request(request({"x-api-key": ALICE}), keyring, Settings())


def test_a_request_without_a_key_is_no_guess() -> None:
    keyring = ring()
    for _ in range(50):
        assert refusal({}, keyring).status == 401
    assert check_request(request({"x-api-key": ALICE}), keyring, Settings())


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::1", "::1", True),
        ("", "not:an:address", False),
    ],
)
def test_addresses_of_one_ipv6_network_are_one_peer(first: str, second: str, same: bool) -> None:
    guesses = Guesses(clock=lambda: 0.0)
    for _ in range(20):
        guesses.wrong(first)
    assert guesses.wait_s(first) == 60.0
    assert (guesses.wait_s(second) == 60.0) is same


def test_only_so_many_peers_are_remembered() -> None:
    guesses = Guesses(clock=lambda: 0.0)
    guesses.right("first", "alice")
    for number in range(MAX_PEERS):
        guesses.wrong(str(number))
    assert not guesses.has_met("first", "alice")
    assert len(guesses._peers) == MAX_PEERS


def test_a_model_that_a_key_may_not_use_is_refused() -> None:
    key = Key("alice", b"", models=("concise", "qwen*"))
    access.check_model(key, "qwen3")
    access.check_model(None, "direct")
    with pytest.raises(Problem, match="it may use concise, qwen") as caught:
        access.check_model(key, "direct")
    assert (caught.value.status, caught.value.code, caught.value.param) == (403, "permission_error", "model")


def test_only_admins_see_what_others_do() -> None:
    access.check_admin(None)
    access.check_admin(Key("alice", b"", admin=True))
    with pytest.raises(Problem, match="admin = true") as caught:
        access.check_admin(Key("bob", b""))
    assert caught.value.status == 403


def test_only_the_live_page_asks_a_browser_for_a_key() -> None:
    unauthorized = Problem("x", status=401)
    assert access.challenge(unauthorized, "/")["WWW-Authenticate"].startswith("Basic ")
    assert access.challenge(unauthorized, "/v1/models") == {}
    assert access.challenge(Problem("x", status=429), "/") == {}


def test_only_allowed_pages_are_told_that_they_may_read() -> None:
    settings = Settings(allow_origins=("https://chat.example.org",))
    asked = {"Origin": "https://chat.example.org", "Access-Control-Request-Headers": "authorization,x-a"}
    told = access.cors_headers(asked, settings)
    assert told["Access-Control-Allow-Origin"] == "https://chat.example.org"
    assert told["Access-Control-Allow-Headers"] == "authorization,x-a"
    assert told["Vary"] == "Origin"
    assert access.cors_headers({"Origin": "https://evil.example"}, settings) == {}
    assert access.cors_headers({}, settings) == {}


async def test_no_key_reaches_the_log_or_a_reply_of_a_real_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keyring, settings = ring(), Settings()

    async def answer(request: web.Request) -> web.Response:
        try:
            key = check_request(request, keyring, settings)
        except Problem as problem:
            headers = access.challenge(problem, request.path)
            return web.Response(text=str(problem), status=problem.status, headers=headers)
        return web.Response(text=key.name if key else "")

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestClient(TestServer(app)) as client:
        for headers, status in (
            ({"Authorization": f"Bearer {ALICE}"}, 200),
            ({"x-api-key": "taut-carol-secret"}, 401),
            ({"Authorization": "Basic taut-carol-secret"}, 401),
            ({}, 401),
            *(({"x-api-key": "taut-carol-secret"}, 401),) * 19,
            ({"x-api-key": "taut-carol-secret"}, 429),
            ({"Authorization": f"Bearer {ALICE}"}, 200),
            ({"Authorization": f"Bearer {BOB}"}, 429),
        ):
            async with client.get("/", headers=headers) as response:
                assert response.status == status
                assert ("WWW-Authenticate" in response.headers) is (status == 401)
                assert "secret" not in await response.text()
    assert "GET /" in caplog.text
    assert "secret" not in caplog.text
