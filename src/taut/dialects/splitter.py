"""Raw streamed text into thinking and answer, tag by tag, without ever waiting for more than a tag's length.

What is dropped: the tags; up to two newlines right after a tag; and white space before a tag that opens the output.
A tag that changes nothing (an open tag in a thought, a close tag in an answer) is dropped, with the white space after
it, at the beginning and at the end of what it stands in; between other text it is text. After its end a thought is
opened again only at the start of a line, so that an answer which talks about ``<think>`` is not torn apart.
"""

from __future__ import annotations

import re
from functools import cache

from taut.core import Kind
from taut.dialects.nouns import Dialect

Parts = list[tuple[Kind, str]]

NEWLINES_DROPPED = 2
"""After a tag. Templates write one or two there and models imitate them."""


class Splitter:
    """Feed text in pieces of any size; get ``(kind, text)`` parts back.

    The result, with neighbouring parts of one kind joined, is the same however the text was cut. ``start`` is what
    `starts_in` says of the text before; with ``None`` the model may open a thought as the first thing it writes, and
    a dialect whose template opens the thought counts as inside one.
    """

    __slots__ = (
        "_fresh",
        "_held",
        "_idle_tags",
        "_line_start",
        "_longest",
        "_marks",
        "_newlines",
        "_space",
        "_tags",
        "_undecided",
        "kind",
    )

    def __init__(self, dialect: Dialect, start: Kind | None) -> None:
        self.kind: Kind = start or ("thinking" if dialect.template_opens else "answer")
        self._tags, self._marks = _tags_of(dialect.open_tags, dialect.close_tags)
        self._longest = max(map(len, self._tags), default=0)
        self._undecided = start is None and self.kind == "answer" and bool(self._tags)
        self._held = ""
        self._space = ""
        """White space at the very beginning, while it is undecided."""
        self._idle_tags = ""
        """Tags that change nothing and the white space after them: text, if text follows."""
        self._fresh = True
        """Nothing but white space since the last tag."""
        self._line_start = True
        self._newlines = 0
        """How many may still be dropped."""

    def feed(self, text: str) -> Parts:
        """The parts that are certain now. A tag that may still be completed is held back."""
        if self._marks is None:
            return [(self.kind, text)] if text else []
        if self._held:
            text, self._held = self._held + text, ""
        return self._scan(text, final=False)

    def finish(self) -> Parts:
        """The parts that were held back; no more text will come."""
        text, self._held = self._held, ""
        parts = self._scan(text, final=True) if text else []
        if self._space:
            parts.append((self.kind, self._space))
            self._space = ""
        return parts

    def _scan(self, text: str, *, final: bool) -> Parts:
        assert self._marks is not None
        parts: Parts = []
        done = position = 0
        while (mark := self._marks.search(text, position)) is not None:
            at = mark.start()
            if not final and self._may_grow(text, at):
                self._held = text[at:]
                break
            position = at + 1
            tag = next((known for known in self._tags if text.startswith(known, at)), None)
            if tag is None:
                continue
            self._write(text[done:at], parts)
            done = position = at + len(tag)
            self._take_tag(tag, parts)
        end = len(text) - len(self._held)
        self._write(text[done:end] if done or self._held else text, parts)
        return parts

    def _may_grow(self, text: str, at: int) -> bool:
        if len(text) - at >= self._longest:
            return False
        rest = text[at:]
        return any(len(rest) < len(tag) and tag.startswith(rest) for tag in self._tags)

    def _take_tag(self, tag: str, parts: Parts) -> None:
        kind = self._tags[tag]
        if kind == self.kind and not self._fresh:
            self._idle_tags += tag
        elif kind == "answer" or self._fresh or self._line_start:
            self._begin(kind)
        else:
            self._write(tag, parts)

    def _begin(self, kind: Kind) -> None:
        self.kind = kind
        self._space = self._idle_tags = ""
        self._undecided = False
        self._fresh = self._line_start = True
        self._newlines = NEWLINES_DROPPED

    def _write(self, text: str, parts: Parts) -> None:
        if self._newlines:
            text = self._without_newlines(text)
        if not text:
            return
        if self._fresh or self._idle_tags:
            if text.isspace() and (self._undecided or self._idle_tags):
                self._hold_space(text)
                return
            text = f"{self._space}{self._idle_tags}{text}"
            self._space = self._idle_tags = ""
            self._fresh = self._fresh and text.isspace()
            self._undecided = False
        self._line_start = text[-1] == "\n"
        parts.append((self.kind, text))

    def _hold_space(self, text: str) -> None:
        if self._idle_tags:
            self._idle_tags += text
        else:
            self._space += text

    def _without_newlines(self, text: str) -> str:
        """The text without the newlines that may still be dropped."""
        rest = text
        while self._newlines and rest.startswith("\n"):
            rest, self._newlines = rest[1:], self._newlines - 1
        if rest:
            self._newlines = 0
        return rest


@cache
def _tags_of(open_tags: tuple[str, ...], close_tags: tuple[str, ...]) -> tuple[dict[str, Kind], re.Pattern[str] | None]:
    """Tags, longest first, with what follows them; and a pattern for the characters they begin with."""
    tags: dict[str, Kind] = dict.fromkeys(open_tags, "thinking")
    tags.update(dict.fromkeys(close_tags, "answer"))
    if not tags:
        return {}, None
    ordered = dict(sorted(tags.items(), key=lambda item: -len(item[0])))
    first = "".join(sorted({tag[0] for tag in tags}))
    return ordered, re.compile(f"[{re.escape(first)}]")
