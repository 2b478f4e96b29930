"""The block for ``taut.toml`` that says what was measured, and what it means for the presets."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from taut.config import Config, method_names
from taut.core import FEATURES, Engine, Method
from taut.dialects import by_name
from taut.doctor.nouns import Report
from taut.errors import UsageError
from taut.run import Preset, check_needs

SECRET_KEYS = ("api_key", "headers")
"""Never written: the first is a key, the second may hold one."""
DEFAULT_KEY_ENV = "OPENAI_API_KEY"
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def toml_block(report: Report, name: str = "") -> str:
    """``[engines.NAME]`` with what was found, ready to paste. Never holds a key.

    ``name`` is made from the model's where it is not given. The dialect is written only if naming it says all that was
    read from the chat template; else it is better found anew at every start.
    """
    name = name or engine_name(report.identity.model)
    lines = [f"[engines.{name if BARE_KEY.fullmatch(name) else toml_value(name)}]"]
    lines += [f"{key} = {toml_value(value)}" for key, value in _keys(report).items()]
    lines += _dialect_lines(report)
    if report.identity.url and report.options.get("kind") == "openai":
        lines.append(f"offers = {toml_value([feature for feature in FEATURES if feature in report.offers])}")
        lines += [
            f"# {feature}: could not be told by trying, assumed" for feature in FEATURES if feature in report.kept
        ]
    lines += ["# headers: as you have them" for key in report.options if key == "headers"]
    return "\n".join(lines) + "\n"


def engine_name(model: str) -> str:
    """A bare TOML key from a model's name: ``Qwen/Qwen3-8B`` becomes ``qwen3-8b``."""
    return re.sub(r"[^a-z0-9_-]+", "-", model.rpartition("/")[2].lower()).strip("-") or "measured"


def toml_value(value: Any) -> str:
    """A value in TOML. JSON's strings, numbers and booleans are valid TOML; tables are written in one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(str(k))} = {toml_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _keys(report: Report) -> dict[str, Any]:
    """The options of the endpoint, with what was found in place of what was left open."""
    identity, given = report.identity, dict(report.options)
    keys: dict[str, Any] = {"kind": given.pop("kind")}
    if keys["kind"] == "openai":
        keys |= {"url": identity.url, "model": identity.model, "server": identity.server, "route": identity.route}
        keys["api_key_env"] = given.get("api_key_env", DEFAULT_KEY_ENV)
    rest = {key: value for key, value in given.items() if key not in (*keys, *SECRET_KEYS, "offers", "dialect")}
    return {**keys, **{key: value for key, value in rest.items() if value is not None}}


def _dialect_lines(report: Report) -> list[str]:
    if "dialect" in report.options:
        return [f"dialect = {toml_value(report.options['dialect'])}"]
    if report.options.get("kind") not in ("openai", "embedded"):
        return []
    dialect = report.dialect
    line = f'dialect = "{dialect.name}"'
    if by_name(dialect.name) == replace(dialect, template_opens=by_name(dialect.name).template_opens):
        return [line]
    return [f"# {line}: found anew from the chat template at every start, which says more than the name"]


@dataclass(frozen=True, slots=True)
class _Measured:
    """As much of an engine as `check_needs` looks at."""

    name: str
    offers: frozenset[str]


def presets_under(offers: frozenset[str], config: Config, engine: str) -> tuple[list[str], dict[str, str]]:
    """The presets that work on an engine with these features, and for each other one what it lacks."""
    measured = typing.cast(Engine, _Measured(engine, offers))
    works: list[str] = []
    fails: dict[str, str] = {}
    for name in dict.fromkeys([*method_names(), *config.presets]):
        preset = config.preset(name)
        try:
            check_needs(preset, {"main": measured})
        except UsageError as error:
            fails[name] = _lacking(preset, offers) or str(error)
        else:
            works.append(name)
    return works, fails


def _lacking(preset: Preset, offers: frozenset[str]) -> str:
    """The features of the main engine that the preset's methods need and it lacks."""
    needs: set[str] = set()
    method: Method | None = preset.method
    while method is not None:
        needs |= method.needs
        method = getattr(method, "inner", None)
    lacking = [need for need in needs if ":" not in need and offers.isdisjoint(need.split("|"))]
    return ", ".join(sorted(need.replace("|", " or ") for need in lacking))
