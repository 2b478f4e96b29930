"""What a client asks about thinking, in whichever dialect: `FIELDS` is the table, `read_wish` the precedence."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from taut.errors import nearest
from taut.gateway.nouns import Problem, Wish
from taut.gateway.settings import EFFORT
from taut.gateway.wire._fields import MOST_TOKENS, Document, integer, shown, wrong

TOKENS, SWITCH, WORD, TYPE = "tokens", "switch", "word", "type"
"""What a field may hold: a number of tokens, true or false, an effort, a word of `TYPES`."""

OFF = "none"
"""The effort that means no thinking."""
UNDECIDED = ("auto", "default")
"""Efforts that leave the choice to the model, as -1 tokens does."""
TYPES: Mapping[str, bool | None] = {"enabled": True, "disabled": False, "adaptive": None, "auto": None}
"""Values of ``thinking.type``; ``None`` leaves the choice to the model."""


@dataclass(frozen=True, slots=True)
class Field:
    """One place where a wish may be written."""

    path: str
    holds: tuple[str, ...]
    owner: str = ""
    """The object that is about nothing else, and is taken out of the request as a whole."""

    @property
    def taken(self) -> str:
        """What is not sent on."""
        return self.owner or self.path

    def is_near(self, document: Document) -> bool:
        """The first step of its path is there."""
        return self.path.partition(".")[0] in document


_GEMINI = "generationConfig.thinkingConfig"
_GEMINI_CHAT = ("google.thinking_config", "extra_body.google.thinking_config")

FIELDS: tuple[Field, ...] = (
    Field("thinking_token_budget", (TOKENS,)),
    Field("thinking_budget", (TOKENS,)),
    Field("thinking_budget_tokens", (TOKENS,)),
    Field("reasoning_budget_tokens", (TOKENS,)),
    Field("max_thinking_tokens", (TOKENS,)),
    Field("reasoning_max_tokens", (TOKENS,)),
    Field("reasoning.max_tokens", (TOKENS,), "reasoning"),
    Field("thinking.budget_tokens", (TOKENS,), "thinking"),
    Field("chat_template_kwargs.thinking_budget", (TOKENS,)),
    Field("custom_params.thinking_budget", (TOKENS,)),
    Field("logits_processors_args.thinking_budget", (TOKENS,)),
    Field(f"{_GEMINI}.thinkingBudget", (TOKENS,), _GEMINI),
    *(Field(f"{owner}.thinking_budget", (TOKENS,), owner) for owner in _GEMINI_CHAT),
    Field("reasoning_effort", (WORD, TOKENS)),
    Field("reasoning.effort", (WORD,), "reasoning"),
    Field("output_config.effort", (WORD,)),
    Field("chat_template_kwargs.reasoning_effort", (WORD,)),
    Field(f"{_GEMINI}.thinkingLevel", (WORD,), _GEMINI),
    *(Field(f"{owner}.thinking_level", (WORD,), owner) for owner in _GEMINI_CHAT),
    Field("think", (SWITCH, WORD)),
    Field("reasoning.enabled", (SWITCH,), "reasoning"),
    Field("thinking.type", (TYPE,), "thinking"),
    Field("enable_thinking", (SWITCH,)),
    Field("chat_template_kwargs.enable_thinking", (SWITCH,)),
    Field("chat_template_kwargs.thinking", (SWITCH,)),
)
"""Every place that is looked at; of two wishes of one rank, the one further up wins."""

HIDDEN: tuple[tuple[Field, Any], ...] = (
    (Field("reasoning.exclude", (SWITCH,), "reasoning"), True),
    (Field("include_reasoning", (SWITCH,)), False),
    (Field("thinking.display", ("display",), "thinking"), "omitted"),
    (Field(f"{_GEMINI}.includeThoughts", (SWITCH,), _GEMINI), False),
    *((Field(f"{owner}.include_thoughts", (SWITCH,), owner), False) for owner in _GEMINI_CHAT),
)
"""Where a client says that it does not want to see the thinking, and by which value."""

_HARMLESS = ("reasoning.summary", "reasoning.generate_summary")
"""Keys of owned objects that ask for nothing that the gateway could deny or grant."""
_SUFFIX = re.compile(r"(?s)(.+)\((-?[0-9]{1,18}|[A-Za-z]+)\)")
_MISSING = object()


_FIRST_STEPS = frozenset(field.path.partition(".")[0] for field in (*FIELDS, *(field for field, _ in HIDDEN)))
_NO_WISH = Wish()


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one field asks for."""

    field: str
    value: Any
    budget_tokens: int | None = None
    effort: str | None = None
    think: bool | None = None

    @property
    def rank(self) -> int:
        """Its place in the precedence; the lowest wins."""
        order = (self.field == SUFFIX, self.budget_tokens is not None, self.think is False, self.effort is not None)
        return next((place for place, is_so in enumerate(order) if is_so), len(order))

    def agrees_with(self, winner: _Claim) -> bool:
        """It asks for the same, or just for thinking where the winner thinks."""
        meant = (self.budget_tokens, self.effort, self.think)
        return meant == (winner.budget_tokens, winner.effort, winner.think) or (
            self.think is True and winner.think is not False
        )


