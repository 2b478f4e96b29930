"""A tiny model for all tests of training, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engines.make_model import is_installed
from tests.train.made import tiny_model

NEEDED = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "matplotlib", "scipy")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with 2 layers and random weights."""
    missing = [name for name in NEEDED if not is_installed(name)]
    if missing:
        pytest.skip(f"training needs {', '.join(missing)}: pip install 'taut[train]'")
    import torch

    # On a machine that does other things too, torch's threads wait for each other longer than they work.
    torch.set_num_threads(1)
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


Told = Callable[[], str]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """What was said on stderr since it was last asked."""
    return lambda: capsys.readouterr().err
