"""All about one entry: its docstring, its parameters with defaults and meanings, and what it needs."""

from __future__ import annotations

import ast
import inspect
import shlex
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from taut import plugins
from taut.config import LOOP, build_entry, build_method
from taut.core import FEATURES, Method
from taut.plugins import Entry
from taut.train import recipe
from taut.train.reading import NOT_READ

PRESETS = ("methods", "stop rules")
"""Groups whose entries are presets."""
USES = {
    "length rewards": 'use:   reward = "{}" in [rl] of a recipe for taut train rl (taut list rl: all its keys)',
    "short data": "use:   taut data {} TRACES --out train.jsonl",
}
"""How an entry of the other groups with parameters is used."""
GIVEN = {
    "wanted_tokens": "wanted_tokens (rl.wanted_tokens = [100, 400], or a column of the questions)",
    "reference": "reference (rl.reference = a traces.jsonl of the start model; measured first without it)",
}
"""How a reward gets what it needs."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field of a method, or one option of an engine, as its source has it."""

    name: str
    kind: str
    default: str | None
    """``None``: it must be given."""
    meaning: str = ""


def show_entry(console: Console, entry: Entry) -> None:
    """Print the page of one entry. Raises `UsageError` if its file cannot be read."""
    tree = entry.tree()
    console.print(Text.assemble((entry.name, "bold"), f"  {entry.group.removesuffix('s')}, {entry.where}"))
    _print_prose(console, ast.get_docstring(tree) or "")
    if entry.group in PRESETS:
        _show_method(console, entry, tree)
    elif entry.group in USES:
        _show_dataclass(console, entry, tree)
    elif entry.group == "engines":
        opener = entry.load().open_engine
        _print_prose(console, inspect.getdoc(opener) or "")
        _print_parameters(console, "key", list(_options(opener)))
        console.print(Text(f'use: --engine {entry.name}, or kind = "{entry.name}" and these keys in [engines.NAME]'))
    elif entry.group == "tasks":
        console.print(Text(f"use: --task {entry.name}"))
    elif entry.group == "importers":
        console.print(Text(f"use: taut replay {entry.name}:FILE, or taut tune"))
    console.print()


def show_recipe(console: Console, kind: recipe.Kind) -> None:
    """Every key of a recipe for ``taut train KIND``, section by section."""
    tree = ast.parse(inspect.getsource(recipe))
    shared = {
        "model": recipe.ModelPart,
        "data": recipe.DataPart,
        "lora": recipe.LoraPart,
        "held_out": recipe.HeldOutPart,
    }
    for section, own in {**shared, kind: recipe.SECTIONS[kind]}.items():
        fields: dict[str, Parameter] = {}
        for field in (field for part in own.__mro__[-2::-1] for field in fields_of(tree, part.__name__)):
            # A later class may have another default for a key of an earlier one.
            before = fields.get(field.name, field)
            fields[field.name] = replace(field, meaning=field.meaning or before.meaning)
        read = [field for field in fields.values() if field.name not in NOT_READ[kind] or section != "data"]
        console.print(Text(f"[{section}]", "bold"))
        _print_parameters(console, "key", read)
    console.print(Text(f"use:   taut train {kind} recipe.toml --set {kind}.learning_rate=1e-4 --out RUN"))


def needs_of(name: str) -> frozenset[str]:
    """What a method or a stop rule with its defaults needs. Raises `UsageError` if it cannot be loaded."""
    return all_needs(build_method(name, {}, None, name))


def all_needs(method: Method | None) -> frozenset[str]:
    """What a stack of methods needs."""
    return frozenset() if method is None else method.needs | all_needs(getattr(method, "inner", None))


def fields_of(tree: ast.Module, class_name: str) -> list[Parameter]:
    """The fields of a dataclass in the order of the file, each with the string under it."""
    body = next((n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name), [])
    found = []
    for node, following in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        kind = ast.unparse(node.annotation)
        if not kind.startswith(("ClassVar", "typing.ClassVar")):
            default = None if node.value is None else ast.unparse(node.value)
            found.append(Parameter(node.target.id, kind, default, _string(following)))
    return found


