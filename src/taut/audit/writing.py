"""``audit.json`` and ``audit.html``, each replaced in one step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from taut.audit.nouns import Audit, Report, Thought
from taut.audit.page import render
from taut.errors import UsageError
from taut.traces import finite

FILES = ("audit.html", "audit.json")
MAX_QUESTION_CHARS = 2000
MAX_UNREAD = 1000
"""Listed one by one; the number of all is told apart."""


def write(report: Report, thoughts: Sequence[Thought], folder: Path, worst: int) -> None:
    """Write both files. Raises `UsageError` where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "audit.json", encode(report))
        page = render(report, {each.id: each for each in thoughts}, worst)
        _replace(folder / "audit.html", page.encode("utf-8", "replace"))
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror or error}") from None


def encode(report: Report) -> bytes:
    """``audit.json``: everything but the texts. Segments are ``[label, start, end]``; null means not known."""
    content = msgspec.to_builtins(report)
    content["audits"] = [_line(audit) for audit in report.audits]
    content["unread"], content["unread_count"] = content["unread"][:MAX_UNREAD], len(report.unread)
    return _encoded(finite(content)) + b"\n"


def _line(audit: Audit) -> Mapping[str, Any]:
    content: dict[str, Any] = msgspec.to_builtins(audit)
    content["question"] = audit.question[:MAX_QUESTION_CHARS]
    content["segments"] = [[each.label, each.start, each.end] for each in audit.segments]
    return content


def _encoded(content: Any) -> bytes:
    try:
        return msgspec.json.encode(content)
    except UnicodeEncodeError:
        # Half a character, which a log may hold and UTF-8 cannot.
        return msgspec.json.encode(_whole(content))


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list | tuple) else value


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(path.name + ".tmp")
    draft.write_bytes(content)
    os.replace(draft, path)
