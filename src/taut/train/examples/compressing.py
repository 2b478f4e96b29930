"""Compressed chains from an engine: an ordinary sweep over what a builder asks, kept as traces, resumed if stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from taut.bench import Plan, sweep
from taut.config import Config
from taut.core import Engine, Sampling, Task
from taut.errors import UsageError
from taut.methods.model_based.short_data._nouns import Builder, Question
from taut.traces import read
from taut.train.examples.building import usable

COMPRESSOR_MAX_TOKENS = 2048


@runtime_checkable
class Asks(Protocol):
    """A builder that wants chains compressed."""

    def asks(self, questions: Sequence[Question]) -> Iterator[Task]:
        """One task a chain, under the key of its sample."""
        ...


def asking(builder: Builder) -> Asks:
    """The builder, if it asks for anything. Raises `UsageError` if not."""
    if not isinstance(builder, Asks):
        raise UsageError(f"{type(builder).__name__} compresses nothing: --engine and --compressions are for c3ot")
    return cast(Asks, builder)


async def compress(
    builder: Builder,
    questions: Sequence[Question],
    engine: Engine,
    path: Path,
    concurrency: int,
    tell: Callable[[], None],
) -> None:
    """Have every chain compressed that ``path`` does not hold yet. Raises `UsageError` or `EngineError`."""
    tasks = list(asking(builder).asks(usable(questions)))
    if tasks:
        # Greedy: a compression is looked for, not a choice of them.
        sampling = Sampling(COMPRESSOR_MAX_TOKENS, 0.0)
        plan = Plan([Config().preset("direct")], tasks, sampling, concurrency=concurrency)
        await sweep(plan, {"main": engine}, path, lambda trace: tell())


def compressions(path: Path) -> dict[str, str]:
    """By sample key: the compressed chains in a file of traces. Raises `UsageError` if it has none."""
    found = {trace.task.id: trace.answer for trace in read(path) if trace.error is None and trace.finish == "stop"}
    if not found:
        raise UsageError(f"{path} has no compressed chain: every call failed, or was cut")
    return found
