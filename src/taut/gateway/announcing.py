"""What ``taut serve`` says when it begins: what is served, how budgets are kept, and how to try it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taut.gateway.starting import Gateway


def announce(one: Gateway, address: tuple[Any, ...]) -> None:
    """Say what is served, and how to try it."""
    from rich.console import Console
    from rich.table import Table

    host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
    url = f"http://{host}:{address[1]}"
    table = Table.grid(padding=(0, 2))
    for name, text in _facts(one, url):
        table.add_row(f"[bold]{name}[/]", text)
    console = Console(stderr=True)
    console.print(f"[bold]taut serve[/] at [bold]{url}/v1[/]")
    console.print(table)
    console.file.flush()


def _facts(one: Gateway, url: str) -> list[tuple[str, str]]:
    from rich.markup import escape

    settings, catalog = one.settings, one.catalog
    effort = " · ".join(f"{name} {tokens:,}" for name, tokens in settings.effort.items())
    budgets = [f"{engine.name}: {_who_keeps(engine)}" for engine in catalog.engines.values()]
    unenforceable = {"say": "else said in the receipt", "refuse": "else refused"}[settings.unenforceable]
    own = [entry["id"] for entry in catalog.models() if entry["taut"]["kind"] == "engine"]
    model = "direct" if "direct" in catalog.presets else next(iter(catalog.presets), own[0])
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "What is 17 + 25?"}}]}}'
    keys = ", ".join(settings.keys) if settings.keys else "none: everybody who can reach it"
    lines = [
        ("presets", ", ".join(catalog.presets)),
        ("models", ", ".join(own) + "  (untouched)"),
        *((f"no {name}", reason) for name, reason in catalog.left_out.items()),
        ("effort", f"{effort}  thinking tokens"),
        ("budgets", f"{'; '.join(budgets)}; {unenforceable}"),
        ("keys", keys),
        ("page", f"{url}/"),
        ("try", f"curl {url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"),
    ]
    return [(name, escape(text)) for name, text in lines]


def _who_keeps(engine: Any) -> str:
    if "thinking_budget" in engine.offers:
        return "by the server's own budget"
    if not engine.dialect.thinks:
        return "the model does not mark its thinking"
    return "by the thinking loop" if "prefill" in engine.offers else "passed on to the server"
