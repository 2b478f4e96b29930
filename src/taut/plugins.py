"""Finds methods, tasks, verifiers and engines: one file is one entry, its name is the file's name.

Folders are listed without importing what is in them; a file whose name begins with ``_`` is a helper. Packages
from outside join through the entry-point group ``taut``: ``"methods.my_method" = "my_package.my_method"``.
"""

from __future__ import annotations

import ast
import functools
import importlib
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from taut.errors import UsageError, nearest

ROOT = Path(__file__).parent
FOLDERS: dict[str, tuple[str, ...]] = {
    "methods": ("methods/prompt_based", "methods/output_based"),
    "stop rules": ("methods/output_based/stop_rules",),
    "tasks": ("tasks",),
    "verifiers": ("verify",),
    "engines": ("engines",),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file that can be used by name."""

    name: str
    module: str
    path: Path | None
    """``None`` for entries of outside packages."""

    def load(self) -> ModuleType:
        """Import it."""
        return importlib.import_module(self.module)

    @property
    def summary(self) -> str:
        """The first line of its docstring, read without importing it."""
        if self.path is None:
            return f"from {self.module}"
        docstring = ast.get_docstring(ast.parse(self.path.read_text(encoding="utf-8"))) or ""
        return docstring.partition("\n")[0]


@functools.cache
def entries(group: str) -> dict[str, Entry]:
    """All entries of a group by name, the package's own first."""
    found: dict[str, Entry] = {}
    for folder in FOLDERS[group]:
        for path in sorted((ROOT / folder).glob("*.py")):
            if not path.stem.startswith("_"):
                module = ".".join(("taut", *folder.split("/"), path.stem))
                found[path.stem] = Entry(path.stem, module, path)
    prefix = group.replace(" ", "_") + "."
    for point in entry_points(group="taut"):
        if point.name.startswith(prefix):
            name = point.name.removeprefix(prefix)
            found.setdefault(name, Entry(name, point.value, None))
    return found


def find(group: str, name: str) -> Entry:
    """The entry called ``name``. Raises `UsageError` naming the nearest known one."""
    known = entries(group)
    if name not in known:
        kind = {"tasks": "task", "engines": "engine", "verifiers": "verifier", "stop rules": "stop rule"}
        raise UsageError(
            f"there is no {kind.get(group, 'method')} named {name!r}{nearest(name, known)}; "
            f"known: {', '.join(sorted(known))}"
        )
    return known[name]


def class_name(file_name: str) -> str:
    """``chain_of_draft`` -> ``ChainOfDraft``: the class a file must define."""
    return "".join(part.capitalize() for part in file_name.split("_"))
