"""One OpenAI-compatible server over HTTP: addresses, the key, JSON calls, and every failure as an `EngineError`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp
import msgspec

from taut.engines._retry import RetryLater, retry_after_s
from taut.engines._wire import load_json, may_have_halves, whole_document, whole_text
from taut.errors import EngineError, UsageError, one_line

KEEP_ALIVE_S = 4.0
"""Below the 5 s after which llama.cpp and uvicorn drop an idle connection: reusing a dropped one fails."""
KEY_REFUSED = (401, 403)
SHOWN_AT_MOST = 8
"""Characters of a key by which it is recognised where it was cut off."""
MAX_ERROR_BYTES = 64 << 10
MAX_DOCUMENT_BYTES = 16 << 20
"""Of one JSON answer; a list of 100,000 models has less."""
_API_END = re.compile(r"(/v\d+[a-z0-9]*|/openai|/beta|/api)$")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REASON_KEYS = ("error", "message", "detail", "msg")
_PERMANENT_CODES = frozenset({"insufficient_quota"})


class Http:
    """A connection pool to one server. The key goes into a header and nowhere else."""

    def __init__(self, url: str, *, headers: Mapping[str, str], key_env: str, connect_timeout_s: float) -> None:
        self.api_url, self.server_url = split_url(url)
        self._headers = {"Accept-Encoding": "identity", **headers}
        self._key_env = key_env
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s)
        self._connect_timeout_s = connect_timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._max_connections = 0

    def start(self, max_connections: int) -> None:
        """Open the pool; needs a running event loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=KEEP_ALIVE_S),
            timeout=self._timeout,
            headers=self._headers,
        )

    def always_send(self, headers: Mapping[str, str]) -> None:
        """Add to the headers of every request from now on."""
        self._headers.update(headers)
        if self._session is not None:
            self._session.headers.update(headers)

    def beside(self) -> Http:
        """A pool of one connection to the same server, open: for questions that must not queue behind the calls."""
        http = Http(
            self.api_url, headers=self._headers, key_env=self._key_env, connect_timeout_s=self._connect_timeout_s
        )
        http.start(1)
        return http

    @property
    def host(self) -> str:
        """Name of the machine, without the port."""
        return urlsplit(self.server_url).hostname or ""

    async def post(self, url: str, body: bytes) -> aiohttp.ClientResponse:
        """Send ``body`` (JSON) and return the response once it has begun with status 200. Raises `EngineError`."""
        return await self._begin("POST", url, body)

    async def forward(self, url: str, body: bytes) -> aiohttp.ClientResponse:
        """Send ``body`` (JSON) and return the response once it has begun, whatever its status. Raises `EngineError`."""
        return await self._send("POST", url, body)

    async def json(self, url: str, body: Any = None) -> Any:
        """GET, or POST with a ``body``, and the decoded answer. Raises `EngineError`."""
        encoded = None if body is None else msgspec.json.encode(body)
        response = await self._begin("GET" if body is None else "POST", url, encoded)
        try:
            data = await self._read_bounded(response, url)
        except (aiohttp.ClientError, OSError) as error:
            raise self.translate(error) from None
        finally:
            response.release()
        return self._decode(data, url)

    async def _read_bounded(self, response: aiohttp.ClientResponse, url: str) -> bytes:
        data = bytearray()
        async for part in response.content.iter_any():
            data += part
            if len(data) > MAX_DOCUMENT_BYTES:
                response.close()
                raise EngineError(f"{self.redact(url)} sent more than {MAX_DOCUMENT_BYTES >> 20} MiB: is this an API?")
        return bytes(data)

    async def find(self, url: str) -> Any:
        """Like `json` with GET, but ``None`` where there is nothing of the kind: for finding out what a server is."""
        try:
            return await self.json(url)
        except EngineError as error:
            # llama.cpp lists its models to everybody, and asks for the key here.
            if error.status in KEY_REFUSED or error.kind in ("unreachable", "cut", "timeout"):
                raise
            return None

    async def is_there(self, url: str) -> bool:
        """Whether GET answers 200; ``False`` where there is no such page. Raises `EngineError` if it is down."""
        try:
            (await self._begin("GET", url, None)).close()
        except EngineError as error:
            if error.kind in ("refused", "garbled"):
                return False
            raise
        return True

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def _begin(self, method: str, url: str, body: bytes | None) -> aiohttp.ClientResponse:
        response = await self._send(method, url, body)
        if response.status == 200:
            return response
        try:
            raise await self._refusal(response)
        finally:
            response.close()

    async def _send(self, method: str, url: str, body: bytes | None) -> aiohttp.ClientResponse:
        if self._session is None or self._session.closed:
            raise EngineError("the engine is closed", kind="unreachable")
        headers = {"Content-Type": "application/json"} if body is not None else None
        try:
            return await self._session.request(method, url, data=body, headers=headers, allow_redirects=method == "GET")
        except (aiohttp.ClientError, OSError) as error:
            raise self.translate(error) from None

    async def _refusal(self, response: aiohttp.ClientResponse) -> EngineError:
        try:
            text = (await response.content.read(MAX_ERROR_BYTES)).decode("utf-8", "replace")
        except aiohttp.ClientError:
            text = ""
        status, reason = response.status, self.redact(error_message(text))
        if status in KEY_REFUSED:
            advice = f"set a valid key in the environment variable {self._key_env}"
            return EngineError(f"{self.server_url} refused the key ({status}): {advice}", kind="refused", status=status)
        if 300 <= status < 400:
            return EngineError(self._where_to(response), kind="refused", status=status)
        reason = reason or self.redact(response.reason or "") or "no reason given"
        message = f"{self.server_url} answered {status}: {reason}"
        passes = status in (408, 429) or status >= 500
        if passes and status != 501 and not _is_permanent(text):
            return RetryLater(message, kind="overloaded", status=status, retry_after_s=retry_after_s(response.headers))
        return EngineError(message, kind="refused", status=status)

    def _where_to(self, response: aiohttp.ClientResponse) -> str:
        """The sentence for a redirect that was not followed."""
        status, asked = response.status, str(response.url)
        location = response.headers.get("Location", "")
        try:
            place = urljoin(asked, location)
        except ValueError:
            place = ""
        if not location or not place:
            return f"{self.server_url} redirects without saying where to ({status})"
        if place == asked:
            return f"{self.redact(asked)} redirects to itself ({status}): the server is set up wrongly"
        return f"{self.server_url} redirects to {self.redact(place)} ({status}): use that address"

    def _decode(self, data: bytes, url: str) -> Any:
        text = data.decode("utf-8", "replace")
        try:
            document = load_json(text)
            return whole_document(document) if may_have_halves(text) else document
        except RecursionError:
            raise EngineError(f"{self.redact(url)} answered with JSON that is nested too deep") from None
        except ValueError:
            raise self.not_the_api(data, url) from None

    def not_the_api(self, data: bytes, url: str) -> EngineError:
        """For an answer that is not JSON."""
        what = "a web page" if data.lstrip()[:1] == b"<" else "something that is not JSON"
        return EngineError(
            f"{self.redact(url)} answered with {what}: is this the base URL of an OpenAI-compatible API?"
        )

    def translate(self, error: BaseException) -> EngineError:
        """A failure below the protocol as an `EngineError`; those that may pass are `RetryLater`."""
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return RetryLater(
                f"{self.server_url} did not accept a connection within {self._connect_timeout_s:g} s",
                kind="unreachable",
            )
        if isinstance(error, aiohttp.ClientSSLError):
            return EngineError(self._no_tls(error), kind="unreachable")
        if isinstance(error, (aiohttp.TooManyRedirects, aiohttp.RedirectClientError)):
            what = "in a circle" if isinstance(error, aiohttp.TooManyRedirects) else "to what is no HTTP address"
            return EngineError(f"{self.server_url} redirects {what}: give the address of the API itself")
        if isinstance(error, aiohttp.ClientConnectorError):
            number = error.os_error.errno
            # asyncio puts the address in place of the reason; resolver errors have a negative number.
            reason = os.strerror(number) if number and number > 0 else one_line(error.os_error)
            return RetryLater(f"no server answers at {self.server_url}: {reason}", kind="unreachable")
        if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError)):
            return RetryLater(f"{self.server_url} broke the connection off ({type(error).__name__})", kind="cut")
        return EngineError(f"{self.server_url} does not speak HTTP properly: {self.redact(one_line(error))}")

    def _no_tls(self, error: aiohttp.ClientSSLError) -> str:
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return f"the certificate of {self.server_url} is not trusted: {one_line(error.certificate_error)}"
        plain = self.server_url.replace("https://", "http://", 1)
        return f"{self.server_url} does not speak TLS as it should: if it is a plain HTTP server, write {plain}"

    def redact(self, text: str) -> str:
        """``text`` as one whole line without any secret that was sent, in case a server echoes it."""
        text = whole_text(text)
        for secret in self._secrets():
            # By its beginning: where a server's words were cut off, a part of the key may be left.
            text = re.sub(re.escape(secret[:SHOWN_AT_MOST]) + r"\S*", "***", text)
        return " ".join(text.split())[:300]

    def clean(self, data: bytes) -> bytes:
        """What a server sent, without any secret that was sent to it: a key must not come back in a reply."""
        for secret in self._secrets():
            encoded = secret.encode()
            if encoded in data:
                data = data.replace(encoded, b"***")
        return data

    def _secrets(self) -> tuple[str, ...]:
        found = (value for name, value in self._headers.items() if name.lower() in _SECRET_HEADERS)
        return tuple(secret for value in found if (secret := value.removeprefix("Bearer ").strip()))


_SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"})


def split_url(url: str) -> tuple[str, str]:
    """``(…/v1, …)``: where the API is, and where the server is.

    Raises `UsageError` for what is no HTTP address, and for one with a name, a password or a query: such addresses
    carry secrets, and an address is written into every report.
    """
    if _has_secrets(url):
        raise UsageError(
            "the address of the server has a user name, a password or a query in it: "
            "set the key in the environment variable that api_key_env names, or send it with headers"
        )
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise UsageError(f"{url!r} is not an HTTP address; expected something like http://localhost:8000/v1")
    path = re.sub(r"/(chat/)?completions$", "", parts.path.rstrip("/"))
    base = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    if _API_END.search(path):
        return base, _API_END.sub("", base)
    return f"{base}/v1", base


def _has_secrets(url: str) -> bool:
    address = url.partition("://")[2] or url
    return "@" in address or "?" in address or "#" in address


def auth_headers(key: str | None, key_env: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The headers of every request: the key, given or from the environment, unless ``extra`` has its own.

    Raises `UsageError` for a key or a header that cannot be sent; it never shows a value.
    """
    for name, value in extra.items():
        _check_header(name, value)
    key = (key if key is not None else os.environ.get(key_env, "")).strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"the key in {key_env} has characters that no key has, such as a line break; set it again")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return {**headers, **extra}


def _check_header(name: str, value: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise UsageError(f"{name!r} in headers is not the name of a header: it may have letters, digits and dashes")
    if not all(character.isprintable() or character == "\t" for character in value):
        raise UsageError(f"the value of {name!r} in headers has a line break or another control character")


def error_message(text: str) -> str:
    """The reason in an error body, whichever of the usual forms it has; a web page gives its title."""
    try:
        document = load_json(text)
    except (ValueError, RecursionError):
        title = re.search(r"<title>([^<]{1,200})", text, re.IGNORECASE)
        return title[1].strip() if title else text.strip()
    return reason_in(document)


def reason_in(document: Any) -> str:
    """The reason in a decoded error: ``{"error": {"message": …}}``, ``{"detail": …}``, a bare string, …"""
    while isinstance(document, dict):
        inner = next((document[key] for key in _REASON_KEYS if document.get(key)), None)
        if inner is None:
            break
        document = inner
    if isinstance(document, str):
        return whole_text(document)
    try:
        return json.dumps(document)
    except (TypeError, ValueError, RecursionError):
        return "an error of unknown form"


def _is_permanent(text: str) -> bool:
    """An empty account answers 429 like a busy server, but waiting does not help."""
    return any(code in text for code in _PERMANENT_CODES)
