"""Taut: the same answers from fewer thinking tokens.

The shortest useful program::

    import taut

    trace = taut.ask("What is 17 + 25?", preset="concise")
    print(trace.answer, trace.completion_tokens)

Everything else is imported from its own module; ``import taut`` itself loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taut.core import Trace

__version__ = "0.1.0"


def ask(question: str, preset: str = "direct", engine: str = "embedded", max_tokens: int = 1024) -> Trace:
    """Ask one question and return its `taut.core.Trace`: for scripts and notebooks.

    ``preset`` and ``engine`` are written as on the command line. Opens the engine for this one question; programs that
    ask many use `taut.config.open_engine` and `taut.run.run`. Raises `taut.errors.UsageError` for a wrong name and
    `taut.errors.EngineError` when the engine cannot be reached; a call that fails later is the trace's ``error``.
    """
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from taut.config import load_config, open_engine
    from taut.core import Sampling, Task
    from taut.run import check_needs, run

    async def once() -> Trace:
        config = load_config(None)
        chosen = config.preset(preset)
        main = await open_engine(engine, config)
        try:
            check_needs(chosen, {"main": main})
            task = Task("question", ({"role": "user", "content": question},))
            return await run(chosen, task, {"main": main}, sampling=Sampling(max_tokens, seed=0))
        finally:
            await main.close()

    # In a thread of its own: a notebook has an event loop running already.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, once()).result()
