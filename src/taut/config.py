"""Presets, engines and ``taut.toml``: from text to objects. An unknown key is an error naming the nearest known one.

A preset is a method or a stack of them, outermost first. On the command line::

    concise                                       a method with its defaults
    concise:word_limit=50                         with parameters
    concise:word_limit=50+budget_forcing:max_thinking_tokens=256      wrapped around another
    short=concise:word_limit=50                   under a name of its own
    any_of:rules=deer(confidence=0.9)|repetition  a stop rule made of others

and in ``taut.toml``::

    [presets.short]
    method = "concise"
    word_limit = 50
    inner = { method = "budget_forcing", max_thinking_tokens = 256 }

    [engines.big]
    kind = "openai"
    url = "http://127.0.0.1:8000"
"""

from __future__ import annotations

import dataclasses
import inspect
import tomllib
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from taut import plugins
from taut.checkpoints import StopRule
from taut.core import Engine, Method
from taut.errors import UsageError, nearest
from taut.run import Preset

LOOP = "thinking"
"""The method that runs stop rules; every rule is a preset too, run by it."""
MAX_PRESET_CHARS = 2000
MAX_STACK = 16
"""Methods in one preset; more is a mistake in a script."""
MAX_NESTING = 8
"""Parentheses within parentheses in one preset."""
SECTIONS = ("engines", "presets", "serve")


@dataclass(frozen=True, slots=True)
class Config:
    """What ``taut.toml`` says."""

    path: Path | None = None
    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    serve: Mapping[str, Any] = field(default_factory=dict)
    """``[serve]``, read by `taut.gateway.settings`."""

    def preset(self, text: str) -> Preset:
        """The preset that ``text`` names: one of the file's, or a method with parameters. Raises `UsageError`."""
        if not text.isprintable() or len(text) > MAX_PRESET_CHARS:
            raise UsageError(f"preset {text[:60]!r} is too long or holds characters that cannot be printed")
        name, sign, rest = text.partition("=")
        if sign and not set(name) & set(":+,("):
            if not name or not rest or name in (*self.presets, *method_names()):
                raise UsageError(f"preset {text!r}: NAME=METHOD needs a name of its own before the '='")
            return Preset(name, self.preset(rest).method)
        if text in self.presets:
            where = f"[presets.{text}] in {self.path}"
            return Preset(text, self._method_from_table(dict(self.presets[text]), where, seen=(text,)))
        return Preset(text, self._method_from_text(text))

    def _method_from_text(self, text: str, seen: tuple[str, ...] = ()) -> Method:
        method: Method | None = None
        where = f"preset {text!r}"
        parts = split_outside(text, "+", where)
        if len(parts) > MAX_STACK:
            raise UsageError(f"preset {text[:60]!r}… stacks more than {MAX_STACK} methods")
        for part in reversed(parts):
            name, parameters = _named(part, where)
            if name in self.presets and not parameters and method is None:
                method = self._method_of_preset(name, where, seen)
            else:
                method = self._build(name, parameters, method, where)
        if method is None:
            raise UsageError("a preset needs a name, such as 'direct'")
        return method

    def _method_from_table(self, table: dict[str, Any], where: str, seen: tuple[str, ...]) -> Method:
        inner = table.pop("inner", None)
        name = table.pop("method", None)
        if not isinstance(name, str):
            raise UsageError(f"{where} needs a key 'method' with the name of a method, such as \"concise\"")
        wrapped: Method | None = None
        if isinstance(inner, str) and inner in self.presets:
            wrapped = self._method_of_preset(inner, where, seen)
        elif isinstance(inner, str):
            wrapped = self._method_from_text(inner, seen)
        elif isinstance(inner, dict):
            wrapped = self._method_from_table(dict(inner), f"inner of {where}", seen)
        elif inner is not None:
            raise UsageError(f"inner of {where} must be a preset's name or a table with a key 'method'")
        return self._build(name, table, wrapped, where)

    def _method_of_preset(self, name: str, where: str, seen: tuple[str, ...]) -> Method:
        if name in seen:
            raise UsageError(f"{where} wraps itself: {' -> '.join((*seen, name))}")
        return self._method_from_table(dict(self.presets[name]), where, (*seen, name))

    def _build(self, name: str, parameters: dict[str, Any], inner: Method | None, where: str) -> Method:
        if name in self.presets:
            raise UsageError(f"{where}: the preset {name!r} takes no parameters and wraps nothing: only a method does")
        if name not in method_names():
            known = [*self.presets, *method_names()]
            raise UsageError(
                f"{where}: there is no method or preset named {name!r}{nearest(name, known)}; "
                f"known: {', '.join(sorted(set(known)))}"
            )
        return build_method(name, parameters, inner, where)


