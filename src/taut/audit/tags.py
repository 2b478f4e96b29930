"""Think tags in texts that nobody has split yet: which dialect they are, and what stands between them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from taut.dialects import FAMILIES, Dialect, Splitter, by_name
from taut.errors import UsageError, nearest


def _tags(name: str, opened: str, closed: str) -> Dialect:
    return Dialect(name, open_tags=(opened,), close_tags=(closed,))


ONLY_IN_LOGS = (
    _tags("thinking_tags", "<thinking>", "</thinking>"),
    _tags("reasoning_tags", "<reasoning>", "</reasoning>"),
    _tags("begin_of_thought", "<|begin_of_thought|>", "<|end_of_thought|>"),
    # Harmony's channels as they look where special tokens were left out.
    _tags("harmony_stripped", "analysis", "assistantfinal"),
)
"""Tags that stand in public data sets, though no server's parser knows them."""
WHOLE = "plain"
"""The dialect without tags: the last paragraph of a text is its answer, all before it is thinking."""


@dataclass(frozen=True, slots=True)
class Split:
    """A text told apart."""

    thinking: str
    answer: str
    before: str
    """What stood before the thought: a prompt that was logged along with the reply."""
    dialect: str
    is_closed: bool
    is_opened: bool
    """The text has the open tag itself; where not, the prompt had it."""


def _by_mark() -> dict[str, tuple[Dialect, bool]]:
    """Open tags and close tags, the first dialect that has them, and whether it is one that opens."""
    marks: dict[str, tuple[Dialect, bool]] = {}
    for dialect in (by_name("think_tags"), *FAMILIES.values(), *ONLY_IN_LOGS):
        marks.update({tag: (dialect, True) for tag in dialect.open_tags if tag not in marks})
        marks.update({tag: (dialect, False) for tag in dialect.close_tags[:3] if tag not in marks})
    # Tags that close a thought in one family and are ordinary words of the answer in others.
    return {tag: found for tag, found in marks.items() if tag not in ("<answer>", "</answer>", "<response>")}


MARKS = _by_mark()
_MARK = re.compile("|".join(re.escape(tag) for tag in sorted(MARKS, key=len, reverse=True)))


def named(name: str) -> Dialect:
    """The dialect of that name, those of logs included. Raises `UsageError` naming the nearest."""
    known = {**FAMILIES, **{dialect.name: dialect for dialect in ONLY_IN_LOGS}}
    if name not in known:
        raise UsageError(f"no dialect is named {name!r}{nearest(name, known)}; there are: {', '.join(known)}")
    return known[name]


def split(text: str, dialect: Dialect | None = None) -> Split | None:
    """Thinking and answer of ``text``; ``None`` where it has no tags (of ``dialect``, or any)."""
    if dialect is not None and not dialect.thinks:
        return _by_paragraph(text)
    found = _first_mark(text, dialect)
    if found is None:
        return None
    place, own, opens = found
    before = text[:place].strip() if opens else ""
    rest = text[place:] if opens else text
    splitter = Splitter(replace(own, template_opens=not opens), "thinking" if not opens else None)
    parts = [*splitter.feed(rest), *splitter.finish()]
    texts = {kind: "".join(part for each, part in parts if each == kind) for kind in ("thinking", "answer")}
    is_closed = splitter.kind == "answer"
    return Split(texts["thinking"].strip(), texts["answer"].strip(), before, own.name, is_closed, opens)


def _first_mark(text: str, dialect: Dialect | None) -> tuple[int, Dialect, bool] | None:
    for found in _MARK.finditer(text):
        own, opens = MARKS[found[0]]
        if dialect is not None:
            if found[0] not in (*dialect.open_tags, *dialect.close_tags):
                continue
            own, opens = dialect, found[0] in dialect.open_tags
        if found[0][0].isalpha() and not _is_in_place(text, found.start(), own):
            continue
        return found.start(), own, opens
    return None


def _is_in_place(text: str, place: int, dialect: Dialect) -> bool:
    """Tags that are plain words count at the very beginning, and with their other half behind."""
    return not text[:place].strip() and any(tag in text for tag in dialect.close_tags)


def _by_paragraph(text: str) -> Split:
    for gap in ("\n\n", "\n", ". "):
        thinking, found, answer = text.strip().rpartition(gap)
        if found and thinking.strip():
            return Split(thinking.strip(), answer.strip(), "", WHOLE, True, True)
    return Split("", text.strip(), "", WHOLE, True, True)
