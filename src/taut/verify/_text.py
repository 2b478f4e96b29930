"""Text answers: where they stand and when two are the same."""

from __future__ import annotations

import unicodedata

from taut.verify import _markers

_EDGES = " \t\n\"'`*_$.,;:!?“”‘’"


def find_text(answer: str, whole: bool = False) -> str | None:
    """The marked answer (tag, box, ``####`` in the last line, "the answer is"), else the last line or all."""
    marked = _markers.marked(answer)
    if marked:
        return marked
    last_line = answer.rstrip().rpartition("\n")[2].strip()
    if last_line.startswith("####"):
        return last_line.lstrip("# ").strip() or None
    rests = _markers.after_answer_is(answer)
    if rests:
        return rests[0]
    return (answer.strip() if whole else last_line) or None


def normalise(text: str) -> str:
    """Case, width, runs of spaces and punctuation at the ends do not matter."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(_EDGES)
