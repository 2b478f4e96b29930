"""``taut train``: bake shorter thinking into the weights."""

from __future__ import annotations

import argparse
import importlib

from taut.cli import existing_file, folder

HELP = """bake it into the weights: SFT on short chains, preference pairs, RL with a length reward, distillation

Reads a recipe (TOML), trains with TRL and PEFT, and writes RUN/model, RUN/curves.png and RUN/README.md. The same
command goes on from the last checkpoint of RUN. Several GPUs: accelerate launch -m taut train …"""

KINDS = {
    "sft": "supervised fine-tuning on rows of prompt and completion",
    "rl": "GRPO with a length reward",
    "dpo": "preference pairs (DPO, SimPO and others)",
    "distill": "supervised fine-tuning on the traces of a stronger model",
}
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "peft", "trl", "scipy", "matplotlib")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help="; ".join(f"{k}: {v}" for k, v in KINDS.items()))
    parser.add_argument("recipe", nargs="?", type=existing_file, metavar="RECIPE", help="a TOML file (docs/train.md)")
    parser.add_argument("--out", required=True, type=folder, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="put over the recipe, such as sft.learning_rate=1e-5; repeat it",
    )


def main(arguments: argparse.Namespace) -> int:
    """Read the recipe and train."""
    from taut.train.reading import read_recipe

    recipe = read_recipe(arguments.recipe, arguments.kind, arguments.set)
    _check_packages()
    module = importlib.import_module(f"taut.train.{arguments.kind}")
    return int(module.train(recipe, arguments.out))


def _check_packages() -> None:
    """Before anything heavy is imported."""
    from importlib.util import find_spec

    from taut.errors import UsageError

    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(f"training needs {', '.join(missing)}: pip install 'taut[train]'")
