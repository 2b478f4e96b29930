"""One OpenAI-compatible server over HTTP: addresses, the key, JSON calls, and every failure as an `EngineError`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec

from taut.engines._retry import RetryLater, retry_after_s
from taut.errors import EngineError, UsageError, one_line

KEEP_ALIVE_S = 4.0
"""Below the 5 s after which llama.cpp and uvicorn drop an idle connection: reusing a dropped one fails."""
KEY_REFUSED = (401, 403)
MAX_ERROR_BYTES = 64 << 10
_API_END = re.compile(r"(/v\d+[a-z0-9]*|/openai|/beta|/api)$")
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

    @property
    def host(self) -> str:
        """Name of the machine, without the port."""
        return urlsplit(self.server_url).hostname or ""

    async def post(self, url: str, body: bytes) -> aiohttp.ClientResponse:
        """Send ``body`` (JSON) and return the response once it has begun with status 200. Raises `EngineError`."""
        return await self._begin("POST", url, body)

    async def json(self, url: str, body: Any = None) -> Any:
        """GET, or POST with a ``body``, and the decoded answer. Raises `EngineError`."""
        encoded = None if body is None else msgspec.json.encode(body)
        response = await self._begin("GET" if body is None else "POST", url, encoded)
        try:
            data = await response.read()
        except aiohttp.ClientError as error:
            raise self.translate(error) from None
        finally:
            response.release()
        return self._decode(data, url)

    async def find(self, url: str) -> Any:
        """Like `json` with GET, but ``None`` where there is nothing of the kind: for finding out what a server is."""
        try:
            return await self.json(url)
        except EngineError as error:
            # llama.cpp lists its models to everybody, and asks for the key here.
            if error.status in KEY_REFUSED or error.kind in ("unreachable", "cut", "timeout"):
                raise
            return None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def _begin(self, method: str, url: str, body: bytes | None) -> aiohttp.ClientResponse:
        if self._session is None or self._session.closed:
            raise EngineError("the engine is closed", kind="unreachable")
        headers = {"Content-Type": "application/json"} if body is not None else None
        try:
            response = await self._session.request(
                method, url, data=body, headers=headers, allow_redirects=method == "GET"
            )
        except (aiohttp.ClientError, OSError) as error:
            raise self.translate(error) from None
        if response.status == 200:
            return response
        try:
            raise await self._refusal(response)
        finally:
            response.close()

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
            place = self.redact(response.headers.get("Location", "elsewhere"))
            return EngineError(
                f"{self.server_url} redirects to {place} ({status}): use that address",
                kind="refused",
                status=status,
            )
        message = f"{self.server_url} answered {status}: {reason or response.reason or 'no reason given'}"
        passes = status in (408, 429) or status >= 500
        if passes and status != 501 and not _is_permanent(text):
            return RetryLater(message, kind="overloaded", status=status, retry_after_s=retry_after_s(response.headers))
        return EngineError(message, kind="refused", status=status)

    def _decode(self, data: bytes, url: str) -> Any:
        try:
            return json.loads(data.decode("utf-8", "replace"))
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
        if isinstance(error, aiohttp.ClientConnectorError):
            number = error.os_error.errno
            # asyncio puts the address in place of the reason; resolver errors have a negative number.
            reason = os.strerror(number) if number and number > 0 else one_line(error.os_error)
            return RetryLater(f"no server answers at {self.server_url}: {reason}", kind="unreachable")
        if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError)):
            return RetryLater(f"{self.server_url} broke the connection off ({type(error).__name__})", kind="cut")
        return EngineError(f"{self.server_url} does not speak HTTP properly: {self.redact(one_line(error))}")

    def redact(self, text: str) -> str:
        """``text`` as one line without any secret that was sent, in case a server echoes it."""
        for name, value in self._headers.items():
            if name.lower() in _SECRET_HEADERS:
                secret = value.removeprefix("Bearer ").strip()
                text = text.replace(secret, "***") if secret else text
        return " ".join(text.split())[:300]


_SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"})


def split_url(url: str) -> tuple[str, str]:
    """``(…/v1, …)``: where the API is, and where the server is. Raises `UsageError` for what is no HTTP address."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise UsageError(f"{url!r} is not an HTTP address; expected something like http://localhost:8000/v1")
    host = parts.netloc.rpartition("@")[2]
    path = re.sub(r"/(chat/)?completions$", "", parts.path.rstrip("/"))
    base = urlunsplit((parts.scheme, host, path, "", ""))
    if _API_END.search(path):
        return base, _API_END.sub("", base)
    return f"{base}/v1", base


def auth_headers(key: str | None, key_env: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The headers of every request: the key, given or from the environment, unless ``extra`` has its own.

    Raises `UsageError` for a key that cannot be part of a header.
    """
    key = (key if key is not None else os.environ.get(key_env, "")).strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"the key in {key_env} has characters that no key has, such as a line break; set it again")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return {**headers, **extra}


def error_message(text: str) -> str:
    """The reason in an error body, whichever of the usual forms it has; a web page gives its title."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        title = re.search(r"<title>([^<]{1,200})", text, re.IGNORECASE)
        return title[1].strip() if title else text.strip()
    return reason_in(document)


def reason_in(document: Any) -> str:
    """The reason in a decoded error: ``{"error": {"message": …}}``, ``{"detail": …}``, a bare string, …"""
    for key in ("error", "message", "detail", "msg"):
        if isinstance(document, dict) and document.get(key):
            return reason_in(document[key])
    return document if isinstance(document, str) else json.dumps(document)


def _is_permanent(text: str) -> bool:
    """An empty account answers 429 like a busy server, but waiting does not help."""
    return any(code in text for code in _PERMANENT_CODES)
