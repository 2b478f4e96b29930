"""``taut serve``: any preset between OpenAI-compatible clients and their model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taut.cli import existing_file, folder, not_negative, positive

if TYPE_CHECKING:
    from taut.config import Config
    from taut.gateway.settings import Settings

HELP = """run it: an OpenAI-compatible gateway in front of any engine

Serves every preset as a model, and the engines' own models untouched, under /v1/chat/completions, /v1/completions,
/v1/responses and Anthropic's /v1/messages; a live page at /, Prometheus metrics at /metrics. Everything can also stand
in taut.toml under [serve] and [engines.x]; what is given here wins. Ctrl-C ends it in good order."""

ENGINE = (
    "embedded, embedded:MODEL.gguf, http://SERVER, fake, or a name from taut.toml; NAME=E names it; repeat it; presets "
    "run on the first (default: all of taut.toml's, else embedded)"
)
PRESET = (
    "a preset to offer, as for 'taut bench'; repeat it (default: taut.toml's, and every method that the engine can do)"
)
UNENFORCEABLE = "a budget that nobody can enforce: say so in the receipt, or refuse the request (default: say)"
BASELINE = "a run of 'taut bench': savings are shown against its baseline preset"
ARGUMENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--engine", {"action": "append", "default": [], "metavar": "E", "help": ENGINE}),
    ("--config", {"type": existing_file, "metavar": "FILE", "help": "default: taut.toml here, if there is one"}),
    ("--preset", {"action": "append", "dest": "presets", "metavar": "P", "help": PRESET}),
    ("--host", {"metavar": "H", "help": "address to listen on (default: 127.0.0.1)"}),
    ("--port", {"type": int, "metavar": "N", "help": "default: 8000"}),
    ("--workers", {"type": positive, "metavar": "N", "help": "processes (default: 1)"}),
    ("--max-tokens", {"type": positive, "metavar": "N", "help": "most that a request may ask for, and the default"}),
    ("--max-thinking-tokens", {"type": int, "metavar": "N", "help": "ceiling for any thinking budget"}),
    ("--requests-at-once", {"type": positive, "metavar": "N", "help": "more get 429 (default: 512)"}),
    ("--deadline", {"type": not_negative, "dest": "deadline_s", "metavar": "SECONDS", "help": "per request"}),
    ("--unenforceable", {"choices": ("say", "refuse"), "help": UNENFORCEABLE}),
    ("--traces", {"type": folder, "metavar": "DIR", "help": "append every request to DIR/traces.jsonl, without texts"}),
    ("--store-prompts", {"action": "store_true", "default": None, "help": "store texts in the traces too"}),
    ("--shadow", {"type": not_negative, "metavar": "SHARE", "help": "share of requests that also run unmodified"}),
    ("--baseline", {"type": Path, "metavar": "RUN", "help": BASELINE}),
    (
        "--allow-host",
        {"action": "append", "dest": "allow_hosts", "metavar": "NAME", "help": "a further name of this gateway"},
    ),
    ("--no-keys", {"action": "store_true", "default": None, "help": "let in everybody who can reach it"}),
    ("--yes-without-keys", {"action": "store_true", "default": None, "help": "needed with --no-keys beyond loopback"}),
)
NOT_SETTINGS = ("engine", "config", "main", "verb")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    for name, options in ARGUMENTS:
        parser.add_argument(name, **options)


def main(arguments: argparse.Namespace) -> int:
    """Serve until stopped."""
    import asyncio

    from taut.config import load_config
    from taut.gateway.settings import read_settings

    config = load_config(arguments.config)
    given = {name: value for name, value in vars(arguments).items() if value is not None and name not in NOT_SETTINGS}
    settings = read_settings(config.serve, given, f"[serve] in {config.path}" if config.path else "taut serve")
    if settings.workers > 1:
        from taut.gateway.workers import serve_with_workers

        return serve_with_workers(arguments.engine, settings, config)
    asyncio.run(_serve(arguments.engine, settings, config))
    return 0


async def _serve(engines: list[str], settings: Settings, config: Config) -> None:
    from taut.gateway.announcing import announce
    from taut.gateway.starting import gateway, open_engines, serve

    async with open_engines(engines, settings, config) as opened, gateway(settings, opened, config) as one:
        await serve(one, ready=lambda address: announce(one, address))
