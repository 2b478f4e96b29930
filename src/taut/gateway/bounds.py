"""What one request may ask for: too much is refused before anything is paid for; what is left open is filled in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from taut.gateway.nouns import Ask, Problem
from taut.gateway.settings import Limits

CEILINGS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""Fields that say how long a reply may be."""


GUARDED = frozenset({"model", "n", "best_of", *CEILINGS})


def check_limits(document: Mapping[str, Any], limits: Limits) -> None:
    """Refuse what is too much. Raises `Problem` naming the field."""
    _check_names(document)
    for name in ("messages", "input", "prompt"):
        count = _count(document.get(name))
        if count > limits.messages:
            what = "prompts" if name == "prompt" else "messages"
            raise Problem(f"{count} {what} are too many: the limit here is {limits.messages}", param=name)
    for name in ("n", "best_of"):
        _check(document, name, limits.n)
    for name in CEILINGS:
        _check(document, name, limits.max_tokens)


def with_ceiling(ask: Ask, limits: Limits) -> Ask:
    """The request with the operator's ceiling where it gives none of its own."""
    if ask.sampling.max_tokens is not None or limits.max_tokens is None:
        return ask
    return dataclasses.replace(ask, sampling=dataclasses.replace(ask.sampling, max_tokens=limits.max_tokens))


def _check_names(document: Mapping[str, Any]) -> None:
    """Servers written in Go (Ollama) take ``Model`` for ``model``: what is checked here must not come in by that."""
    for name in document:
        folded = name.casefold()
        if folded != name and folded in GUARDED:
            raise Problem(f"the field {folded!r} must be written in small letters", param=folded)


def _check(document: Mapping[str, Any], name: str, most: int | None) -> None:
    """JSON has one kind of number: 9.0 is 9 for a server, so it is compared as well."""
    value = document.get(name)
    if most is not None and isinstance(value, int | float) and value > most:
        raise Problem(f"{name} is {value}: the limit here is {most}", param=name)


def _count(given: Any) -> int:
    """How many messages or prompts there are; a list of numbers is one prompt, in tokens."""
    is_list = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
    return len(given) if is_list else 0
