"""Who is let in: at the start, which address may be bound without keys; then every request, before its body is read.

Without keys a gateway on one's own machine is still open to every web page that its browser shows. Two checks close
that: a page's ``Origin`` must be the gateway's own, and ``Host`` must not be a name that somebody else's name server
answers for, as such a page would then count as the gateway's own (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from aiohttp import web

from taut.errors import UsageError
from taut.gateway.keys import Key, Keyring, credentials_of
from taut.gateway.nouns import Problem
from taut.gateway.settings import Settings

HOST_PATTERN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+)(?::(\d{1,5}))?")
ORIGIN_PATTERN = re.compile(r"[a-z][a-z0-9+.-]*://[^\sA-Z/?#@*]+")
DEFAULT_PORTS = {"http": "80", "https": "443"}
SHOWN_CHARS = 80
CHALLENGE = {"WWW-Authenticate": 'Basic realm="taut", charset="UTF-8"'}


def check_binding(host: str, has_keys: bool, no_keys: bool, sure: bool) -> None:
    """Whether the gateway may listen on ``host``.

    Beyond loopback it may with keys, or where it was said twice (``no_keys`` and ``sure``) that none are wanted.
    Raises `UsageError`.
    """
    if has_keys and no_keys:
        raise UsageError("there are keys in [serve.keys] and no_keys says that there are none: take one of them out")
    if has_keys or is_loopback(host) or (no_keys and sure):
        return
    raise UsageError(
        f"listening on {host or 'every address'!r} without a key lets in everybody who can reach this machine: make a "
        "key with 'taut key NAME', or listen on 127.0.0.1, or say twice that no keys are wanted, with "
        "--no-keys --yes-without-keys or no_keys = true and yes_without_keys = true under [serve]"
    )


def check_names(settings: Settings) -> None:
    """Whether ``allow_hosts`` and ``allow_origins`` are written as they are compared. Raises `UsageError`."""
    for host in settings.allow_hosts:
        if not HOST_PATTERN.fullmatch(host) or "*" in host:
            raise UsageError(f"allow_hosts: {host!r} is not a host name such as 'taut.example.org'")
    for origin in settings.allow_origins:
        if not ORIGIN_PATTERN.fullmatch(origin):
            raise UsageError(f"allow_origins: {origin!r} is not an origin such as 'https://chat.example.org'")


def check_request(request: web.Request, keyring: Keyring, settings: Settings) -> Key | None:
    """Whose request it is; ``None`` where there are no keys. Raises `Problem` (401, 403, 429).

    A browser's preflight (``OPTIONS``) carries no key: answer it with `cors_headers` without asking here.
    """
    check_origin(request.headers, settings)
    if keyring:
        return _find_key(request, keyring)
    check_host(request.headers, settings)
    return None


def check_origin(headers: Mapping[str, str], settings: Settings) -> None:
    """Whether a request that a web page makes comes from the gateway's own page or one that is allowed.

    Keys do not replace this: a browser that knows the key for the live page sends it for any page's request.
    Raises `Problem` (403).
    """
    origin = headers.get("Origin")
    if origin is None or origin in settings.allow_origins or _is_own(origin, headers.get("Host", "")):
        return
    raise _forbidden(
        f"the web page {origin[:SHOWN_CHARS]!r} is not this gateway's own and is not in allow_origins under [serve]"
    )


def check_host(headers: Mapping[str, str], settings: Settings) -> None:
    """Whether ``Host`` is a name that only this machine or its operator gives. Raises `Problem` (403).

    Any IP address will do: a page from there was sent by whoever answers there, and no name server was asked.
    """
    host = headers.get("Host", "")
    found = HOST_PATTERN.fullmatch(host)
    name = found[1].lower().rstrip(".") if found else ""
    allowed = {text.lower() for text in (settings.host, *settings.allow_hosts) if text}
    if name and (is_loopback(name) or _is_address(name) or not allowed.isdisjoint((name, host.lower()))):
        return
    raise _forbidden(
        f"the host {host[:SHOWN_CHARS]!r} is not known here: without keys only loopback names, IP addresses and the "
        "names in allow_hosts under [serve] are served"
    )


def check_model(key: Key | None, model: str) -> None:
    """Whether ``key`` may use ``model``, a name without a budget suffix. Raises `Problem` (403)."""
    if key is not None and not key.allows(model):
        patterns = ", ".join(key.models or ())
        raise _forbidden(f"the key {key.name!r} may not use the model {model!r}: it may use {patterns}", "model")


def check_admin(key: Key | None) -> None:
    """Whether ``key`` may see what others do; without keys everybody may. Raises `Problem` (403)."""
    if key is not None and not key.admin:
        raise _forbidden(f"the key {key.name!r} is not an admin's: it needs admin = true under [serve.keys.{key.name}]")


def challenge(problem: Problem, path: str) -> Mapping[str, str]:
    """Headers that let a browser ask for the key of the live page; none for the paths that programs use."""
    return CHALLENGE if problem.status == 401 and path == "/" else {}


def cors_headers(headers: Mapping[str, str], settings: Settings) -> Mapping[str, str]:
    """What a page in ``allow_origins`` needs to be told so that its browser lets it read a reply; else nothing."""
    origin = headers.get("Origin")
    if origin is None or origin not in settings.allow_origins:
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": headers.get("Access-Control-Request-Headers", "Authorization, Content-Type"),
        "Access-Control-Expose-Headers": "*",
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address, is this machine under a name that only it can have."""
    name = host.lower().strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return _is_address(name) and ipaddress.ip_address(name).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_own(origin: str, host: str) -> bool:
    # The scheme is left out: a proxy that ends TLS makes https of what is http here.
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return False
    if parts.scheme not in DEFAULT_PORTS or not parts.netloc:
        return False
    default = f":{DEFAULT_PORTS[parts.scheme]}"
    return parts.netloc.removesuffix(default) == host.lower().removesuffix(default)


def _find_key(request: web.Request, keyring: Keyring) -> Key:
    address, guesses = request.remote or "", keyring.guesses
    if not credentials_of(request.headers):
        return keyring.find(request.headers)
    wait_s = guesses.wait_s(address)
    try:
        key = keyring.find(request.headers)
    except Problem:
        if wait_s > 0:
            raise _too_many(wait_s) from None
        guesses.wrong(address)
        raise
    if wait_s > 0 and not guesses.has_met(address, key.name):
        # The same answer as to a wrong key: whoever guesses learns nothing.
        raise _too_many(wait_s)
    guesses.right(address, key.name)
    return key


def _too_many(wait_s: float) -> Problem:
    return Problem(
        "too many wrong keys came from this address within a minute: no new one is let in from there for now",
        status=429,
        code="rate_limit_error",
        retry_after_s=max(1.0, wait_s),
    )


def _forbidden(sentence: str, param: str | None = None) -> Problem:
    return Problem(sentence, status=403, code="permission_error", param=param)
