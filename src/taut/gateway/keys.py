"""Who may use the gateway: keys that only their holders know, hashed at rest, each with limits of its own.

In ``taut.toml``, made by ``taut key alice``::

    [serve.keys.alice]
    hash = "sha256:…"
    requests_at_once = 4
    tokens_per_minute = 100_000
    models = ["concise", "qwen*"]
    expires = 2027-01-01

A key comes as ``Authorization: Bearer``, as ``x-api-key`` (Anthropic), or as the password of HTTP Basic, so that a
browser can open the live page. It is never read from an address, and never written anywhere: no log, error or
``repr`` holds it.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import secrets
import typing
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from typing import Annotated, Any

from msgspec import Meta

from taut.config import convert
from taut.errors import UsageError, nearest
from taut.gateway.guesses import Guesses
from taut.gateway.nouns import Problem
from taut.gateway.settings import Limits

PREFIX = "taut-"
KEY_BYTES = 32
HASH = "sha256:"
HASH_PATTERN = re.compile(r"sha256:([0-9a-f]{64})")
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_KEY_CHARS = 512
"""A longer credential is nobody's, and is not hashed."""
NOBODY = bytes(32)
"""What an unknown key is compared with, so that it takes the same steps as a known one."""

AtLeastOne = Annotated[int, Meta(ge=1)]
AtLeastZero = Annotated[int, Meta(ge=0)]
Patterns = Annotated[tuple[str, ...], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class Key:
    """One holder of a key. A limit that is ``None`` is not there."""

    name: str
    digest: bytes = field(repr=False)
    """SHA-256 of the key."""
    requests_at_once: AtLeastOne | None = None
    requests_per_minute: AtLeastOne | None = None
    tokens_per_minute: AtLeastOne | None = None
    """Prompt and completion together, as the ledger is told; see `taut.gateway.ledger`."""
    max_thinking_tokens: AtLeastZero | None = None
    """Ceiling for the thinking budget of a request."""
    max_tokens: AtLeastOne | None = None
    """Ceiling for ``max_tokens`` of a request."""
    models: Patterns | None = None
    """Names it may use, with ``*`` and ``?``; ``None``: all."""
    admin: bool = False
    """May see the live page and ``/metrics``, and press *Answer now* on anybody's request."""
    expires: date | None = None
    """Refused from this day on, UTC."""

    def allows(self, model: str) -> bool:
        """Whether it may use ``model``, a name without a budget suffix."""
        return self.models is None or any(fnmatchcase(model, pattern) for pattern in self.models)

    def has_expired(self, today: date) -> bool:
        """Whether ``today`` is its day of expiry or later."""
        return self.expires is not None and today >= self.expires

    def lower(self, limits: Limits) -> Limits:
        """``limits`` with the ceilings for tokens lowered to its own; never raised."""
        return replace(
            limits,
            max_tokens=_lower(limits.max_tokens, self.max_tokens),
            max_thinking_tokens=_lower(limits.max_thinking_tokens, self.max_thinking_tokens),
        )


KEYS_OF_TABLE = ("hash", *(item.name for item in fields(Key) if item.name not in ("name", "digest")))


class Keyring:
    """All keys of a gateway; an empty one means that there are none and everybody may use it."""

    __slots__ = ("_by_digest", "guesses")

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.guesses = Guesses()
        """Wrong keys that were tried on it."""
        self._by_digest: dict[bytes, Key] = {}
        for key in keys:
            other = self._by_digest.setdefault(key.digest, key)
            if other is not key:
                raise UsageError(
                    f"[serve.keys.{other.name}] and [serve.keys.{key.name}] have the same hash: "
                    f"make a key of its own with 'taut key {key.name}'"
                )

    @classmethod
    def read(cls, tables: Mapping[str, Mapping[str, Any]]) -> Keyring:
        """From ``[serve.keys]`` of ``taut.toml``. Raises `UsageError`."""
        return cls([_read_key(name, table) for name, table in tables.items()])

    def __len__(self) -> int:
        return len(self._by_digest)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._by_digest.values())

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of the file."""
        return tuple(key.name for key in self)

    def owner(self, text: str) -> Key | None:
        """Whose key ``text`` is, expired or not."""
        digest = _digest(text) if len(text) <= MAX_KEY_CHARS else NOBODY
        # The look-up may take its time from the digest: nobody can choose a digest, so nothing is learnt from it.
        key = self._by_digest.get(digest)
        is_right = hmac.compare_digest(digest, key.digest if key else NOBODY)
        return key if is_right else None

    def find(self, headers: Mapping[str, str]) -> Key:
        """The key that a request was sent with. Raises `Problem` (401, ``authentication_error``)."""
        texts = credentials_of(headers)
        if not texts:
            raise _unauthorized("this gateway needs a key: send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'")
        key = next(filter(None, map(self.owner, texts)), None)
        if key is None:
            raise _unauthorized("this key is not known here")
        if key.has_expired(datetime.now(UTC).date()):
            raise _unauthorized(f"the key of {key.name!r} has expired on {key.expires}")
        return key


def credentials_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The texts in ``headers`` that may be a key; a client may send two, one of them a placeholder."""
    scheme, _, rest = headers.get("Authorization", "").strip().partition(" ")
    given = rest.strip()
    if scheme.lower() == "basic":
        given = _password(given)
    elif scheme.lower() != "bearer":
        given = ""
    found = (given, headers.get("x-api-key", "").strip())
    return tuple(text for text in found if text)


