"""What builders need and do not do themselves: places of the right answer, and a count of tokens."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from taut.audit import Thought
from taut.audit.answers import Final, final_of, reference_of
from taut.audit.measures import segment
from taut.audit.places import statements
from taut.errors import UsageError, one_line
from taut.methods.model_based.short_data._chains import chain_of
from taut.methods.model_based.short_data._nouns import Question, Reading, Sample

CHECKING = ("checking", "repeated")
"""Labels of the audit that say nothing new."""


def reader() -> Callable[[Question, Sample], Reading]:
    """Reads where the right answer stands in a chain, and what checks it, as ``taut audit`` does."""
    return _read


def _read(question: Question, sample: Sample) -> Reading:
    chain = chain_of(sample)
    task = question.task
    thought = Thought(
        sample.key,
        chain,
        sample.answer,
        task.question,
        task.reference,
        task.verifier,
        _options(task.metadata.get("options")),
        right=sample.right,
    )
    places = _places(thought, final_of(thought))
    _, segments = segment(chain, places)
    return Reading(tuple(places), tuple((each.start, each.end) for each in segments if each.label in CHECKING))


def _places(thought: Thought, final: Final | None) -> Sequence[int]:
    """Behind the statements of the answer, which is right; where it is written otherwise there, of the reference."""
    for wanted in (final, reference_of(thought, final)):
        if wanted and (found := statements(thought.thinking, wanted, thought)):
            return found
    return ()


def _options(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def token_counter(path: Path) -> Callable[[str], int]:
    """Counts tokens with the ``tokenizer.json`` of a model's folder. Raises `UsageError` if it cannot be read."""
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"there is no tokenizer.json in {path}: give the folder of a Hugging Face model")
    try:
        tokenizers = importlib.import_module("tokenizers")
    except ImportError:
        raise UsageError("--tokenizer needs the package tokenizers: pip install 'taut[transformers]'") from None
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - the library raises Exception itself
        raise UsageError(f"{file} is no tokenizer: {one_line(error, 120)}") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
