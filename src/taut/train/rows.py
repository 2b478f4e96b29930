"""JSONL files of examples, read and cut into tokens: prompt, and completion on which the loss is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from taut.errors import UsageError, nearest, one_line
from taut.train.models import Writer

Cells = Mapping[str, Any]
IGNORED = -100
"""The label of tokens that are not learned."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a file."""

    cells: Cells
    place: str
    """``train.jsonl, line 7``"""


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows as tokens, and what became of the others."""

    rows: tuple[dict[str, Any], ...]
    read: int
    too_long: int
    tokens: int
    """Of all rows, prompts included."""
    noun: str = "examples"

    def __str__(self) -> str:
        text = f"{len(self.rows):,} {self.noun}, {self.tokens:,} tokens with their prompts"
        return text + (f"; {self.too_long:,} of {self.read:,} left out as too long" if self.too_long else "")


def read_lines(paths: Sequence[str]) -> list[Line]:
    """All rows of JSONL files. Raises `UsageError` naming the file and line of what cannot be read."""
    return [line for path in paths for line in _read(Path(path).expanduser())]


def _read(path: Path) -> Iterator[Line]:
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    for number, text in enumerate(content.split(b"\n"), start=1):
        if not text.strip():
            continue
        place = f"{path.name}, line {number}"
        try:
            cells = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UsageError(f"{place}, is not JSON: {one_line(error, 200)}") from None
        if not isinstance(cells, dict):
            raise UsageError(f"{place}, is no object with columns")
        yield Line(cells, place)


def completions(lines: Sequence[Line], writer: Writer, max_length_tokens: int) -> Examples:
    """Rows of prompt and completion as ``input_ids`` and ``labels``.

    A row has ``prompt`` and ``completion`` (messages or text), or ``messages`` of which the last is the assistant's.
    Raises `UsageError` where a row has neither, or none is left.
    """
    made, too_long = [], 0
    for line in lines:
        prompt, (completion,) = _turns(line, writer, ("completion",))
        if len(prompt) + len(completion) > max_length_tokens:
            too_long += 1
            continue
        labels = [IGNORED] * len(prompt) + completion
        made.append({"input_ids": prompt + completion, "labels": labels})
    return _kept(made, len(lines), too_long, sum(len(row["input_ids"]) for row in made), max_length_tokens)


def pairs(lines: Sequence[Line], writer: Writer, max_length_tokens: int) -> Examples:
    """Rows of prompt, chosen and rejected completion as tokens. Raises `UsageError` as `completions` does."""
    made, too_long = [], 0
    for line in lines:
        prompt, (chosen, rejected) = _turns(line, writer, ("chosen", "rejected"))
        if chosen == rejected:
            raise UsageError(f"{line.place}: chosen and rejected are the same text: nothing can be learnt from that")
        if len(prompt) + max(len(chosen), len(rejected)) > max_length_tokens:
            too_long += 1
            continue
        made.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    tokens = sum(2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in made)
    return replace(_kept(made, len(lines), too_long, tokens, max_length_tokens), noun="pairs")


def _kept(made: list[dict[str, Any]], read: int, too_long: int, tokens: int, max_length_tokens: int) -> Examples:
    if not read:
        raise UsageError("the data has no rows: at least one example is needed")
    if not made:
        raise UsageError(
            f"none of the {read} rows of the data is usable: all are longer than {max_length_tokens} tokens "
            "(max_length_tokens)"
        )
    return Examples(tuple(made), read, too_long, tokens)


def _turns(line: Line, writer: Writer, columns: tuple[str, ...]) -> tuple[list[int], list[list[int]]]:
    cells = _with_prompt(line)
    for column in ("prompt", *columns):
        if column not in cells:
            hint = nearest(column, map(str, line.cells))
            raise UsageError(f"{line.place}, has no column {column!r}{hint}; its columns: {', '.join(line.cells)}")
    try:
        prompt = writer.prompt(_messages(cells["prompt"], line, "prompt"))
    except UsageError as error:
        raise UsageError(f"{line.place}: {error}" if line.place not in str(error) else str(error)) from None
    turns = [writer.ids(writer.completion(_answer(cells[column], line, column), prompt)) for column in columns]
    return writer.ids(prompt), turns


def _with_prompt(line: Line) -> Cells:
    """A conversation in one column is split before its last message."""
    messages = line.cells.get("messages")
    if "prompt" in line.cells or not isinstance(messages, list) or not messages:
        return line.cells
    return {**line.cells, "prompt": messages[:-1], "completion": messages[-1:]}


def _messages(value: Any, line: Line, column: str) -> Any:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) and "role" in item for item in value):
        return value
    raise UsageError(f"{line.place}: the column {column!r} must be text or a list of messages with role and content")


def _answer(value: Any, line: Line, column: str) -> str:
    """The text of a completion, which is a message of the assistant or text."""
    found = _messages(value, line, column)
    if isinstance(found, str):
        return found
    if len(found) > 1:
        raise UsageError(f"{line.place}: the column {column!r} has {len(found)} messages, and only one can be learnt")
    content = found[-1].get("content")
    if found[-1]["role"] != "assistant" or not isinstance(content, str) or not content:
        raise UsageError(f"{line.place}: the column {column!r} must end in a message of the assistant with text")
    thought = found[-1].get("reasoning_content")
    if thought:
        raise UsageError(f"{line.place}: put the thought into the content, between the model's tags")
    return content
