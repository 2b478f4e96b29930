"""What each level of a GGUF file does to accuracy and to thinking length, on questions of your choice.

    python recipes/quantisation.py MODEL-f16.gguf --to q8_0,q5_0,q4_0 --out RUN -- --task gsm8k --limit 200 --seed 1

writes the levels into RUN/models, benches each and the model itself with the arguments after ``--`` (those of
``taut bench``, but for --engine and --out), and compares them in RUN/compared: the usual report, and thinking tokens
beside it. Every level answers the same questions, so that differences are taken question by question. A recipe that was
stopped goes on where it was. With one preset, ``direct`` by default, every level is one row of the table.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from taut.cli import main as taut
from taut.errors import TautError
from taut.train.quantize import quantize


def main() -> int:
    """The command line."""
    own, bench = _halves(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a GGUF file in f32, f16 or bf16, as taut export writes it")
    parser.add_argument("--to", default="q8_0,q5_0,q4_0", help="levels, with commas between")
    parser.add_argument("--out", type=Path, required=True, help="folder of everything this writes")
    arguments = parser.parse_args(own)
    if "--task" not in bench:
        parser.error("what to ask is missing: put it behind two dashes, -- --task TASK --limit 200")
    levels = [level.strip() for level in arguments.to.split(",") if level.strip()]
    try:
        models = {"full": arguments.model, **_written(arguments.model, levels, arguments.out / "models")}
    except TautError as error:
        print(f"quantisation: {error}", file=sys.stderr)
        return 2
    for name, model in models.items():
        print(f"{name}: {model.stat().st_size / 1e6:.1f} MB", flush=True)
        if code := _bench(model, arguments.out / name, bench):
            return code
    compared = arguments.out / "compared"
    shutil.rmtree(compared, ignore_errors=True)
    return taut(["compare", *(f"{name}={arguments.out / name}" for name in models), "--out", str(compared)])


def _halves(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Before and after ``--``."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def _written(model: Path, levels: list[str], folder: Path) -> dict[str, Path]:
    return {done.level: done.path for done in quantize(model, levels, folder)}


def _bench(model: Path, run: Path, questions: list[str]) -> int:
    preset = [] if "--preset" in questions else ["--preset", "direct"]
    resume = ["--resume"] if (run / "manifest.json").exists() else []
    return taut(["bench", "--engine", f"embedded:{model}", "--out", str(run), *preset, *resume, *questions])


if __name__ == "__main__":
    sys.exit(main())
