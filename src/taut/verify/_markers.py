"""Where an answer says "here is my answer": tags, boxes, ``####`` and "the answer is". All in linear time."""

from __future__ import annotations

import re

TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_BOX_PART = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed[ \t]+([^\s{}$]+)")
_HASHES = re.compile(r"####[ \t]*([^\n]*)")
_ANSWER_IS = re.compile(r"\banswer\b[*_\s]{0,4}(?:is\b|:|=|was\b|are\b)[*_:\s]{0,6}", re.IGNORECASE)
WINDOW_CHARS = 300
"""How far an answer may reach behind the words "the answer is"."""


def marked(answer: str) -> str | None:
    """What stands in the last answer tag, else in the last box; ``None`` where there is neither."""
    tag = tagged(answer)
    return tag if tag is not None else boxed(answer)


def tagged(answer: str) -> str | None:
    """The inside of the last ``<answer>…</answer>``."""
    opened = answer.lower().rfind("<answer>")
    while opened >= 0:
        found = TAG.match(answer, opened)
        if found:
            return boxed(found[1]) or found[1].strip()
        # Nothing closes after this tag; an earlier one can only close before it.
        answer = answer[:opened]
        opened = answer.lower().rfind("<answer>") if "</answer>" in answer.lower() else -1
    return None


def boxed(answer: str) -> str | None:
    r"""The inside of the last ``\boxed{…}`` whose braces close; of nested boxes the inner one."""
    best: tuple[int, int] | None = None
    open_boxes: list[int | None] = []
    for part in _BOX_PART.finditer(answer):
        text = part[0]
        if text == "}":
            start = open_boxes.pop() if open_boxes else None
            if start is not None and (best is None or start > best[0]):
                best = (start, part.start())
        elif text.endswith("{") and text != "\\{":
            open_boxes.append(part.end() if text != "{" else None)
    if best is not None:
        return answer[best[0] : best[1]].strip()
    bare = None
    for bare in _BARE_BOX.finditer(answer):
        pass
    return bare[1] if bare else None


def after_hashes(answer: str) -> str | None:
    """What follows the last ``####`` on its line (GSM8K's own mark)."""
    last = None
    for last in _HASHES.finditer(answer):
        pass
    return last[1].strip() if last else None


def after_answer_is(answer: str) -> list[str]:
    """The rests of the lines behind "the answer is" and "answer:", the last one first."""
    rests = []
    for found in _ANSWER_IS.finditer(answer):
        rest = answer[found.end() : found.end() + WINDOW_CHARS].partition("\n")[0].strip()
        if rest:
            rests.append(rest)
    return rests[::-1]
