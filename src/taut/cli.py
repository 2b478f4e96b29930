"""The ``taut`` command. Errors are one sentence on stderr: exit code 2 for what the user can mend, 130 for Ctrl-C.

Nothing heavy is imported here: ``taut --help`` must be instant.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from taut import __version__
from taut.errors import TautError, one_line

VERBS = ("bench", "list", "doctor")
INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="taut", description="The same answers from fewer thinking tokens.")
    top.add_argument("--version", action="version", version=f"taut {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in VERBS:
        module = importlib.import_module(f"taut.commands.{name}")
        summary = module.HELP.partition("\n")[0]
        verb = verbs.add_parser(
            name, help=summary, description=module.HELP, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(verb)
        verb.set_defaults(main=module.main)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    parsed = parser().parse_args(arguments)
    try:
        return int(parsed.main(parsed))
    except TautError as error:
        sys.stderr.write(f"taut: {one_line(error, 2000)}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("taut: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`taut list | head`): not an error worth a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def existing_file(text: str) -> Path:
    """An argparse type: the path of a file that is there."""
    path = Path(text).expanduser()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def positive(text: str) -> int:
    """An argparse type: a whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
