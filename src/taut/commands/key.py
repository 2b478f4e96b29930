"""``taut key``: a key for the gateway, and what ``taut.toml`` holds instead of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from taut.cli import existing_file

HELP = """make a key for the gateway, or tell whose a key is

Prints the key once, on stdout, and on stderr the block for taut.toml: the key itself is kept nowhere.
With --check FILE a key is read from stdin, and the name of its holder printed; exit code 2 if nobody holds it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="who is to hold the key, such as alice")
    parser.add_argument("--check", type=existing_file, metavar="FILE", help="the taut.toml to look a key up in")


def main(arguments: argparse.Namespace) -> int:
    """Make a key, or look one up."""
    if arguments.check is not None:
        return check(arguments.check, arguments.name)
    from taut.errors import UsageError
    from taut.gateway.keys import Keyring, hash_of, make_key

    if not arguments.name:
        raise UsageError("whose key is it to be? Give a name, such as 'taut key alice'")
    key = make_key()
    Keyring.read({arguments.name: {"hash": hash_of(key)}})  # refuses a name that taut.toml would not take
    sys.stdout.write(f"{key}\n")
    sys.stdout.flush()
    name = f'"{arguments.name}"' if "." in arguments.name else arguments.name
    sys.stderr.write(
        f"\nGive this key to {arguments.name}; it is shown only now. For taut.toml:\n\n"
        f'[serve.keys.{name}]\nhash = "{hash_of(key)}"\n'
    )
    return 0


def check(path: Path, name: str) -> int:
    """Print who holds the key on stdin. Raises `UsageError` if nobody does, or somebody else than ``name``."""
    from datetime import UTC, datetime

    from taut.errors import UsageError
    from taut.gateway.keys import Keyring

    keyring = Keyring.read(_tables(path))
    holder = keyring.owner(_read_key())
    if holder is None:
        raise UsageError(f"nobody in {path} holds this key; it has keys of {', '.join(keyring.names) or 'nobody'}")
    if name and name != holder.name:
        raise UsageError(f"this key is held by {holder.name!r}, not by {name!r}")
    if holder.has_expired(datetime.now(UTC).date()):
        raise UsageError(f"this key of {holder.name!r} has expired on {holder.expires}")
    sys.stdout.write(f"{holder.name}\n")
    return 0


def _tables(path: Path) -> dict[str, dict[str, object]]:
    # Only this part of the file: a mistake elsewhere in it is no matter of a key.
    import tomllib

    from taut.errors import UsageError

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    serve = document.get("serve", {})
    keys = serve.get("keys", {}) if isinstance(serve, dict) else None
    if not isinstance(keys, dict):
        raise UsageError(f"{path}: keys are tables, written [serve.keys.NAME]")
    return keys


def _read_key() -> str:
    if sys.stdin.isatty():
        import getpass

        # Not echoed: a key in the terminal's history is one that others may read.
        return getpass.getpass("key: ").strip()
    return sys.stdin.readline().strip()
