"""Whether two answers to one request say the same: yes, no, or nobody can tell.

Whether a pair can be compared depends on the form of each answer and never on whether they turn out equal: a long
text that happens to be repeated word for word must not count where one that differs cannot. What can be compared:
tool calls; a final answer that is marked (a tag, a box, ``####``, "the answer is"); the only number of a short last
line; an answer that is a few words as a whole. It must be a number, an option's letter, or a few words. Formulas
cannot: equal ones may look different.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from taut.core import Trace
from taut.messages import ToolCall
from taut.verify import _markers, choice, exact, number
from taut.verify._numbers import first_number, is_bare, last_number, read

SHORT_CHARS = 120
FEW_WORDS = 5
"""In more words the same thing is said in too many ways."""
TAIL_CHARS = 20_000
"""A final answer farther from the end is not looked for."""
_MARKUP = re.compile(r"[\\^_{}]")
_FORMULA = re.compile(r"[\\^_={}<>+/]|(?<!\*)\*(?!\*)|\b\d*[xyz]\b")


def agree(a: Trace, b: Trace) -> bool | None:
    """Whether two runs of one request come to the same answer; ``None`` where that cannot be told."""
    if a.tool_calls or b.tool_calls:
        return _called(a.tool_calls) == _called(b.tool_calls)
    first, second = final_answer(a.answer), final_answer(b.answer)
    return None if first is None or second is None else _same(first, second)


def final_answer(answer: str) -> str | None:
    """What the answer comes down to; ``None`` where it cannot be read, or only as a formula or in many words."""
    found = _find(answer[-TAIL_CHARS:].strip())
    if not found:
        return None
    is_number = is_bare(found) or (read(found) is not None and not _MARKUP.search(found))
    if is_number or _letter(found):
        return found
    if _FORMULA.search(found):
        return None
    return found if len(found.split()) <= FEW_WORDS else _only_number(found)


def _find(answer: str) -> str | None:
    marked = _markers.marked(answer) or _markers.after_hashes(answer)
    if marked:
        return marked
    rests = _markers.after_answer_is(answer)
    if rests:
        return rests[0]
    last_line = answer.rpartition("\n")[2]
    if len(last_line) > SHORT_CHARS:
        return None
    return _only_number(last_line) or (answer if last_line == answer else None)


def _only_number(text: str) -> str | None:
    """The number of a text that has one, or one behind its last ``=``."""
    first, last = first_number(text), last_number(text)
    return first if first is not None and first == last else None


def _letter(text: str) -> str | None:
    return choice.extract(f"The answer is {text}") if re.match(r"\W*[A-J](?![\w'’])", text) else None


def _same(a: str, b: str) -> bool:
    if read(a) is not None and read(b) is not None:
        return number.same(a, b)
    letters = _letter(a), _letter(b)
    if letters[0] and letters[1]:
        return letters[0] == letters[1]
    return exact.same(a, b)


def _called(calls: Iterable[ToolCall]) -> list[tuple[str, Any]]:
    """Names and arguments, in order; identifiers are made up anew every time."""
    functions = [call.get("function") or {} for call in calls]
    return [(str(function.get("name")), _arguments(function.get("arguments"))) for function in functions]


def _arguments(text: Any) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, TypeError, UnicodeError, RecursionError):
        return text
