"""Every benchmark with its defaults, one after the other, on a machine that has nothing else to do; about 25 minutes.

    python benchmarks/run_all.py             everything
    python benchmarks/run_all.py --quick     fewer rounds, no installations: to see that all of them run

The results go to benchmarks/results; with --quick nowhere.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _common import HERE, ROOT

QUIET_LOAD = 0.5
RUNS = (
    ("startup.py",),
    ("cpu_per_token.py",),
    ("sweep_throughput.py", "--server", "steps"),
    ("sweep_throughput.py",),
)
QUICK: dict[str, tuple[str, ...]] = {
    "startup.py": ("--rounds", "2", "--no-sizes"),
    "cpu_per_token.py": ("--rounds", "1", "--streams", "8"),
    "sweep_throughput.py": ("--rounds", "1", "--waves", "1", "--tokens", "16", "--concurrency", "4"),
}


def main() -> int:
    """Run them; the exit code is 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only see that they run")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    if load > QUIET_LOAD and not options.quick:
        print(f"note: the machine is busy (load {load:.1f}); the figures will not be comparable", flush=True)
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (script, *arguments) in enumerate(RUNS):
            extra = [*QUICK[script], "--out", str(Path(folder) / f"{number}.json")] if options.quick else []
            print(f"\n== {script} {' '.join([*arguments, *extra])}", flush=True)
            done = subprocess.run([sys.executable, str(HERE / script), *arguments, *extra], cwd=ROOT, check=False)
            failed += [script] if done.returncode else []
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
