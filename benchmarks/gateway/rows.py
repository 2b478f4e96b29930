"""Who stands between the client and the fake upstream, and how each is started: one process a row."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEERS = ROOT / ".venv-peers" / "bin"
START_S = 120.0
"""LiteLLM takes half a minute to import on a slow core."""
CHAT = "/v1/chat/completions"
KEY = "sk-benchmark"

LITELLM = """\
model_list:
  - model_name: Qwen3-fake
    litellm_params: {model: openai/Qwen3-fake, api_base: "{upstream}/v1", api_key: sk-benchmark}
litellm_settings: {telemetry: false}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant. ``{upstream}``, ``{port}`` and ``{folder}`` are filled into ``command`` and ``files``."""

    name: str
    command: tuple[str, ...] = ()
    """Empty: the upstream itself."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Written to ``{folder}`` before the start."""
    environment: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of each request."""
    thinking: int = 0
    """Tokens of thinking that are to arrive at the client."""


@dataclass(frozen=True, slots=True)
class Running:
    """A row that can be called."""

    row: Row
    url: str
    pid: int | None


def all_rows(thinking: int) -> tuple[Row, ...]:
    """Every contestant, where the upstream writes ``thinking`` tokens of thinking."""
    taut = (str(Path(sys.executable).parent / "taut"), "serve", "--engine", "{upstream}", "--port", "{port}")
    cut = thinking // 2
    return (
        Row("direct", thinking=thinking),
        Row("taut", taut, thinking=thinking),
        Row("taut, budget", taut, body={"thinking_token_budget": 10 * thinking + 100}, thinking=thinking),
        Row("taut, budget cuts", taut, body={"thinking_token_budget": cut}, thinking=cut),
        Row(
            "litellm",
            (str(PEERS / "litellm"), "--config", "{folder}/litellm.yaml", "--host", "127.0.0.1", "--port", "{port}"),
            files={"litellm.yaml": LITELLM},
            # Otherwise it fetches its list of prices from the internet before it starts.
            environment={
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "LITELLM_LOG": "ERROR",
                "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            },
            thinking=thinking,
        ),
        Row(
            "optillm",
            (
                *(str(PEERS / "python"), "-c", "import optillm; optillm.main()", "--log", "error"),
                *("--approach", "none", "--base-url", "{upstream}/v1", "--host", "127.0.0.1", "--port", "{port}"),
            ),
            environment={"OPENAI_API_KEY": KEY},
            # It hands on `reasoning_content` only, and the upstream says `reasoning`, as vLLM does.
            thinking=0,
        ),
    )


@contextlib.contextmanager
def upstream_process(*arguments: str) -> Iterator[tuple[str, int]]:
    """The fake upstream; its address and process id."""
    command = [sys.executable, str(HERE / "upstream.py"), *arguments]
    with _ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid


@contextlib.contextmanager
def running(row: Row, upstream: str, upstream_pid: int, folder: Path) -> Iterator[Running]:
    """Start a row and wait until it answers; its output goes to a file in ``folder``.

    Raises `SystemExit` with the end of that output if it does not start.
    """
    if not row.command:
        yield Running(row, upstream, upstream_pid)
        return
    place = folder / row.name.replace(" ", "_").replace(",", "")
    place.mkdir()
    port = free_port()

    def filled(text: str) -> str:
        return text.replace("{upstream}", upstream).replace("{port}", str(port)).replace("{folder}", str(place))

    for name, text in row.files.items():
        (place / name).write_text(filled(text), encoding="utf-8")
    command = [filled(part) for part in row.command]
    with (place / "output.txt").open("w", encoding="utf-8") as output:
        environment = {**os.environ, **row.environment}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=place)
        with _ended(process):
            _wait(process, f"http://127.0.0.1:{port}/v1/models", place / "output.txt")
            yield Running(row, f"http://127.0.0.1:{port}", process.pid)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[Any]) -> Iterator[Any]:
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def free_port() -> int:
    """One that nobody uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(process: subprocess.Popen[Any], url: str, output: Path) -> None:
    end_s = time.monotonic() + START_S
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {KEY}"})
    while time.monotonic() < end_s and process.poll() is None:
        with contextlib.suppress(OSError, urllib.error.HTTPError), urllib.request.urlopen(request, timeout=2):
            return
        time.sleep(0.2)
    raise SystemExit(f"{process.args!r} does not answer: {output.read_text(encoding='utf-8')[-2000:]}")
