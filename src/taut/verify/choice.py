"""The letter of an option, A to J, or the option's own text: "(C)", "**C**", "The answer is C.", "C. 42 km".

The letter is read from the last ``<answer>`` tag, else the last ``\\boxed{}``, else behind the last "the answer is"
or "answer:" that names one, else from the whole text if it is nothing but an option, else the last letter standing
alone. There a bare "A" or "I" is a word and does not count; in brackets, in bold, behind "option" or as the last
word it does. Letters beyond the task's options are no letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from taut.core import Score, Task
from taut.errors import VerifierError
from taut.verify import _markers
from taut.verify._text import normalise

LETTERS = "ABCDEFGHIJ"
_START = re.compile(
    r"(?:\\(?:text|textbf|mathrm|mathbf)\s?\{|[\s(*$\[{\"'`]|option\b|choice\b)*([A-Ja-j])(?![\w'’])", re.IGNORECASE
)
_DECORATED = re.compile(
    r"\(([A-J])\)|\*\*\(?([A-J])[).:]*\*\*|^\s{0,8}\(?([A-J])[).:](?=\s|$)"
    r"|\b(?:[Oo]ption|[Cc]hoice|[Ll]etter)(?: is)? ([A-J])(?![\w'’])",
    re.MULTILINE,
)
_AT_END = re.compile(r"(?<![\w'’])(?:([A-HJ])[.)*]{0,3}|(I)\.)\s*\Z")
_BARE = re.compile(r"(?<![\w'’\\-])([B-HJ])(?![\w'’-])")


def verify(answer: str, task: Task) -> Score:
    """Whether ``answer`` names the option ``task.reference``. Raises `VerifierError` where that is no letter."""
    options: Sequence[str] = task.metadata.get("options", ())
    letters = LETTERS[: len(options) or len(LETTERS)]
    reference = str(task.reference).strip().strip("()").upper()
    if len(reference) != 1 or reference not in letters:
        raise VerifierError(f"the reference {str(task.reference)[:80]!r} is no letter from A to {letters[-1]}")
    found = find_letter(answer, options)
    if found is None or found not in letters:
        return Score(False, None, "no option found")
    return Score(found == reference, found, "same letter" if found == reference else "other letter")


def extract(answer: str) -> str | None:
    """The letter; ``None`` where there is none."""
    return find_letter(answer, ())


def same(a: str, b: str) -> bool:
    """Whether two letters are the same."""
    return a.strip().upper() == b.strip().upper()


def find_letter(answer: str, options: Sequence[str]) -> str | None:
    """The letter that an answer names, by itself or through the text of one of ``options``."""
    marked = _markers.marked(answer)
    if marked:
        return _letter_of(marked, options)
    for rest in _markers.after_answer_is(answer):
        if letter := _letter_of(rest, options):
            return letter
    return _letter_of_text(answer, options) or _last_letter(answer)


def _letter_of(text: str, options: Sequence[str]) -> str | None:
    """The letter at the start of ``text``, or that of the option it quotes."""
    if letter := _letter_of_text(text, options):
        return letter
    found = _START.match(text)
    if found is None:
        return None
    # "answer is a matter of taste": a small or bare "a" or "I" before another word is a word.
    is_word = found[1] in "aAiI" and re.match(r"\s+[a-z]", text[found.end() :]) is not None
    return None if is_word else found[1].upper()


def _letter_of_text(text: str, options: Sequence[str]) -> str | None:
    wanted = normalise(text)
    matches = [letter for letter, option in zip(LETTERS, options, strict=False) if normalise(option) == wanted]
    if len(matches) == 1:
        return matches[0]
    return wanted.strip("() ").upper() if re.fullmatch(r"\(?[a-j]\)?", wanted) else None


def _last_letter(answer: str) -> str | None:
    last: tuple[int, str] | None = None
    for pattern in (_DECORATED, _BARE, _AT_END):
        for found in pattern.finditer(answer):
            letter = next(group for group in found.groups() if group)
            if last is None or found.start() > last[0]:
                last = (found.start(), letter)
    return last[1] if last else None
