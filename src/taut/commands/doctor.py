"""``taut doctor``: what an endpoint truly can do, found out by trying."""

from __future__ import annotations

import argparse

HELP = "what an engine or server truly can do, found out by trying, and the [engines.x] block to paste"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("target")


def main(arguments: argparse.Namespace) -> int:
    """Run every check."""
    raise NotImplementedError
