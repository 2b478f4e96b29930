"""The ``taut`` command. Errors are one sentence on stderr: exit code 2 for what the user can mend, 130 for Ctrl-C.

Nothing heavy is imported here: ``taut --help`` must be instant.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import math
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from taut import __version__, box
from taut.errors import TautError, UsageError, nearest, one_line

VERBS = (
    *("bench", "compare", "record", "replay", "tune", "serve", "audit", "data"),
    *("list", "doctor", "train", "export", "quantize", "adapter", "key"),
)
INTERRUPTED = 130
FAULT = 70
"""As in sysexits.h: a mistake of the program, not of its user."""
MAX_DIGITS = 9
FEW = 10_000
MOST_SEED = 2**62
"""Seeds are stored in 64 bits, and rollouts and draws count on from them."""


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one sentence naming the nearest right word, without a page of usage before it."""

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError` where argparse would print and exit."""
        raise UsageError(f"{message}; see '{self.prog} --help'")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, but every parser answers for its own arguments, so that the nearest one can be named."""
        if self._subparsers is None:
            # Before argparse misses `--task` where `--tsk` was written.
            self._refuse([text for text in args or () if text.startswith("--") and not self._knows(text)])
        parsed, unknown = super().parse_known_args(args, namespace)
        self._refuse(unknown)
        return parsed, unknown

    def _knows(self, text: str) -> bool:
        name = text.partition("=")[0]
        return any(option.startswith(name) for option in self._option_string_actions)

    def _refuse(self, unknown: Sequence[str]) -> None:
        if unknown:
            name = unknown[0].partition("=")[0]
            self.error(f"unknown argument {name!r}{nearest(name, self._option_string_actions)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        known = [*action.choices] if action.choices is not None else [value]
        if value not in known:
            what = str(action.metavar or action.dest).lower()
            self.error(f"there is no {what} {value!r}{nearest(str(value), known)}; known: {', '.join(known)}")


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="taut", description="The same answers from fewer thinking tokens.")
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without "×" is no reason to lose a report.
            stream.reconfigure(errors="replace")
    try:
        return _run(parser().parse_args(arguments))
    except TautError as error:
        return _say(one_line(error, 2000), 2)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone (`taut list | head`): not an error worth a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _say(f"the system refused: {one_line(error)}", 2)
    except Exception as error:
        if os.environ.get("TAUT_DEBUG"):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return _say(
            f"a fault in Taut itself ({where}): {type(error).__name__}: {one_line(error)}; what was done is kept; "
            "TAUT_DEBUG=1 shows the whole trace, which is what to report",
            FAULT,
        )


def _run(parsed: argparse.Namespace) -> int:
    try:
        return int(parsed.main(parsed))
    except SystemExit as leaving:
        # In this way rich says that the reader of a table has gone.
        if isinstance(leaving.__context__, BrokenPipeError):
            return 0
        raise


def _say(sentence: str, code: int) -> int:
    # Where not even stderr can be written, the exit code says it.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"taut: {sentence}\n")
    return code


def folder(text: str) -> Path:
    """An argparse type: the path of a folder, which need not be there."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return _expanded(text)


def model_folder(text: str) -> Path:
    """An argparse type: a Hugging Face folder, or the name of the model in the box."""
    return folder(box.folder_or(text))


def new_file(text: str) -> Path:
    """An argparse type: the path of a file to write."""
    return folder(text)


def _expanded(text: str) -> Path:
    try:
        text.encode()
        return Path(text).expanduser()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"the path {text[:200]!r} is not written in UTF-8") from None
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"there is no home folder for {text[:200]!r}") from None


def existing_file(text: str) -> Path:
    """An argparse type: the path of a file that is there."""
    path = _expanded(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def positive(text: str) -> int:
    """An argparse type: a whole number from 1."""
    if not text.isdecimal() or not 1 <= int(text[:MAX_DIGITS]) < 10**MAX_DIGITS or len(text) > MAX_DIGITS:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 to {10**MAX_DIGITS - 1:,}")
    return int(text)


def whole(text: str) -> int:
    """An argparse type: a whole number from 0."""
    return 0 if text == "0" else positive(text)


def seed(text: str) -> int:
    """An argparse type: a whole number, of either sign, that fits 64 bits with room to count on."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20 and int(digits) <= MOST_SEED):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number between -2^62 and 2^62")
    return int(text)


def few(text: str) -> int:
    """An argparse type: a whole number from 1 to `FEW`."""
    if positive(text) > FEW:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {FEW:,}")
    return int(text)


def share(text: str) -> float:
    """An argparse type: a number from 0 to 1; "2%" is 0.02."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1, such as 0.02 or 2%")
    return value


def not_negative(text: str) -> float:
    """An argparse type: a number from 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