def method_names() -> list[str]:
    """Every method and stop rule: each is a preset under its own name. The bare loop is not, it needs a rule."""
    names = {*plugins.entries("methods"), *plugins.entries("stop rules")} - {LOOP}
    return sorted(names)


def build_method(name: str, parameters: Mapping[str, Any], inner: Method | None, where: str) -> Method:
    """A method from its file's name and its parameters. Raises `UsageError` naming ``where`` they came from."""
    if name in plugins.entries("stop rules"):
        loop = _class_of("methods", LOOP)
        of_loop = {key: value for key, value in parameters.items() if key in _fields(loop) and key != "rule"}
        of_rule = {key: value for key, value in parameters.items() if key not in of_loop}
        if inner is not None:
            raise UsageError(f"{where}: {name!r} makes the calls itself and cannot wrap another method")
        known = [*_fields(_class_of("stop rules", name)), *_fields(loop)]
        rule = build_rule(name, of_rule, where, known)
        return typing.cast(Method, _construct(loop, {**of_loop, "rule": rule}, where, known))
    cls = _class_of("methods", name)
    if inner is not None:
        if "inner" not in _fields(cls):
            raise UsageError(f"{where}: {name!r} makes the calls itself and cannot wrap another method")
        parameters = {**parameters, "inner": inner}
    return typing.cast(Method, _construct(cls, parameters, where, _fields(cls)))


def build_rule(name: str, parameters: Mapping[str, Any], where: str, known: list[str] | None = None) -> StopRule:
    """A stop rule from its file's name and its parameters, and nothing of the loop that runs it.

    ``known`` are parameters to name where one is unknown, the rule's own unless given. Raises `UsageError`.
    """
    rules = plugins.entries("stop rules")
    if name not in rules:
        raise UsageError(
            f"{where}: there is no stop rule named {name!r}{nearest(name, rules)}; known: {', '.join(sorted(rules))}"
        )
    cls = _class_of("stop rules", name)
    return typing.cast(StopRule, _construct(cls, parameters, where, _fields(cls) if known is None else known))


def build_entry(group: str, text: str, where: str, more: Mapping[str, Any] = {}) -> Any:
    """What ``shortest_correct(of_n=8)`` names in a group whose files hold a dataclass, with ``more`` parameters.

    Raises `UsageError` for an unknown name, and an unknown parameter or one that is given twice.
    """
    split_outside(text, "|", where)
    name, parameters = _named(text, where)
    if twice := next((key for key in more if key in parameters), None):
        raise UsageError(f"{where}: {twice!r} is given twice")
    cls = _class_of(group, name)
    return _construct(cls, {**parameters, **more}, where, _fields(cls))


def rule_from_text(text: str, where: str) -> StopRule:
    """The stop rule that ``deer``, ``deer(confidence=0.9)`` or ``deer:confidence=0.9`` names. Raises `UsageError`."""
    split_outside(text, "|", where)
    name, parameters = _named(text, where)
    return build_rule(name, parameters, where)


def _rules(value: Any, where: str) -> tuple[StopRule, ...]:
    """The rules that a combination is made of: text with ``|`` between them, a list of such texts, or rules."""
    if isinstance(value, tuple) and all(isinstance(item, StopRule) for item in value):
        return value
    items = split_outside(value, "|", where) if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise UsageError(f'{where} must be stop rules, such as rules = ["deer(confidence=0.9)", "repetition"]')
    return tuple(rule_from_text(item, where) for item in items if item.strip())