SUFFIX = "model suffix"
"""`Wish.field` of a wish that stands in the model's name."""


def read_wish(
    document: Document, suffix: str | None = None, efforts: Collection[str] = EFFORT
) -> tuple[Wish, frozenset[str]]:
    """The wish of a request, and the fields that it was read from (dotted inside objects): they are not sent on.

    Precedence: the model's suffix, then an explicit number of tokens, then off, then an effort, then on; of two of one
    rank the one further up in `FIELDS`. 0 tokens and the effort ``none`` mean off. -1 tokens, the efforts ``auto`` and
    ``default`` and the type ``adaptive`` leave the choice to the model and are no wish. Where the winner is a number or
    an effort and another field says on, ``think`` is true as well. `Wish.ignored` lists the fields that lost and asked
    for something else, and unknown keys of objects that are about thinking only.

    ``efforts`` are the names of the operator's map. Raises `Problem` for a wrong type, an unknown word, or a number
    below -1 or above `MOST_TOKENS`.
    """
    if suffix is None and _FIRST_STEPS.isdisjoint(document):
        # Most requests say nothing about thinking, and this is asked of every one.
        return _NO_WISH, frozenset()
    claims = [claim for claim in _claims(document, suffix, efforts) if claim is not None]
    fields, exclude = _present(document), _is_hidden(document)
    taken = frozenset(field.taken for field in fields)
    unknown = tuple(_unknown_keys(document, {field.owner for field in fields if field.owner}))
    if not claims:
        return Wish(exclude=exclude, ignored=unknown), taken
    winner = min(claims, key=lambda claim: claim.rank)
    others = [claim for claim in claims if claim is not winner]
    wish = Wish(
        field=winner.field,
        value=winner.value,
        budget_tokens=winner.budget_tokens,
        effort=winner.effort,
        think=_think(winner, others),
        exclude=exclude,
        ignored=tuple(claim.field for claim in others if not claim.agrees_with(winner)) + unknown,
    )
    return wish, taken


def split_suffix(model: str, efforts: Collection[str] = EFFORT) -> tuple[str, str | None]:
    """``name(512)``, ``name(high)``, ``name(none)``, ``name(-1)`` → the name and the suffix.

    Brackets around anything else belong to the name.
    """
    match = _SUFFIX.fullmatch(model)
    if match is None:
        return model, None
    name, suffix = match.groups()
    is_known = not suffix.isalpha() or suffix.lower() in (*efforts, OFF, *UNDECIDED)
    return (name, suffix) if is_known else (model, None)


def _claims(document: Document, suffix: str | None, efforts: Collection[str]) -> Iterator[_Claim | None]:
    if suffix is not None:
        yield _read_suffix(suffix, efforts)
    for field in FIELDS:
        value = _look(document, field.path) if field.is_near(document) else None
        if value is not None and value is not _MISSING:
            yield _read(field, value, efforts)


