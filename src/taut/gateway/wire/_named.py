"""Server-sent events with names, as Responses and Messages have them."""

from __future__ import annotations

from typing import Any

from taut.gateway.nouns import Problem
from taut.gateway.wire._events import encode
from taut.gateway.wire._fields import Document, integer, text, wrong


def event(name: str, document: Any) -> bytes:
    """One event; the document should say its name as ``type`` too."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(document))


def refuse_candidates(document: Document) -> None:
    """Refuse ``n`` above 1: the protocol has no place for further candidates. Raises `Problem`."""
    if (integer(document, "n", least=1) or 1) > 1:
        raise Problem(
            "n has to be 1, as this protocol has one reply only: use /v1/chat/completions for several", param="n"
        )


def needed(document: Document, name: str, where: str, *, may_be_empty: bool = False) -> str:
    """A string that has to be there. Raises `Problem`."""
    value = text(document, name, within=where)
    if value is None or not (value or may_be_empty):
        raise wrong(f"{where}.{name}", "a string" if may_be_empty else "a string that is not empty", value)
    return value