def split_outside(text: str, sign: str, where: str) -> list[str]:
    """``text`` at every ``sign`` that stands in no parentheses. Raises `UsageError` for a parenthesis left alone."""
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth < 0 or depth > MAX_NESTING:
            break
        if letter == sign and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    if depth > MAX_NESTING:
        raise UsageError(f"{where} has more than {MAX_NESTING} parentheses within each other")
    if depth != 0:
        raise UsageError(f"{where}: {text[:60]!r} has a parenthesis without its other half")
    return [*parts, text[start:]]


def _class_of(group: str, name: str) -> type:
    return plugins.find(group, name).load_class()


def _fields(cls: type) -> list[str]:
    return [item.name for item in dataclasses.fields(cls)]


def _construct(cls: type, parameters: Mapping[str, Any], where: str, known: list[str]) -> Any:
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in parameters.items():
        if key not in _fields(cls) or (key in plugins.FILLED_IN and not dataclasses.is_dataclass(value)):
            offered = [name for name in known if name not in plugins.FILLED_IN]
            raise UsageError(
                f"{where}: unknown parameter {key!r}{nearest(key, offered)}; "
                + (f"known: {', '.join(offered)}" if offered else "it takes none")
            )
        values[key] = value if key in plugins.FILLED_IN else _value(value, hints[key], f"{where}: {key}")
    return cls(**values)


def _value(value: Any, kind: Any, where: str) -> Any:
    """A parameter's value: rules are built, several words may stand in one text as ``Wait|Hmm``."""
    if kind == tuple[StopRule, ...]:
        return _rules(value, where)
    if kind == tuple[str, ...] and isinstance(value, str):
        value = [word for item in split_outside(value, "|", where) if (word := item.strip())]
    elif typing.get_origin(kind) is tuple and isinstance(value, str):
        item_kind = typing.get_args(kind)[0]
        return tuple(convert(item.strip(), item_kind, where) for item in split_outside(value, "|", where))
    return convert(value, kind, where)


def convert(value: Any, kind: Any, where: str) -> Any:
    """``value`` as ``kind``; text from the command line is read leniently ("50" is a number). Raises `UsageError`."""
    if value == "none":
        value = None
    try:
        return msgspec.convert(value, kind, strict=not isinstance(value, str), dec_hook=_path)
    except msgspec.ValidationError as error:
        if typing.get_origin(kind) is typing.Literal:
            known = [str(item) for item in typing.get_args(kind)]
            raise UsageError(f"{where} = {value!r}{nearest(str(value), known)}; known: {', '.join(known)}") from None
        raise UsageError(f"{where} = {value!r} is not right: {error}") from None


def _path(kind: type, value: Any) -> Path:
    """TOML has no paths: they are written as text."""
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise TypeError(f"Expected `{kind.__name__.lower()}`, got `{type(value).__name__}`")


def _named(text: str, where: str) -> tuple[str, dict[str, Any]]:
    """Name and parameters of ``name``, ``name:a=1,b=2`` or ``name(a=1,b=2)``."""
    text = text.strip()
    name, sign, rest = min(text.partition(":"), text.partition("("), key=lambda parts: len(parts[0]))
    if sign == "(" and not rest.endswith(")"):
        raise UsageError(f"{where}: {text!r} should read name(parameter=value,…)")
    return name.strip(), _assignments(rest[:-1] if sign == "(" else rest, where)


def _assignments(text: str, where: str) -> dict[str, Any]:
    """``a=1,b=2`` as a table; commas in parentheses belong to a value."""
    found: dict[str, Any] = {}
    for item in split_outside(text, ",", where):
        key, sign, value = item.partition("=")
        if sign and key.strip() in found:
            raise UsageError(f"{where}: {key.strip()!r} is given twice")
        if sign and key.strip():
            found[key.strip()] = value.strip()
        elif item.strip():
            raise UsageError(f"{where}: {item!r} should read parameter=value")
    return found


