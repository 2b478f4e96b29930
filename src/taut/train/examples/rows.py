"""Examples as rows that trainers read: a prompt of messages, and the assistant's message with its thought in tags."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from taut.core import Message, Turn, text_of, weakest
from taut.dialects import Dialect, render_turn
from taut.methods.model_based.short_data._nouns import Example, Question, Written
from taut.replay.files import write_whole


def row_of(example: Example, dialect: Dialect | None) -> dict[str, Any]:
    """One line of the file. ``None`` for the dialect writes answers alone: nobody thought.

    With a ``rejected`` reply it has ``prompt``, ``chosen`` and ``rejected``, otherwise ``prompt`` and ``completion``.
    """
    chosen = example.chosen
    row: dict[str, Any] = {"prompt": _messages(example.messages or example.question.task.messages)}
    if example.rejected is None:
        row["completion"] = _reply(chosen, dialect)
    else:
        row["chosen"], row["rejected"] = _reply(chosen, dialect), _reply(example.rejected, dialect)
    row |= {
        "id": example.question.id,
        "source": chosen.sample.key,
        "thinking_tokens": chosen.thinking_tokens.tokens,
        "answer_tokens": chosen.answer_tokens.tokens,
        "tokens_source": weakest(chosen.thinking_tokens.source, chosen.answer_tokens.source),
    }
    if example.rejected is not None:
        row["rejected_source"] = example.rejected.sample.key
        row["rejected_tokens"] = example.rejected.thinking_tokens.tokens + example.rejected.answer_tokens.tokens
    return row | dict(example.columns)


def write(examples: Iterable[Example], dialect: Dialect | None, path: Path) -> None:
    """Write all rows, whole or not at all. Raises `UsageError` where that cannot be done."""
    encoder = msgspec.json.Encoder()
    lines = (encoder.encode(_whole(row_of(example, dialect))) for example in examples)
    write_whole(path, b"".join(line + b"\n" for line in lines))


def thinks(questions: Iterable[Question]) -> bool:
    """Whether any sample has a thought of its own, apart from its answer."""
    return any(sample.thinking.strip() for question in questions for sample in question.samples)


def _messages(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Role and text alone: a column of a data set has one form in all rows."""
    return [{"role": str(message.get("role", "user")), "content": text_of(message)} for message in messages]


def _reply(written: Written, dialect: Dialect | None) -> list[dict[str, str]]:
    turn = Turn(written.thinking.strip("\n"), closed=True, answer=written.answer.strip("\n"))
    text = turn.answer if dialect is None else render_turn(dialect, turn, "")
    return [{"role": "assistant", "content": text}]


def _whole(value: Any) -> Any:
    """Without halves of characters, which a trace may hold and UTF-8 cannot."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value
