"""What the benchmarks share: a server in a process of its own, facts about the machine, a table, a JSON file."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results"


@contextlib.contextmanager
def server_process(script: str, *arguments: str) -> Iterator[str]:
    """Run ``benchmarks/script`` in a process of its own; its first line on stdout is its address."""
    command = [sys.executable, str(HERE / script), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url.startswith("http"):
            raise SystemExit(f"{script} did not start: {url or 'it printed nothing'}")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def median_and_spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Median, smallest and largest of ``values``."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
    }


def machine() -> dict[str, Any]:
    """What the figures were taken on. ``load_1min`` above 0.5 at the start means that others were at work."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
        "versions": {name: _version(name) for name in ("taut", "aiohttp", "msgspec", "openai", "xllamacpp")},
    }


def write_result(name: str, began: dict[str, Any], figures: dict[str, Any], out: Path | None = None) -> None:
    """Write ``results/NAME.json``: the date, the command, the machine as it was at the beginning, the figures."""
    script = Path(sys.argv[0]).resolve().relative_to(ROOT)
    command = f"python {script} {' '.join(sys.argv[1:])}".strip()
    record = {"date": datetime.now(UTC).date().isoformat(), "command": command, "machine": began, **figures}
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten to {os.path.relpath(path)}")


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows with the same keys, as aligned columns."""
    if not rows:
        return
    texts = [list(rows[0]), *([_cell(row[key]) for key in rows[0]] for row in rows)]
    widths = [max(len(line[column]) for line in texts) for column in range(len(texts[0]))]
    print(f"\n{title}")
    for line in texts:
        first, *others = line
        print("  ".join([first.ljust(widths[0]), *(t.rjust(w) for t, w in zip(others, widths[1:], strict=True))]))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return str(value)


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
