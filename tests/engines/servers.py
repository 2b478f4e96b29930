"""Real servers for the tests, started once a test run and stopped at its end: vLLM on the CPU, and llama.cpp.

The vLLM tests need ``python tests/engines/setup_vllm.py`` first; without it they are skipped, and with
``TAUT_REQUIRE_VLLM=1`` they fail.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engines import make_model, setup_vllm

START_LIMIT_S = 300
"""About 30 s on an idle machine with two cores, most of it imports."""
STOP_LIMIT_S = 20
LOG_TAIL_CHARS = 6000
CONTEXT_TOKENS = 2048
REASONING = '{"reasoning_start_str":"<think>","reasoning_end_str":"\\n</think>\\n\\n"}'
FLAGS = (
    *("--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", str(CONTEXT_TOKENS), "--max-num-seqs", "64"),
    # Compiling takes a minute at every start, because the CPU build cannot load its own cache.
    *("--enforce-eager", "--enable-prompt-tokens-details", "--reasoning-config", REASONING),
    # Without a parser every request with tools is refused.
    *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    url: str
    """Without a path: ``http://127.0.0.1:PORT``."""
    model: str
    """The name that requests must give."""
    log: Path | None = None
    api_key: str = ""


@contextmanager
def serve_vllm(model: Path, log: Path, *flags: str) -> Iterator[Server]:
    """``vllm serve`` for a model folder, ready to answer; served under the folder's name."""
    port = _free_port()
    command = [str(setup_vllm.ENVIRONMENT / "bin" / "vllm"), "serve", str(model), "--port", str(port)]
    command += ["--served-model-name", model.name, *FLAGS, *flags]
    server = Server(f"http://127.0.0.1:{port}", model.name, log)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=_environment(), start_new_session=True
        )
    try:
        _wait_until_healthy(process, server)
        yield server
    finally:
        _stop(process)


def _environment() -> dict[str, str]:
    openmp = setup_vllm.ENVIRONMENT / "lib" / "libiomp5.so"
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        **{"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"},
        "VLLM_CPU_KVCACHE_SPACE": "2",
        # By default vLLM leaves one core to itself, which is half of a small machine.
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, sorted(os.sched_getaffinity(0)))),
        # With the default of 200 ms idle OpenMP threads spin through the cores that the tests need.
        "KMP_BLOCKTIME": "1",
        **({"LD_PRELOAD": str(openmp)} if openmp.exists() else {}),
    }


def _wait_until_healthy(process: subprocess.Popen[bytes], server: Server) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"vLLM ended with exit code {process.returncode}:\n{_tail(server)}")
        if _is_healthy(server):
            return
        time.sleep(0.5)
    pytest.fail(f"vLLM did not answer within {START_LIMIT_S} s:\n{_tail(server)}")


def _is_healthy(server: Server) -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask politely, then make sure: its workers share its session, and no other process does."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_LIMIT_S)


def _tail(server: Server) -> str:
    return server.log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL_CHARS:] if server.log else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def skip_without_vllm() -> None:
    """Skip the test, or fail it where vLLM is demanded."""
    if setup_vllm.is_complete() and make_model.are_made():
        return
    reason = "there is no vLLM here: run python tests/engines/setup_vllm.py"
    if os.environ.get("TAUT_REQUIRE_VLLM") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """vLLM with ``smollm2-think``, whose template opens a thought, and with a thinking budget."""
    skip_without_vllm()
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with serve_vllm(make_model.MODELS / "smollm2-think", log) as server:
        yield server


@contextmanager
def serve_llama(chat_template: str = "") -> Iterator[Server]:
    """llama.cpp's own server with the packaged model, in this process; with another template where one is given."""
    xllamacpp = pytest.importorskip("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(make_model.packaged_gguf())
    parameters.n_parallel = 4
    parameters.n_ctx = 4 * CONTEXT_TOKENS
    # Two threads on a shared machine with two cores wait for each other: one is faster there.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.warmup = False
    parameters.verbosity = 0
    parameters.endpoint_metrics = True
    if chat_template:
        parameters.chat_template = chat_template
    running = xllamacpp.Server(parameters)
    yield Server(running.listening_address, "smollm2")
    del running


@pytest.fixture(scope="session")
def llama_server() -> Iterator[Server]:
    """llama.cpp with the packaged model."""
    with serve_llama() as server:
        yield server