def make_key() -> str:
    """A new random key of 256 bits."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def hash_of(text: str) -> str:
    """What ``taut.toml`` holds instead of the key."""
    return HASH + _digest(text).hex()


def _digest(text: str) -> bytes:
    # One round of SHA-256 is enough: slow and salted hashes are for passwords, which people choose and others guess.
    # Nobody can try 2^256 random keys, however fast each try is, and every request has to be looked up.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _password(encoded: str) -> str:
    # A decoding error holds the bytes it failed on, and they may be a key: it must not get out, not even as a cause.
    try:
        return b64decode(encoded, validate=True).decode("utf-8", "surrogateescape").partition(":")[2].strip()
    except (binascii.Error, ValueError):
        return ""


def _unauthorized(sentence: str) -> Problem:
    return Problem(sentence, status=401, code="authentication_error")


def _lower(limit: int | None, own: int | None) -> int | None:
    return min((value for value in (limit, own) if value is not None), default=None)


def _read_key(name: str, table: Mapping[str, Any]) -> Key:
    where = f"[serve.keys.{name}]"
    if not NAME_PATTERN.fullmatch(name):
        raise UsageError(f"{where[:80]}: a key's name is up to 64 letters, digits, '.', '_' and '-', such as 'alice'")
    if not isinstance(table, Mapping):
        raise UsageError(f"serve.keys.{name} must be a table, written {where}")
    for key in table:
        if key not in KEYS_OF_TABLE:
            raise UsageError(
                f"{where}: unknown key {key!r}{nearest(key, KEYS_OF_TABLE)}; known: {', '.join(KEYS_OF_TABLE)}"
            )
    hints = typing.get_type_hints(Key, include_extras=True)
    limits = {key: convert(value, hints[key], f"{where}: {key}") for key, value in table.items() if key != "hash"}
    return Key(name, _read_hash(table.get("hash"), where), **limits)


def _read_hash(value: Any, where: str) -> bytes:
    found = HASH_PATTERN.fullmatch(value.lower()) if isinstance(value, str) else None
    if found is None:
        # Without the value: where a key itself was pasted by mistake, it must not end up in a log.
        raise UsageError(f"{where} needs hash = \"sha256:\" and 64 hexadecimal digits, as 'taut key' prints it")
    return bytes.fromhex(found[1])
