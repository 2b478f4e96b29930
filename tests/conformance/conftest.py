"""The real servers and models, which the engine tests define."""

from __future__ import annotations

from tests.engines.conftest import smollm2
from tests.engines.servers import vllm_server

__all__ = ["smollm2", "vllm_server"]
