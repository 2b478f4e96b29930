"""``taut quantize``: a GGUF file at smaller levels."""

from __future__ import annotations

import argparse
import sys

from taut.cli import existing_file, folder

HELP = """write a GGUF file at smaller levels, one file each: q8_0, q6_k, q5_k_m, q5_1, q5_0, q4_k_m, q4_1, q4_0

The source is in f32, f16 or bf16, as taut export writes it. Fewer bits change what a model answers and how long it
thinks: compare the levels before you ship one (taut bench on each, then taut compare, or recipes/quantisation.py)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("model", type=existing_file, metavar="MODEL.gguf", help="in f32, f16 or bf16")
    parser.add_argument("--to", required=True, type=_levels, metavar="LEVEL,…", help="such as q8_0,q5_0,q4_0")
    parser.add_argument("--out", type=folder, metavar="FOLDER", help="default: the model's own")


def _levels(text: str) -> list[str]:
    levels = list(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if not levels:
        raise argparse.ArgumentTypeError("no level is named; write such as q8_0,q4_0")
    return levels


def main(arguments: argparse.Namespace) -> int:
    """Write the files, and say how to compare them."""
    from taut.commands.export import described, tell_notes
    from taut.train.quantize import quantize

    done = quantize(arguments.model, arguments.to, arguments.out, tell=lambda one: _tell(described(one)))
    for written in done:
        tell_notes(written)
    _tell("to see what the levels cost, bench each on the same questions and compare the runs:")
    benched = {"full": arguments.model, **{one.level: one.path for one in done}}
    for level, path in benched.items():
        _tell(f"  taut bench --engine embedded:{path} --task TASK --limit 200 --preset direct --out runs/{level}")
    _tell(f"  taut compare {' '.join(f'{level}=runs/{level}' for level in benched)} --out runs/levels")
    all_at_once = f"python recipes/quantisation.py {arguments.model} --to {','.join(arguments.to)} --out RUN"
    _tell(f"or all at once: {all_at_once} -- --task TASK --limit 200")
    return 0


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
