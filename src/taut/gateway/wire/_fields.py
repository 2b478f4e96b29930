"""Reading the fields of a request: what is wrong is a `Problem` that names the field and says what would be right."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from taut.core import Message, Sampling
from taut.errors import nearest
from taut.gateway.nouns import Ask, Options, Problem

Document = Mapping[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed")
"""What `read_sampling` reads by itself."""
MOST_TOKENS = 10_000_000
"""No model has a window of this size: a larger number is a mistake, not a wish."""
_SHOWN_CHARS = 24


def read_model(document: Document) -> str:
    """The name of the model, suffix included. Raises `Problem`."""
    model = text(document, "model")
    if not model:
        raise wrong("model", "the name of a model or preset (GET /v1/models lists them)", document.get("model"))
    return model


def read_messages(document: Document, name: str = "messages") -> tuple[Message, ...]:
    """The conversation in OpenAI's form, unknown keys untouched; at least one message. Raises `Problem`."""
    messages = document.get(name)
    if not isinstance(messages, list) or not messages:
        raise wrong(name, "a list of at least one message", messages)
    return tuple(_message(message, f"{name}[{index}]") for index, message in enumerate(messages))


def read_sampling(
    document: Document, *, max_tokens: int | None, stop: tuple[str, ...] = (), taken: Iterable[str] = ()
) -> Sampling:
    """How tokens are drawn; ``extra`` is the document without `SAMPLING` and ``taken`` fields. Raises `Problem`."""
    return Sampling(
        max_tokens=max_tokens,
        temperature=number(document, "temperature", least=0, most=100),
        top_p=number(document, "top_p", least=0, most=1),
        top_k=integer(document, "top_k", least=-1, most=MOST_TOKENS),
        min_p=number(document, "min_p", least=0, most=1),
        seed=integer(document, "seed", least=-(2**63), most=2**63 - 1),
        stop=stop,
        extra=without(document, (*SAMPLING, *taken)),
    )


def read_max_tokens(document: Document) -> int | None:
    """``max_completion_tokens`` or its older name ``max_tokens``. Raises `Problem`, also where the two differ."""
    newer = integer(document, "max_completion_tokens", least=1, most=MOST_TOKENS)
    older = integer(document, "max_tokens", least=1, most=MOST_TOKENS)
    if newer is not None and older is not None and newer != older:
        raise Problem(
            f"max_completion_tokens is {newer} and max_tokens is {older}: give one of them, or both the same number",
            param="max_completion_tokens",
        )
    return older if newer is None else newer


def read_stop(document: Document, name: str = "stop") -> tuple[str, ...]:
    """Stop strings: one, or a list of them. Raises `Problem`."""
    value = document.get(name)
    if value is None:
        return ()
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(one, str) and one for one in given):
        raise wrong(name, "a string that is not empty, or a list of such", value)
    return tuple(given)


def read_include_usage(document: Document) -> bool:
    """``stream_options.include_usage``. Raises `Problem`."""
    options = mapping(document, "stream_options") or {}
    return boolean(options, "include_usage", within="stream_options") or False


def read_options(document: Document) -> Options:
    """The request's ``taut`` field. Raises `Problem`, also for a key that it does not have."""
    given = mapping(document, "taut") or {}
    known = ("preset", "deadline_s", "receipt")
    for key in given:
        if key not in known:
            raise Problem(
                f"taut has no key {shown(key)}{nearest(key, known)}: it takes {', '.join(known)}", param=f"taut.{key}"
            )
    deadline_s = number(given, "deadline_s", within="taut", least=0)
    if deadline_s == 0:
        raise wrong("taut.deadline_s", "a number of seconds above 0", 0)
    return Options(
        preset=text(given, "preset", within="taut") or None,
        deadline_s=deadline_s,
        receipt=boolean(given, "receipt", within="taut") or False,
    )


def refuse_for_presets(ask: Ask) -> None:
    """Refuse what only one single call to a model could give. Raises `Problem`."""
    for name, asks in _SINGLE_CALL.items():
        if asks(ask.sampling.extra.get(name)):
            raise Problem(
                f"{name} is not possible with a preset or a budget, where an answer may come from several calls: "
                "leave it out, or ask for the engine's own model without a budget (GET /v1/models lists it)",
                param=name,
            )


def integer(
    document: Document, name: str, *, within: str = "", least: int | None = None, most: int | None = None
) -> int | None:
    """A whole number, or ``None`` where the field is missing or null. Raises `Problem`."""
    value = document.get(name)
    if value is None:
        return None
    # JSON has one kind of number: 512.0 is a whole one.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not _inside(value, least, most):
        raise wrong(_path(within, name), f"a whole number{_range(least, most)}", value)
    return value


