"""A small app with the live page over made-up requests: for its tests, and for the picture in the docs.

``python -m tests.gateway.live_app docs/images/live.png`` makes the picture.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from taut.core import Kind, Piece
from taut.gateway.entry import Ending, Entry
from taut.gateway.nouns import Grant
from taut.gateway.page import Measures, Page
from taut.gateway.savings import Line, Savings
from taut.gateway.siblings import Siblings
from taut.gateway.under_way import UnderWay

TRAIN = (
    "The train covers 180 km in 2 hours and 15 minutes, and I am to find its mean speed.\n\n2 hours and 15 minutes are "
    "2.25 hours, so the speed is 180 / 2.25 = 80 km/h.\n\nWait, let me check: 80 · 2.25 = 180. That is right.\n\n"
    "Alternatively, 135 minutes for 180 km are 0.75 minutes a kilometre, and 60 / 0.75 = 80. Both ways agree."
)
LETTERS = (
    "I count the letter r in 'strawberry': s, t, r, a, w, b, e, r, r, y. There is one after the t, and two before the "
    "y, which makes three."
)


@asynccontextmanager
async def serving(
    under_way: UnderWay,
    *,
    measures: Measures = "",
    lines: Sequence[Line] = (),
    interval_s: float = 0.1,
    port: int = 0,
) -> AsyncIterator[str]:
    """The page over this register on a port of its own; yields the address."""
    page = Page(Siblings(under_way), measures=measures, report_savings=lambda states: lines, interval_s=interval_s)
    app = web.Application()
    page.add_to(app)
    runner = web.AppRunner(app, shutdown_timeout=2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def say(entry: Entry, kind: Kind, text: str) -> None:
    """Write a text word by word, one token a word."""
    for word in text.split(" "):
        entry.piece(Piece(kind, word + " ", 1))


def enter(register: UnderWay, name: str, preset: str, who: str, asked: Callable[[], None] = lambda: None) -> Entry:
    """A request that can be asked to answer now."""
    return register.enter(
        name, preset=preset, engine="big", protocol="chat", key_name=who, can_answer_now=True, answer_now=asked
    )


SPENT = {
    "cap": ("stop: the answer is stable", 270),
    "concise": ("", 310),
    "vote of 3": ("vote: 2 of 3 agree", 900),
}


def populate(register: UnderWay, savings: Savings, now: list[float]) -> list[Entry]:
    """A gateway in the middle of its day; ``now`` is the register's clock, in one cell."""
    for number in range(312):
        preset = ("cap", "concise", "vote of 3")[number % 3]
        why, usual = SPENT[preset]
        spent = usual + 37 * (number % 7) - 110
        entry = enter(register, f"past{number:028x}", preset, ("alice", "bob", "batch")[number % 4 % 3])
        now[0] += 2.5
        parts = {"thinking": spent - 60, "answer": 45, **({"probe": 15} if preset == "cap" else {})}
        if preset == "vote of 3":
            parts = {"thinking": spent // 2, "answer": 80, "discarded": spent // 2 - 80}
        failed = "engine 'big' broke off in the middle of its answer" if number in (88, 304) else None
        entry.leave(Ending("error" if failed else "stop", parts, number % 9 == 0, why, failed))
        if preset != "vote of 3" and number % 4 == 1 and not failed:
            whole, agree = sum(parts.values()) + 40 + 61 * (number % 5), number % 25 > 0
            savings.add_pair(preset, sum(parts.values()), whole, agree)
            register.compared(f"past{number:028x}", whole, agree)
    first = enter(register, "5f2c9ab1e84", "cap", "alice")
    first.grant = Grant(budget_tokens=256, mechanism="loop")
    now[0] += 3.2
    second = enter(register, "a04be7d2", "vote of 3", "batch")
    now[0] += 6.1
    third = register.enter("c81d03fe", preset="big", engine="big", protocol="messages", key_name="bob")
    third.why_not = "it passes through to the engine untouched"
    now[0] += 1.4
    say(first, "thinking", TRAIN)
    say(second, "thinking", LETTERS)
    say(second, "answer", "The word has three times the letter r.")
    say(third, "thinking", LETTERS[:90])
    now[0] += 0.3
    return [first, second, third]


async def make_picture(path: Path) -> None:
    """The picture in the docs; with a further argument also a dark and a narrow one beside it."""
    from tests.gateway.browser import chromium

    now = [1000.0]
    register, savings = UnderWay(clock=lambda: now[0]), Savings()
    populate(register, savings, now)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            serving(register, measures="shadow", lines=savings.report()) as address,
            chromium(Path(folder) / "profile") as tab,
        ):
            await tab.open(address, width=1200, height=1160)
            await tab.until("document.querySelectorAll('.card').length === 3")
            await asyncio.sleep(0.3)
            await tab.picture(path)
            if len(sys.argv) > 2:
                await tab.resize(420, 2600)
                await asyncio.sleep(0.3)
                await tab.picture(path.with_name("narrow.png"))
                await tab.resize(1200, 1160, dark=True)
                await asyncio.sleep(0.3)
                await tab.picture(path.with_name("dark.png"))


if __name__ == "__main__":
    asyncio.run(make_picture(Path(sys.argv[1])))
