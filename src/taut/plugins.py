"""Finds methods, tasks, verifiers and engines: one file is one entry, its name is the file's name.

Folders are listed without importing what is in them; a file whose name begins with ``_`` is a helper. Packages
from outside join through the entry-point group ``taut``: ``"methods.my_method" = "my_package.my_method"``.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import importlib.util
import typing
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from taut.errors import TautError, UsageError, nearest, one_line

ROOT = Path(__file__).parent
FOLDERS: dict[str, tuple[str, ...]] = {
    "methods": ("methods/prompt_based", "methods/output_based"),
    "stop rules": ("methods/output_based/stop_rules",),
    "tasks": ("tasks",),
    "verifiers": ("verify",),
    "engines": ("engines",),
    "importers": ("replay/importers",),
    "length rewards": ("methods/model_based/length_rewards",),
    "short data": ("methods/model_based/short_data",),
}


MEMBERS: dict[str, tuple[str, ...]] = {
    "methods": ("needs", "__call__"),
    "stop rules": ("wants", "watch"),
    "length rewards": ("needs", "reads_group", "advantage", "claims", "bounds", "__call__"),
    "short data": ("makes", "needs", "__call__"),
}
"""What the class in a file of these groups must have; it is named like the file."""
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "tasks": ("load",),
    "verifiers": ("verify", "extract", "same"),
    "engines": ("open_engine",),
    "importers": ("read",),
}
"""What the other files must define."""
FILLED_IN = ("inner", "rule")
"""Fields that a stack of methods fills in, not the user."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file that can be used by name."""

    name: str
    module: str
    path: Path | None
    """``None`` for entries of outside packages."""
    group: str
    """A key of `FOLDERS`."""

    def load(self) -> ModuleType:
        """Import it. Raises `UsageError` in one sentence for a file that fails, or lacks what it must define."""
        try:
            module = importlib.import_module(self.module)
            for function in FUNCTIONS.get(self.group, ()):
                if not callable(getattr(module, function, None)):
                    raise UsageError(f"{self.where} must define a function {function!r}")
            if self.group in MEMBERS:
                self._check_class(getattr(module, class_name(self.name), None))
        except TautError:
            raise
        except Exception as error:  # Somebody's file may fail in any way, and must be named.
            raise UsageError(f"{self.where} cannot be loaded: {type(error).__name__}: {one_line(error)}") from error
        return module

    def load_class(self) -> type:
        """The class of a method's or a stop rule's file. Raises `UsageError`, as `load` does."""
        return cast(type, getattr(self.load(), class_name(self.name)))

    def _check_class(self, cls: Any) -> None:
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            raise UsageError(f"{self.where} must define a dataclass {class_name(self.name)!r}, named like the file")
        for member in MEMBERS[self.group]:
            if not hasattr(cls, member):
                raise UsageError(f"{self.where}: the class {cls.__name__} must define {member!r}")
        # Parameters are converted to these types: a name that only a type checker sees must fail here, not there.
        typing.get_type_hints(cls)
        for item in dataclasses.fields(cls):
            has_default = item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
            if not has_default and item.name not in FILLED_IN:
                raise UsageError(f"{self.where}: the parameter {item.name!r} of {cls.__name__} needs a default")

    @property
    def where(self) -> str:
        """The file, as a user knows it; the module's name for entries of outside packages."""
        return self.module if self.path is None else self.path.relative_to(ROOT).as_posix()

    def source(self) -> str:
        """The text of its file. Raises `UsageError` if it cannot be read."""
        try:
            path = self.path or Path(_origin(self.module))
            return path.read_text(encoding="utf-8")
        except (OSError, ImportError, ValueError) as error:
            raise UsageError(f"{self.where} cannot be read: {one_line(error)}") from None

    def tree(self) -> ast.Module:
        """The file, parsed without running it. Raises `UsageError` for one that cannot be."""
        try:
            return ast.parse(self.source())
        except (SyntaxError, ValueError) as error:
            raise UsageError(f"{self.where} cannot be loaded: {type(error).__name__}: {one_line(error)}") from None

    @property
    def summary(self) -> str:
        """The first line of its docstring, read without importing it. Raises `UsageError`, as `tree` does."""
        if self.path is None:
            return f"from {self.module}"
        return (ast.get_docstring(self.tree()) or "").partition("\n")[0]


@functools.cache
def entries(group: str) -> dict[str, Entry]:
    """All entries of a group by name, the package's own first."""
    found: dict[str, Entry] = {}
    for folder in FOLDERS[group]:
        for path in sorted((ROOT / folder).glob("*.py")):
            if not path.stem.startswith("_"):
                module = ".".join(("taut", *folder.split("/"), path.stem))
                found[path.stem] = Entry(path.stem, module, path, group)
    prefix = group.replace(" ", "_") + "."
    for point in entry_points(group="taut"):
        if point.name.startswith(prefix):
            name = point.name.removeprefix(prefix)
            found.setdefault(name, Entry(name, point.value, None, group))
    return found


def find(group: str, name: str) -> Entry:
    """The entry called ``name``. Raises `UsageError` naming the nearest known one."""
    known = entries(group)
    if name not in known:
        raise UsageError(
            f"there is no {group.removesuffix('s')} named {name!r}{nearest(name, known)}; "
            f"known: {', '.join(sorted(known))}"
        )
    return known[name]


def class_name(file_name: str) -> str:
    """``chain_of_draft`` -> ``ChainOfDraft``: the class a file must define."""
    return "".join(part.capitalize() for part in file_name.split("_"))


def _origin(module: str) -> str:
    """The path of a module's file. Imports the packages around it, not the module."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise ImportError(f"there is no file for {module}")
    return found.origin
