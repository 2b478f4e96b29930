"""Shared helpers of the tests: questions, a fake engine, and the folder of real data where it is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from taut.core import Task
from taut.engines.fake import FakeEngine

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