def number(
    document: Document, name: str, *, within: str = "", least: float | None = None, most: float | None = None
) -> float | None:
    """A finite number, or ``None`` where the field is missing or null. Raises `Problem`."""
    value = document.get(name)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not _finite(value) or not _inside(value, least, most):
        raise wrong(_path(within, name), f"a number{_range(least, most)}", value)
    return float(value)


def boolean(document: Document, name: str, *, within: str = "") -> bool | None:
    """``true`` or ``false``, or ``None`` where the field is missing or null. Raises `Problem`."""
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong(_path(within, name), "true or false", value)
    return value


def text(document: Document, name: str, *, within: str = "") -> str | None:
    """A string, or ``None`` where the field is missing or null. Raises `Problem`."""
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong(_path(within, name), "a string", value)
    return value


def choice(document: Document, name: str, known: Collection[str], *, within: str = "") -> str | None:
    """One of the ``known`` strings, or ``None`` where the field is missing or null. Raises `Problem`."""
    value = text(document, name, within=within)
    if value is not None and value not in known:
        raise wrong(_path(within, name), f"one of {', '.join(known)}{nearest(value, known)}", value)
    return value


def mapping(document: Document, name: str, *, within: str = "") -> Document | None:
    """An object, or ``None`` where the field is missing or null. Raises `Problem`."""
    value = document.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise wrong(_path(within, name), "an object", value)
    return value


def without(document: Document, names: Iterable[str]) -> dict[str, Any]:
    """The document without some fields; ``a.b`` takes out one key of an object, and the object when it was the last.

    The document itself stays as it is.
    """
    rest = dict(document)
    for name in names:
        first, _, inner = name.partition(".")
        below = rest.get(first)
        if not inner:
            rest.pop(first, None)
        elif isinstance(below, Mapping):
            left = without(below, (inner,))
            if left or not below:
                rest[first] = left
            else:
                del rest[first]
    return rest


def wrong(param: str, right: str, value: Any) -> Problem:
    """The problem of a field that is not what it should be."""
    return Problem(f"{param} must be {right}, not {shown(value)}", param=param)


def shown(value: Any) -> str:
    """A value in an error text, in a few words: no more of a long one than its beginning or its kind."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | Mapping):
        kind = "list" if isinstance(value, list) else "object"
        return f"this {kind}" if value else f"an empty {kind}"
    if isinstance(value, int) and abs(value) >= 10**_SHOWN_CHARS:
        return "a number so large"
    plain = "nothing" if value is None else repr(value)
    return plain if len(plain) <= _SHOWN_CHARS else f"{plain[:_SHOWN_CHARS]}…"


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, dict):
        raise wrong(where, "an object with role and content", message)
    if choice(message, "role", ROLES, within=where) is None:
        raise wrong(f"{where}.role", f"one of {', '.join(ROLES)}", None)
    content = message.get("content")
    if isinstance(content, list):
        for index, part in enumerate(content):
            _check_part(part, f"{where}.content[{index}]")
    elif content is not None and not isinstance(content, str):
        raise wrong(f"{where}.content", "a string, a list of parts or null", content)
    return message


def _check_part(part: Any, where: str) -> None:
    if not isinstance(part, dict):
        raise wrong(where, 'an object such as {"type": "text", "text": "…"}', part)
    kind = part.get("type")
    if not isinstance(kind, str):
        raise wrong(f"{where}.type", 'a string such as "text" or "image_url"', kind)
    if kind == "text" and not isinstance(part.get("text"), str):
        raise wrong(f"{where}.text", "a string", part.get("text"))


def _path(within: str, name: str) -> str:
    return f"{within}.{name}" if within else name


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _inside(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _range(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    return "" if least is None else f" of at least {least}"


def _given(value: Any) -> bool:
    return value is not None and value is not False


def _set(value: Any) -> bool:
    return bool(value)


def _several(value: Any) -> bool:
    return value is not None and value != 1


_SINGLE_CALL: Mapping[str, Callable[[Any], bool]] = {
    # 0 asks /v1/completions for the log-probability of the token itself.
    "logprobs": _given,
    "top_logprobs": _set,
    "prompt_logprobs": _given,
    "echo": _set,
    "suffix": _set,
    "best_of": _several,
}
"""Fields that presets refuse, and which of their values ask for something."""
