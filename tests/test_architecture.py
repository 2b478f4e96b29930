"""The layout holds: import direction, nothing heavy at import, short files and functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "taut"
FILES = sorted(SOURCE.rglob("*.py"))

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "box", "meter"),
    ("messages",),
    ("core", "dialects"),
    ("session", "checkpoints", "rollouts"),
    ("engines", "methods", "tasks", "verify", "plugins"),
    ("run", "traces"),
    ("config",),
    ("bench",),
    ("metrics", "manifest"),
    ("replay",),
    ("tune",),
    ("report", "doctor", "gateway", "audit", "train"),
    ("commands", "cli", "__main__"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
APART = ("engines", "methods", "tasks", "verify")
"""Of one rank, and still not to import each other, but for a task set that asks a verifier about its own answers."""


def layer_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports_at_run_time(tree: ast.Module) -> list[str]:
    """Modules of taut that a file imports, those under TYPE_CHECKING left out."""
    found = []
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("taut"):
            found += [
                f"{node.module}.{alias.name}" if node.module == "taut" else str(node.module) for alias in node.names
            ]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("taut")]
    return [name for name in found if layer_of(name) in RANK]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_only(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for module in imports_at_run_time(ast.parse(path.read_text(encoding="utf-8"))):
        other = layer_of(module)
        if other == own or (own, other) in (("commands", "cli"), ("tasks", "verify")):
            continue
        assert RANK[other] <= RANK[own], f"{own} imports {module}"
        assert not (own in APART and other in APART), f"{own} imports {module}: they must not know each other"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or node.lineno) - node.lineno < 50, f"{node.name} is too long"


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = "{'aiohttp', 'rich', 'jinja2', 'msgspec', 'torch', 'numpy', 'asyncio', 'taut.session', 'taut.config'}"
    code = f"import sys, taut.cli; taut.cli.parser(); print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_only_the_dialects_name_model_families() -> None:
    families = ("qwen", "deepseek-r1", "gpt-oss", "magistral", "nemotron", "granite", "kimi")
    for path in FILES:
        parts = path.relative_to(SOURCE).parts
        if parts[0] == "dialects":
            continue
        names = {
            n.value.lower()
            for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(n, ast.Constant) and isinstance(n.value, str) and len(n.value) < 40
        }
        found = [family for family in families if any(family in name for name in names)]
        assert not found or path.name == "fake.py", f"{path.name} names {found}"
