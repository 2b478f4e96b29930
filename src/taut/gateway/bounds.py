"""What one request may ask for: too much is refused before anything is paid for; what is left open is filled in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from taut.gateway.nouns import Ask, Problem
from taut.gateway.settings import Limits

CEILINGS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict", "num_predict", "max_new_tokens")
"""Fields that say how long a reply may be: OpenAI's, llama.cpp's, Ollama's and TGI's."""
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
        _check(document, name, limits.n, least=1)
    _check_candidates(document, limits.n)
    for name in CEILINGS:
        _check(document, name, limits.max_tokens, least=0)


def check_duplicates(body: bytes) -> None:
    """Refuse a body that says something twice: what is checked is the last, and servers differ. Raises `Problem`."""
    if b"\\u00" not in body and not any(body.count(b'"%s"' % name.encode()) > 1 for name in GUARDED):
        return
    fields: list[tuple[str, Any]] = []

    def hear(pairs: list[tuple[str, Any]]) -> None:
        # Called for the outermost object last.
        fields[:] = pairs

    try:
        json.loads(body, object_pairs_hook=hear)
    except RecursionError:
        raise Problem("the body is nested too deep") from None
    names = [name for name, _ in fields]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Problem(f"the field {twice[:40]!r} stands twice in the body: say it once", param=twice[:40])


def _check_candidates(document: Mapping[str, Any], most: int) -> None:
    """Each of several prompts has its own candidates."""
    prompts = max(_count(document.get("prompt")), 1)
    each = max(int(document.get(name) or 1) for name in ("n", "best_of"))
    if prompts * each > most:
        raise Problem(
            f"{prompts} prompts with {each} candidates each are too many: the limit here is {most}", param="n"
        )


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


def _check(document: Mapping[str, Any], name: str, most: int | None, *, least: int) -> None:
    """JSON has one kind of number: 9.0 is 9 for a server. What some servers read as one ("9") is none here."""
    value = document.get(name)
    if most is None or value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < least:
        raise Problem(f"{name} must be a whole number from {least} to {most}", param=name)
    if value > most:
        raise Problem(f"{name} is {value}: the limit here is {most}", param=name)


def _count(given: Any) -> int:
    """How many messages or prompts there are; a list of numbers is one prompt, in tokens."""
    is_list = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
    return len(given) if is_list else 0
