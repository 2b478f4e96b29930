"""``taut adapter``: scale, merge and load the LoRA adapters that training makes."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from taut.cli import existing_file, folder, not_negative

HELP = """scale a trained adapter, merge it into its model, or load it into a running vLLM

scale  writes an adapter with BY times the effect: between 0 and 1 part of the way, above 1 beyond what was trained
merge  writes the whole model as a Hugging Face folder, for taut export and --engine transformers:FOLDER
load   has a running vLLM load it, to be asked for by its name as the model"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    scale = _part(parts, "scale", "write an adapter with BY times the effect", _scale)
    scale.add_argument("--by", required=True, type=not_negative, metavar="X", help="0 is the base model, 1 as trained")
    scale.add_argument("--out", required=True, type=folder, metavar="FOLDER", help="a new folder")
    merge = _part(parts, "merge", "write the model that it makes of its base", _merge)
    merge.add_argument("--out", required=True, type=folder, metavar="FOLDER", help="a new folder")
    load = _part(parts, "load", "load it into a running vLLM", _load)
    load.add_argument("--engine", required=True, metavar="E", help="http://SERVER, or a name from taut.toml")
    load.add_argument("--name", default="", metavar="NAME", help="to ask for it by (default: the folder's)")
    load.add_argument("--seen-as", default="", metavar="PATH", help="the adapter's path where the server runs")
    load.add_argument("--config", type=existing_file, metavar="FILE", help="default: taut.toml here, if there is one")


def _part(parts: Any, name: str, summary: str, main: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = parts.add_parser(name, help=summary, description=summary)
    parser.add_argument("adapter", type=folder, metavar="ADAPTER", help="a folder with adapter_config.json")
    parser.set_defaults(part_main=main)
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Do the part that was named."""
    return int(arguments.part_main(arguments))


def _scale(arguments: argparse.Namespace) -> int:
    from taut.train.lora import scale

    alpha = scale(arguments.adapter, arguments.by, arguments.out)
    sys.stdout.write(f"{arguments.out}: {arguments.by:g} times {arguments.adapter} (lora_alpha {alpha:g})\n")
    return 0


def _merge(arguments: argparse.Namespace) -> int:
    from taut.train.lora import merge

    out = merge(arguments.adapter, arguments.out)
    sys.stdout.write(f"{out}: a whole model\nto write it for llama.cpp: taut export {out} --out {out.name}.gguf\n")
    return 0


def _load(arguments: argparse.Namespace) -> int:
    import asyncio

    from taut.config import engine_table, load_config
    from taut.errors import UsageError
    from taut.train.lora import load_into

    table = engine_table(arguments.engine, load_config(arguments.config))
    if table["kind"] != "openai" or not table.get("url"):
        raise UsageError(f"--engine {arguments.engine} is not one running server; give its address, http://…")
    name = arguments.name or arguments.adapter.resolve().name
    key_env = str(table.get("api_key_env", "OPENAI_API_KEY"))
    url = asyncio.run(load_into(str(table["url"]), arguments.adapter, name, seen_as=arguments.seen_as, key_env=key_env))
    sys.stdout.write(
        f'{name} is loaded. For taut.toml:\n\n[engines.{name}]\nkind = "openai"\nurl = "{url}"\nmodel = "{name}"\n'
    )
    return 0