def load_config(path: Path | None) -> Config:
    """Read a ``taut.toml``; without a path, the one in the working directory if there is one. Raises `UsageError`."""
    if path is None:
        path = Path("taut.toml")
        if not path.exists():
            return Config()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    _check_sections(table, path)
    config = Config(path, table.get("engines", {}), table.get("presets", {}), table.get("serve", {}))
    for name in config.presets:
        if name in method_names():
            raise UsageError(
                f"{path}: [presets.{name}] has the name of a method, which is a preset already: choose another"
            )
        config.preset(name)
    return config


def _check_sections(table: Mapping[str, Any], path: Path) -> None:
    for key, content in table.items():
        if key not in SECTIONS:
            raise UsageError(f"{path}: unknown section [{key}]{nearest(key, SECTIONS)}; known: {', '.join(SECTIONS)}")
        if not isinstance(content, dict):
            raise UsageError(f"{path}: {key} must be a section of tables, written [{key}.NAME]")
        if key == "serve":
            continue
        for name, value in content.items():
            if not isinstance(value, dict):
                raise UsageError(f"{path}: {key}.{name} must be a table, written [{key}.{name}]")


def split_engine(text: str) -> tuple[str | None, str]:
    """``NAME=E``, as ``--engine`` takes it, as its two halves; the name is ``None`` where there is none.

    An equals sign behind a colon or slash is part of an address or a path.
    """
    name, sign, rest = text.partition("=")
    return (name, rest) if sign and not set(name) & set(":/") else (None, text)


async def open_engine(text: str, config: Config = Config()) -> Engine:
    """Open the engine that ``text`` names.

    ``text`` is a name from ``[engines.*]``, a kind (``embedded``, ``fake``), ``kind:target``
    (``embedded:model.gguf``, ``transformers:FOLDER``), or the address of an OpenAI-compatible server.
    Raises `UsageError` or `EngineError`.
    """
    table = engine_table(text, config)
    table.pop("prices", None)  # for the report, not for the engine
    where = f"[engines.{text}] in {config.path}" if text in config.engines else f"engine {text!r}"
    return await _open(table.pop("kind"), table, where)


def engine_table(text: str, config: Config) -> dict[str, Any]:
    """What ``text`` stands for as a table of ``taut.toml``, ``kind`` included. Raises `UsageError`."""
    if text in config.engines:
        table = dict(config.engines[text])
        if not isinstance(table.get("kind"), str):
            kinds = ", ".join(plugins.entries("engines"))
            raise UsageError(f"[engines.{text}] in {config.path} needs a key 'kind'; known: {kinds}")
        return table
    if text.lower().startswith(("http://", "https://")):
        return {"kind": "openai", "url": text}
    kind, sign, target = text.partition(":")
    known = [*config.engines, *plugins.entries("engines")]
    if kind not in plugins.entries("engines"):
        raise UsageError(
            f"there is no engine named {kind!r}{nearest(kind, known)}; known: {', '.join(known)}, "
            "or the address of a server (http://…)"
        )
    first = next(iter(inspect.signature(opener(kind)).parameters), None)
    return {"kind": kind, first: target} if sign and first else {"kind": kind}


def opener(kind: str) -> Callable[..., Any]:
    """``open_engine`` of an engine's file: its parameters are the keys of ``[engines.x]``."""
    return typing.cast(Callable[..., Any], plugins.find("engines", kind).load().open_engine)


async def _open(kind: str, options: Mapping[str, Any], where: str) -> Engine:
    """Call ``open_engine`` of an engine's file with options checked against its signature."""
    open_kind = opener(kind)
    parameters = inspect.signature(open_kind).parameters
    hints = typing.get_type_hints(open_kind)
    values = {}
    for key, value in options.items():
        if key not in parameters:
            raise UsageError(f"{where}: unknown key {key!r}{nearest(key, parameters)}; known: {', '.join(parameters)}")
        values[key] = convert(value, hints[key], f"{where}: {key}")
    missing = [n for n, p in parameters.items() if p.default is inspect.Parameter.empty and n not in values]
    if missing:
        raise UsageError(f"{where}: {', '.join(missing)} is missing")
    try:
        return typing.cast(Engine, await open_kind(**values))
    except UsageError as error:
        # The text of the command line names itself in the error; a table does not, and there may be several.
        raise UsageError(f"{where}: {error}" if where.startswith("[") else str(error)) from None