def _show_method(console: Console, entry: Entry, tree: ast.Module) -> None:
    fields = fields_of(tree, plugins.class_name(entry.name))
    if entry.group == "stop rules":
        fields += fields_of(plugins.find("methods", LOOP).tree(), plugins.class_name(LOOP))
    own = [field for field in fields if field.name not in plugins.FILLED_IN]
    _print_parameters(console, "parameter", own)
    if entry.name == LOOP:
        console.print(Text("needs: a stop rule; every stop rule is a preset that this loop runs"))
        return
    needs = sorted(needs_of(entry.name))
    console.print(Text("needs: " + ("; ".join(map(_meaning, needs)) or "nothing beyond a chat model")))
    values = ",".join(f"{field.name}={_plain(field.default)}" for field in own)
    wraps = any(field.name == "inner" for field in fields)
    preset = f"{shlex.quote(f'{entry.name}:{values}') if values else entry.name}{'[+METHOD]' if wraps else ''}"
    # In one line, however long: it is there to be copied.
    console.print(Text(f"use:   --preset {preset}"), soft_wrap=True)


def _show_dataclass(console: Console, entry: Entry, tree: ast.Module) -> None:
    """The parameters of a reward or a builder, what it needs, and how it is used."""
    fields = fields_of(tree, plugins.class_name(entry.name))
    _print_parameters(console, "parameter", fields)
    needs = sorted(build_entry(entry.group, entry.name, entry.name).needs)
    console.print(Text("needs: " + (", ".join(GIVEN.get(need, need) for need in needs) or "nothing further")))
    text = f"{entry.name}({fields[0].name}={_plain(fields[0].default)})" if fields else entry.name
    use = USES[entry.group]
    console.print(Text(use.format(text if '"' in use else shlex.quote(text))), soft_wrap=True)


def _options(opener: Callable[..., Any]) -> Iterator[Parameter]:
    hints = typing.get_type_hints(opener)
    for item in inspect.signature(opener).parameters.values():
        kind = inspect.formatannotation(hints.get(item.name, item.annotation)).replace("collections.abc.", "")
        yield Parameter(item.name, kind, None if item.default is item.empty else repr(item.default))


def _print_parameters(console: Console, title: str, parameters: list[Parameter]) -> None:
    if not parameters:
        return
    has_meanings = any(parameter.meaning for parameter in parameters)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in (title, "type", "default", *(["meaning"] if has_meanings else [])):
        table.add_column(column, no_wrap=column == title)
    for parameter in parameters:
        default = "must be given" if parameter.default is None else _plain(parameter.default)
        cells = [parameter.name, parameter.kind, default, *([parameter.meaning] if has_meanings else [])]
        table.add_row(*map(Text, cells))
    console.print(table)
    console.print()


def _print_prose(console: Console, docstring: str) -> None:
    """Paragraphs are filled to the width; lists and code keep their lines."""
    for paragraph in docstring.split("\n\n"):
        keeps_lines = any(line.startswith((" ", "- ", "* ")) for line in paragraph.splitlines())
        text = paragraph if keeps_lines else " ".join(paragraph.split())
        if text.strip():
            console.print(Text(text.replace("``", "`")))
            console.print()


def _meaning(need: str) -> str:
    part, _, features = need.rpartition(":")
    meanings = " or ".join(f"{feature} ({FEATURES.get(feature, feature)})" for feature in features.split("|"))
    return f"{meanings} of the engine {part!r}" if part else meanings


def _plain(default: str | None) -> str:
    """A default as the command line takes it: ``none``, and texts without quotes."""
    if default in (None, "None"):
        return "none"
    try:
        value = ast.literal_eval(str(default))
    except (ValueError, SyntaxError):
        return _rules(str(default)) or str(default)
    if isinstance(value, tuple):
        return "|".join(map(str, value)) or "''"
    return (value or "''") if isinstance(value, str) else str(default)


def _rules(default: str) -> str:
    """``(Deer(), Dynasor())`` as ``deer|dynasor``; empty for anything else."""
    names = {plugins.class_name(name): name for name in plugins.entries("stop rules")}
    called = [node.func for node in ast.walk(ast.parse(default)) if isinstance(node, ast.Call)]
    found = [names[func.id] for func in called if isinstance(func, ast.Name) and func.id in names]
    return "|".join(found) if len(found) == len(called) else ""


def _string(node: ast.stmt | None) -> str:
    """The text of a statement that is a string alone; empty for any other."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.replace("``", "`").split())
    return ""
