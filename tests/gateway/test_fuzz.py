"""A fuzz of everything that is described: no fault of the gateway's own, nothing undocumented, nothing left behind."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest
import requests

from tests.gateway import fuzzing
from tests.gateway.standing import Threaded, threaded

EXAMPLES = 120
"""Bodies made in all; every one is sent six times."""
LABELS = (
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/responses",
    "POST /v1/messages",
    "GET /v1/models",
    "GET /v1/models/{name}",
    "POST /v1/requests/{id}/answer_now",
    "GET /health",
    "GET /metrics",
    "GET /openapi.json",
)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Threaded]:
    with threaded(fuzzing.engine()) as found:
        yield found


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@pytest.mark.parametrize("label", LABELS)
def test_nothing_that_a_client_sends_is_a_fault_or_leaves_something_behind(
    label: str, gateway: Threaded, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    found = fuzzing.Fuzzed()
    (operation,) = [one for one in fuzzing.operations(gateway.url) if one.label == label]
    fuzzing.fuzz(gateway.url, operation, fuzzing.share_of(label, EXAMPLES), found, is_repeatable=True)
    assert len(found) > 0
    gateway.check_quiet()
    assert capfd.readouterr().err == ""
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


ODD_BODIES = {
    "nothing": b"",
    "a list": b"[]",
    "a number": b"1e999",
    "half an object": b'{"model": "direct"',
    "not UTF-8": b'{"model": "\xff\xfe"}',
    "half a surrogate pair": b'{"model": "direct", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "nested too deep": b'{"model": "direct", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "tools nested deep": b'{"model": "direct", "messages": [{"role": "user", "content": "a"}], "tools": '
    + b"[" * 500
    + b"]" * 500
    + b"}",
    "a huge number": b'{"model": "direct", "messages": [{"role": "user", "content": "a"}], "seed": '
    + b"9" * 5000
    + b"}",
    "a huge n": b'{"model": "direct", "messages": [{"role": "user", "content": "a"}], "n": 1e300}',
    "a NUL": b'{"model": "direct\\u0000", "messages": [{"role": "user", "content": "a\\u0000"}]}',
    "a model with line breaks": b'{"model": "direct\\r\\nx-evil: 1", "messages": [{"role": "user", "content": "a"}]}',
    "a suffix with line breaks": b'{"model": "direct(5)\\r\\n", "messages": [{"role": "user", "content": "a"}]}',
    "an effort with line breaks": b'{"model": "direct", "prompt": "a", "input": "a", "think": "low\\r\\n"}',
    "doubled keys": b'{"model": "direct", "model": 5, "messages": []}',
    "a million messages": b'{"model": "direct", "messages": [' + b"1," * 999_999 + b"1]}",
}


@pytest.mark.parametrize("oddity", ODD_BODIES)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
def test_an_odd_body_gets_a_reply_in_good_form(
    path: str, oddity: str, gateway: Threaded, capfd: pytest.CaptureFixture[str]
) -> None:
    body = ODD_BODIES[oddity]
    reply = requests.post(f"{gateway.url}{path}", data=body, headers={"Content-Type": "application/json"}, timeout=20)
    assert reply.status_code in (200, 400, 404, 413)
    if reply.status_code != 200:
        assert reply.json()["error"]["message"]
        assert "\n" not in reply.json()["error"]["message"]
    assert "x-evil" not in reply.headers
    assert capfd.readouterr().err == ""
    gateway.check_quiet()


SECRET = b"sk-secret-of-a-client"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + SECRET + b"\r\n"
NO_HTTP = {
    "garbage": SECRET + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01" + SECRET,
    "a header without a colon": HEAD + b"X-Bad " + SECRET + b"\r\n\r\n",
    "a header of 18 kB": HEAD + b"X-Long: " + SECRET * 900 + b"\r\n\r\n",
    "a chunk of no size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZZ " + SECRET + b"\r\n",
    "a negative length": HEAD + b"Content-Length: -5\r\n\r\n" + SECRET,
    "two lengths": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + SECRET,
    "gzip that is none": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 21\r\n\r\n" + SECRET,
    "HTTP 9": b"GET /v1/models?key=" + SECRET + b" HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
}


@pytest.mark.parametrize("oddity", NO_HTTP)
def test_what_is_no_http_is_refused_and_leaves_no_word_in_the_log(
    oddity: str, gateway: Threaded, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(NO_HTTP[oddity])
        said = connection.recv(4096)
    assert said.split()[1] == (b"431" if oddity == "a header of 18 kB" else b"400")
    assert SECRET not in said
    gateway.check_quiet()
    assert capfd.readouterr().err == ""
    assert caplog.text == ""


ODD_PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/models", "/health", "/nowhere", "//", "/%00")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY"])
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/models", "/health", "/nowhere", "//", "/%00"]
)
def test_an_odd_method_or_path_gets_a_reply_in_good_form(method: str, path: str, gateway: Threaded) -> None:
    reply = requests.request(method, f"{gateway.url}{path}", timeout=20)
    if (method, path) in (("GET", "/v1/models"), ("GET", "/health")):
        assert reply.status_code == 200
        return
    assert reply.status_code in (404, 405)
    assert reply.json()["error"]["message"]
    assert (reply.json().get("type") == "error") == (path == "/v1/messages")


@pytest.mark.parametrize(
    "headers",
    [
        {"Expect": "200-ok"},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "nonsense"},
        {"Content-Type": "text/plain; charset=nonsense"},
        {"Content-Type": "multipart/form-data"},
        {"Accept": "nothing/at-all"},
        {"Host": "evil.example.org"},
        {"Origin": "https://evil.example.org"},
        {"Authorization": "Bearer " + "x" * 7000},
        {"Authorization": "Basic !!!"},
        {"X-Forwarded-Host": "evil.example.org"},
    ],
    ids=str,
)
def test_odd_headers_get_a_reply_in_good_form(
    headers: dict[str, str], gateway: Threaded, capfd: pytest.CaptureFixture[str]
) -> None:
    body = b'{"model": "direct", "messages": [{"role": "user", "content": "1 + 2?"}], "max_tokens": 5}'
    for path in ("/v1/chat/completions", "/v1/messages"):
        reply = requests.post(f"{gateway.url}{path}", data=body, headers=headers, timeout=20)
        assert reply.status_code in (200, 400, 403, 417), reply.text
        if reply.status_code not in (200, 417):
            assert reply.json()["error"]["message"]
    assert capfd.readouterr().err == ""
