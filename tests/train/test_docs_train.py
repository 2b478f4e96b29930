"""The page on training tells the truth: its recipes are read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from taut.train.reading import read_recipe
from taut.train.recipe import SECTIONS, Kind

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "train.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", RECIPES)
def test_every_recipe_of_the_page_is_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    kinds: list[Kind] = [kind for kind in SECTIONS if kind in tomllib.loads(text)]
    (kind,) = kinds
    assert read_recipe(path, kind).kind == kind


def test_the_page_has_recipes() -> None:
    assert len(RECIPES) == 4
