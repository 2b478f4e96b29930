"""Build ``.venv-peers`` in the clone: LiteLLM's proxy and optillm, for `bench.py`.

    python benchmarks/gateway/setup_peers.py

Takes about a minute and 0.7 GB, and a second where everything is there already.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = REPOSITORY / ".venv-peers"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / "complete"
REQUIREMENTS = REPOSITORY / "requirements" / "peers.txt"


def stamp_text() -> str:
    """What the environment was built from."""
    return f"{platform.python_version()} {hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()}\n"


def is_complete() -> bool:
    """The environment is there, whole, and of these requirements."""
    return STAMP.is_file() and STAMP.read_text(encoding="utf-8") == stamp_text()


def install() -> None:
    """Build the environment afresh. Raises `SystemExit` when pip fails."""
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(ENVIRONMENT)])
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run([*pip, "--requirement", str(REQUIREMENTS)])
    STAMP.write_text(stamp_text(), encoding="utf-8")


def run(command: list[str]) -> None:
    """Run a command to its end; its output is shown only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout[-4000:]}\nfailed with exit code {done.returncode}: {' '.join(command)}")


def main() -> int:
    """Build what is missing and say how long it took."""
    began = time.monotonic()
    if not is_complete():
        print(f"{ENVIRONMENT.name}: installing LiteLLM's proxy and optillm (about a minute) …", flush=True)
        install()
    print(f"{ENVIRONMENT.name}: complete ({time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
