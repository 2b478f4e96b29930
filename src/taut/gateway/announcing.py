"""What ``taut serve`` says when it begins: what is served, how budgets are kept, what is on, and how to try it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taut.gateway.keys import Key, Keyring

if TYPE_CHECKING:
    from taut.core import Engine
    from taut.gateway.catalog import Catalog
    from taut.gateway.settings import Limits, Settings
    from taut.gateway.starting import Gateway


def announce(one: Gateway, address: tuple[Any, ...]) -> None:
    """Say what is served, and how to try it."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
    url = f"http://{host}:{address[1]}"
    table = Table.grid(padding=(0, 2))
    for name, text in _facts(one, url):
        table.add_row(f"[bold]{name}[/]", escape(text))
    console = Console(stderr=True)
    console.print(f"[bold]taut serve[/] at [bold]{escape(url)}/v1[/]", highlight=False)
    console.print(table)
    # In one line, however long: it is there to be pasted.
    console.print(f"[bold]try[/]  {escape(_example(one, url))}", soft_wrap=True, highlight=False)
    console.file.flush()


def _facts(one: Gateway, url: str) -> list[tuple[str, str]]:
    settings, catalog = one.settings, one.catalog
    effort = " · ".join(f"{name} {tokens:,}" for name, tokens in settings.effort.items())
    unenforceable = {"say": "said in the receipt", "refuse": "refused"}[settings.unenforceable]
    return [
        ("presets", ", ".join(catalog.presets)),
        ("models", _models(catalog, settings.limits)),
        *((f"no {name}", reason) for name, reason in catalog.left_out.items()),
        ("effort", f"{effort}  thinking tokens"),
        *(("budgets", f"on {name}: {who_keeps(engine)}") for name, engine in catalog.engines.items()),
        ("", f"what nobody can keep is {unenforceable}"),
        ("keys", _keys(settings)),
        *_switched_on(settings),
        ("page", f"{url}/"),
    ]


def _models(catalog: Catalog, limits: Limits) -> str:
    own = [entry["id"] for entry in catalog.models() if entry["taut"]["kind"].startswith("engine")]
    ceiling = limits.max_thinking_tokens
    how = "passed through" if ceiling is None else f"under the ceiling of {ceiling:,} thinking tokens"
    return f"{', '.join(own)}  ({how})"


def who_keeps(engine: Engine) -> str:
    """Who sees to a thinking budget on this engine."""
    if "thinking_budget" in engine.offers:
        return "kept by the server's own budget"
    if engine.dialect.thinks:
        return "kept by the thinking loop" if "prefill" in engine.offers else "passed on to the server"
    if "prefill" in engine.offers:
        return "the model does not mark its thinking, so there is nothing to keep"
    return "passed on: how the model marks its thinking is not known ('taut doctor' finds out and prints the table)"


def _keys(settings: Settings) -> str:
    if not settings.keys:
        return "none: everybody who can reach it is let in"
    today = datetime.now(UTC).date()
    return ", ".join(_key(key, expired=key.has_expired(today)) for key in Keyring.read(settings.keys))


def _key(key: Key, *, expired: bool) -> str:
    return f"{key.name} (expired)" if expired else f"{key.name} (admin)" if key.admin else key.name


def _switched_on(settings: Settings) -> list[tuple[str, str]]:
    """What costs, stores or limits, where it was asked for."""
    texts = "with the texts of prompts and answers" if settings.store_prompts else "without texts"
    usual = type(settings.limits)()
    limits = [
        f"{field.name} {getattr(settings.limits, field.name)}"
        for field in dataclasses.fields(usual)
        if getattr(settings.limits, field.name) != getattr(usual, field.name)
    ]
    said = {
        "traces": f"{settings.traces}/traces.jsonl, {texts}" if settings.traces else "",
        "shadow": f"{settings.shadow:.0%} of the requests also run unmodified, and cost that"
        if settings.shadow
        else "",
        "baseline": str(settings.baseline or ""),
        "limits": ", ".join(limits),
        "workers": str(settings.workers) if settings.workers > 1 else "",
    }
    return [(name, text) for name, text in said.items() if text]


def _example(one: Gateway, url: str) -> str:
    catalog = one.catalog
    model = "direct" if "direct" in catalog.presets else catalog.models()[0]["id"]
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "What is 17 + 25?"}}]}}'
    key = " -H 'authorization: Bearer KEY'" if one.settings.keys else ""
    return f"curl {url}/v1/chat/completions{key} -H 'content-type: application/json' -d '{body}'"
