"""Sentences and words of a long text by position, in linear time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_SENTENCE_CHARS = 400
"""Longer ones are cut at white space, or else in the middle: a loop without full stops is then still seen as one."""
_BREAK = re.compile(r"""(?P<stop>[.!?…]["'”’)\]*_]{0,3}(?=[ \t]+[^\sa-z.!?])|[。！？])[ \t]*|\n\s*""")
_Node = dict[str, "_Node"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, or a line of a formula, by its place in the text."""

    start: int
    end: int
    opens_paragraph: bool
    """A blank line or the text's beginning stands before it."""


def sentences(text: str) -> list[Sentence]:
    """All of the text that is not white space, in order."""
    found: list[Sentence] = []
    start = len(text) - len(text.lstrip())
    opens = True
    for gap in _BREAK.finditer(text, start):
        if gap["stop"] and text[start : gap.start()].lstrip("*_#(").isdecimal():
            # The number of a list's item, not a sentence.
            continue
        end = gap.end("stop") if gap["stop"] else _without_blanks(text, start, gap.start())
        if end > start:
            found += _pieces(text, start, end, opens)
            opens = False
        start = gap.end()
        opens = opens or gap[0].count("\n") > 1
    end = len(text.rstrip())
    if end > start:
        found += _pieces(text, start, end, opens)
    return found


def _without_blanks(text: str, start: int, end: int) -> int:
    """The end without the white space before it."""
    while end > start and text[end - 1].isspace():
        end -= 1
    return end


def _pieces(text: str, start: int, end: int, opens: bool) -> Iterable[Sentence]:
    while end - start > MAX_SENTENCE_CHARS:
        cut = text.rfind(" ", start + 1, start + MAX_SENTENCE_CHARS) + 1 or start + MAX_SENTENCE_CHARS
        yield Sentence(start, cut, opens)
        start, opens = cut, False
    yield Sentence(start, end, opens)


def lowered(text: str) -> str:
    """In lower case with typographic apostrophes made plain, every character in its place."""
    low = text.lower()
    if len(low) != len(text):
        # A few letters ("İ") become two in lower case, which would move all that follows.
        low = "".join(old.lower() if len(old.lower()) == 1 else old for old in text)
    return low.replace("’", "'")


def words_pattern(words: Iterable[str], before: str = "") -> re.Pattern[str]:
    """A pattern for any of ``words`` as whole words, in text that is `lowered`; ``before`` must precede them.

    A word may end in ``*`` for any ending. The words share their beginnings, as an alternation of hundreds is slow.
    """
    root: _Node = {}
    for word in words:
        node = root
        for letter in word.removesuffix("*"):
            node = node.setdefault(letter, {})
        node["*" if word.endswith("*") else ""] = {}
    return re.compile(f"{before}(?<![\\w'-])(?:{_branch(root)})")


def _branch(node: _Node) -> str:
    ends = {"": r"(?![\w'-])", "*": ""}
    return "|".join(
        ends[letter] if letter in ends else _letter(letter) + _group(inner)
        for letter, inner in sorted(node.items(), reverse=True)
    )


def _group(node: _Node) -> str:
    inner = _branch(node)
    return inner if len(node) == 1 else f"(?:{inner})"


def _letter(letter: str) -> str:
    """Spaces of any kind, and an optional comma, between words."""
    return r",?\s{1,2}" if letter == " " else re.escape(letter)