def _read_suffix(suffix: str, efforts: Collection[str]) -> _Claim | None:
    if suffix.isalpha():
        return _word(SUFFIX, suffix, efforts)
    if not re.fullmatch(r"-?\d{1,18}", suffix):
        raise wrong("model", f"followed by a number of tokens or one of {', '.join(efforts)} in brackets", suffix)
    return _tokens(SUFFIX, int(suffix))


def _read(field: Field, value: Any, efforts: Collection[str]) -> _Claim | None:
    if isinstance(value, bool) and SWITCH in field.holds:
        return _Claim(field.path, value, think=value)
    if isinstance(value, int | float) and not isinstance(value, bool) and TOKENS in field.holds:
        return _tokens(field.path, value)
    if isinstance(value, str) and WORD in field.holds:
        return _word(field.path, value, efforts)
    if isinstance(value, str) and TYPE in field.holds and value in TYPES:
        think = TYPES[value]
        return None if think is None else _Claim(field.path, value, think=think)
    raise wrong(field.path, " or ".join(_right(kind, value, efforts) for kind in field.holds), value)


def _tokens(path: str, value: float) -> _Claim | None:
    tokens = integer({path: value}, path, least=-1, most=MOST_TOKENS)
    if tokens is None or tokens == -1:
        return None
    return _Claim(path, value, think=False) if tokens == 0 else _Claim(path, value, budget_tokens=tokens)


def _word(path: str, value: str, efforts: Collection[str]) -> _Claim | None:
    word = value.lower()
    if word in UNDECIDED:
        return None
    if word == OFF:
        return _Claim(path, value, think=False)
    if word not in efforts:
        raise wrong(path, _right(WORD, value, efforts), value)
    return _Claim(path, value, effort=word)


def _right(kind: str, value: Any, efforts: Collection[str]) -> str:
    known = {WORD: (OFF, *efforts), TYPE: tuple(TYPES)}.get(kind)
    if known is not None:
        return f"one of {', '.join(known)}{nearest(value, known) if isinstance(value, str) else ''}"
    return {TOKENS: "a number of tokens", SWITCH: "true or false"}[kind]


def _think(winner: _Claim, others: list[_Claim]) -> bool | None:
    if winner.think is None and any(claim.think for claim in others):
        return True
    return winner.think


def _present(document: Document) -> list[Field]:
    every = (*FIELDS, *(field for field, _ in HIDDEN))
    return [field for field in every if field.is_near(document) and _look(document, field.taken) is not _MISSING]


def _is_hidden(document: Document) -> bool:
    found = False
    for field, hiding in HIDDEN:
        value = _look(document, field.path) if field.is_near(document) else None
        if value is None or value is _MISSING:
            continue
        if type(value) is not type(hiding):
            raise wrong(field.path, "true or false" if isinstance(hiding, bool) else "a string", value)
        found = found or value == hiding
    return found


def _unknown_keys(document: Document, owners: set[str]) -> Iterator[str]:
    known = {field.path for field in FIELDS} | {field.path for field, _ in HIDDEN} | set(_HARMLESS)
    for owner in sorted(owners):
        inside = _look(document, owner)
        for key in inside if isinstance(inside, Mapping) else ():
            if f"{owner}.{key}" not in known:
                yield f"{owner}.{key}"


def _look(document: Document, path: str) -> Any:
    """What stands at a path, or `_MISSING`. Raises `Problem` where an object on the way is none."""
    at: Any = document
    walked: list[str] = []
    for name in path.split("."):
        if at is None:
            return _MISSING
        if not isinstance(at, Mapping):
            raise Problem(f"{'.'.join(walked)} must be an object, not {shown(at)}", param=".".join(walked))
        if name not in at:
            return _MISSING
        at = at[name]
        walked.append(name)
    return at
