"""A recipe file and the command line's ``--set`` into a `Recipe`; an unknown key is an error that names the nearest."""

from __future__ import annotations

import dataclasses
import json
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taut.config import convert
from taut.errors import UsageError, nearest
from taut.train.recipe import (
    ONCE,
    SECTIONS,
    DataPart,
    HeldOutPart,
    Kind,
    LoraPart,
    ModelPart,
    Recipe,
    Settings,
    Stage,
    check_ranges,
)

OF_STAGE = ("name", "train", "stage")
"""Keys of ``[[stages]]`` that are its own; all others stand for the section's."""


NOT_READ: Mapping[Kind, tuple[str, ...]] = {
    "sft": ("tasks", "shares"),
    "dpo": ("tasks", "shares"),
    "rl": ("validation",),
    "distill": ("train", "shares"),
}
"""Keys of ``[data]`` that this kind of training has no use for."""


def read_recipe(path: Path | None, kind: Kind, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file, with ``section.key=value`` of the command line put over it.

    Raises `UsageError` for a file that cannot be read, an unknown key and a value that does not fit.
    """
    table = {} if path is None else _toml(path)
    for text in overrides:
        _override(table, text)
    where = "the command line" if path is None else str(path)
    return _recipe(table, kind, where)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the recipe {path} is not valid TOML: {error}") from None


def _override(table: dict[str, Any], text: str) -> None:
    name, sign, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (sign and dot and section and key):
        raise UsageError(f"--set {text!r} should read section.key=value, such as sft.learning_rate=1e-5")
    place = table.setdefault(section, {})
    if not isinstance(place, dict):
        raise UsageError(f"--set {text!r}: {section} is no table with keys; change it in the recipe file")
    place[key] = _literal(value.strip())


def _literal(text: str) -> Any:
    """A TOML value where it reads as one, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _recipe(table: Mapping[str, Any], kind: Kind, where: str) -> Recipe:
    known = ("model", "data", "lora", "held_out", kind, "stages")
    for key in table:
        if key in SECTIONS and key != kind:
            raise UsageError(f"{where}: [{key}] is for 'taut train {key}'; 'taut train {kind}' reads [{kind}]")
        if key not in known:
            raise UsageError(f"{where}: unknown section [{key}]{nearest(key, known)}; known: {', '.join(known)}")
    if "path" not in table.get("model", {}):
        raise UsageError(f'{where}: the model is missing: [model] path = "…", a local folder or a name on the hub')
    own = _table(table.get(kind, {}), kind, where)
    recipe = Recipe(
        kind,
        _fill(ModelPart, table["model"], "model", where),
        _fill(SECTIONS[kind], own, kind, where),
        _fill(DataPart, table.get("data", {}), "data", where),
        _fill(LoraPart, table["lora"], "lora", where) if "lora" in table else None,
        _fill(HeldOutPart, table["held_out"], "held_out", where) if "held_out" in table else None,
        _stages(table.get("stages", []), own, kind, where),
    )
    for key in NOT_READ[kind]:
        if getattr(recipe.data, key):
            raise UsageError(f"{where}: 'taut train {kind}' does not read data.{key}")
    return dataclasses.replace(recipe, table=as_table(recipe))


def _table(value: Any, name: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: {name} must be a section with keys, written [{name}]")
    return value


def _fill(kind: type, table: Any, name: str, where: str) -> Any:
    """A dataclass from a section's keys."""
    fields = {item.name: item for item in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in _table(table, name, where).items():
        if key not in fields:
            raise UsageError(f"{where}: unknown key {name}.{key}{nearest(key, fields)}; known: {', '.join(fields)}")
        several = hints[key] == tuple[str, ...] and isinstance(value, str)
        values[key] = convert([value] if several else value, hints[key], f"{where}: {name}.{key}")
    missing = [
        key
        for key, item in fields.items()
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING and key not in values
    ]
    if missing:
        raise UsageError(f"{where}: {name}.{missing[0]} is missing")
    if issubclass(kind, Settings) and values.get("steps") is None:
        values.setdefault("epochs", 1.0)
    section = kind(**values)
    check_ranges(section, name)
    return section


def _stages(tables: Any, own: Mapping[str, Any], kind: Kind, where: str) -> tuple[Stage, ...]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{where}: stages must be tables, written [[stages]]")
    return tuple(_stage(table, own, kind, f"{where}, stage {index}") for index, table in enumerate(tables, start=1))


def _stage(table: Mapping[str, Any], own: Mapping[str, Any], kind: Kind, where: str) -> Stage:
    changed = {key: value for key, value in table.items() if key not in OF_STAGE}
    known = [*OF_STAGE, *(item.name for item in dataclasses.fields(SECTIONS[kind]))]
    for key in changed:
        if key in ONCE[kind]:
            raise UsageError(f"{where}: {key} holds for all stages alike; write it into [{kind}]")
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}{nearest(key, known)}; known: {', '.join(known)}")
    # A stage that counts in steps is not held to the recipe's epochs, and the other way round.
    kept = {
        key: value
        for key, value in own.items()
        if key not in ("steps", "epochs") or not {"steps", "epochs"} & {*changed}
    }
    settings: Settings = _fill(SECTIONS[kind], {**kept, **changed}, kind, where)
    files = table.get("train", ())
    return Stage(
        settings,
        convert(table.get("name", ""), str, f"{where}: name"),
        convert([files] if isinstance(files, str) else files, tuple[str, ...], f"{where}: train"),
        convert(table.get("stage"), int | str | None, f"{where}: stage"),
    )


def as_table(recipe: Recipe) -> dict[str, Any]:
    """The recipe as TOML data, defaults included and what is not set left out."""
    table: dict[str, Any] = {"model": _plain(recipe.model), "data": _plain(recipe.data)}
    if recipe.lora is not None:
        table["lora"] = _plain(recipe.lora)
    if recipe.held_out is not None:
        table["held_out"] = _plain(recipe.held_out)
    table[recipe.kind] = _plain(recipe.settings)
    if recipe.stages:
        table["stages"] = [_stage_table(stage, recipe.settings) for stage in recipe.stages]
    return table


def _stage_table(stage: Stage, settings: Settings) -> dict[str, Any]:
    usual = _plain(settings)
    changed = {key: value for key, value in _plain(stage.settings).items() if usual.get(key) != value}
    own = {"name": stage.name, "train": list(stage.train), "stage": stage.stage}
    return {**{key: value for key, value in own.items() if value not in ("", [], None)}, **changed}


def _plain(section: Any) -> dict[str, Any]:
    values = dataclasses.asdict(section)
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items() if value is not None
    }


def to_toml(table: Mapping[str, Any]) -> str:
    """A recipe's table as TOML text."""
    parts = []
    for name, content in table.items():
        for one in content if isinstance(content, list) else [content]:
            head = f"[[{name}]]" if isinstance(content, list) else f"[{name}]"
            parts.append(
                "\n".join([head, *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in one.items())])
            )
    return "\n\n".join(parts) + "\n"
