r"""Every place of the thinking where an answer is stated, by the verifier's equality.

A *strong* place announces an answer: a box, ``<answer>``, ``####``, "the answer is". A *weak* one is a result: a number
behind ``=``, "is", "equals", "gives", with no operator after it; for an option its letter or text, for a text the text
itself, in a sentence that concludes. A number that stands in the question, or has one digit, is too common to be the
answer wherever it turns up: the first counts in strong places, the second in sentences that conclude.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache

from taut.audit.answers import MAX_VALUE_CHARS, Final, announcements
from taut.audit.nouns import Thought
from taut.audit.text import lowered, words_pattern
from taut.audit.words import CONCLUSIONS, DENIALS
from taut.errors import UsageError, VerifierError
from taut.verify import choice, exact, math, number

MAX_COMPARISONS = 12
"""Expressions of one trace that math-verify may be asked about; each takes milliseconds."""
_NUMBERS = re.compile(r"\d[\d,]*(?:\.\d+)?")
_OPTION_LINE = re.compile(r"^[ \t(]{0,4}([A-J])[.:)]\)?[ \t]+(\S[^\n]{0,300})$", re.MULTILINE)
NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
"""By their value; larger numbers are written in digits."""
_FRACTION = r"\\[dt]?frac\s?\{[^{}\n]{1,40}\}\s?\{[^{}\n]{1,40}\}"
_DIGITS = r"\d[\d,]*(?:\.\d+)?(?:\s?/\s?\d+)?"
_VALUE = rf"(?:{'|'.join(NUMBER_WORDS)})\b|[-+−]?\$?\s?(?:{_FRACTION}|{_DIGITS})(?:\s?%)?"
_RESULT = re.compile(
    r"(?:=|≈|\\approx|\b(?:equals?|is|are|be|gives?(?:\s+us)?|gets?|got|have|has|makes?|leaves?|total(?:s|ing)?(?:\s+of)?))"
    r"\s{0,3}(?:(?:about|only|just|exactly|equal to|approximately|indeed)\s)?(?:\\[(\[]|\$|\*\*|\\text\{)?\s{0,2}"
    rf"(?P<value>{_VALUE})(?![\w.]?\d)(?!\s?(?:[*/^×·÷(=<>_{{!+]|\\(?![)\]$]|text|,)|[-−]\s?[\d(\\a-z]|x\s?\d))(?![a-z]\b)"
)
_BETWEEN = r"(?:\s|\\left|\\right|\\[,;:! ]){0,4}"
TYPED = (
    (r"\\frac\{([^{}]{1,40})\}\{([^{}]{1,40})\}", r"\1/\2"),
    (r"\\sqrt\{?(\w{1,20})\}?", r"√\1"),
    (r"\\pi(?![a-z])", "π"),
    (r"\\infty", "∞"),
    (r"\\(?:cdot|times)", "*"),
    (r"\^\{?\\circ\}?", "°"),
    (r"\^2(?!\d)", "²"),
)
"""LaTeX and how it is typed without, in the order in which they are replaced."""
_CHOSEN_BEFORE = re.compile(
    r"(?:\banswer\b[^.\n]{0,30}?\b(?:is|be)|\bgo with|\bchoose|\bpick|\bselect|\bso it(?:'s| is)|\b(?:must|should) be"
    r"|\b(?:so|thus|therefore|hence)(?:,?\s+(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)(?:\s+is)?|,)?"
    r"|\b(?:corresponds to|matches|which is)\s+(?:option|choice))"
    r"\s+(?:option\s+|choice\s+)?\(?\*{0,2}$",
    re.IGNORECASE,
)
_CHOSEN_BEHIND = re.compile(
    r"\*{0,2}\)?\*{0,2}\s+(?:is|seems|looks|appears|would be|must be)\s+(?:to be\s+)?(?:the\s+)?(?:most\s+)?"
    r"(?:correct|right|best|answer|likely|closest|suitable|accurate)\b"
)
BEFORE_CHARS = 60
"""In front of an option's letter, where words that choose it are looked for."""


@cache
def _concluding() -> re.Pattern[str]:
    return words_pattern(CONCLUSIONS)


@cache
def _denying() -> re.Pattern[str]:
    return words_pattern(DENIALS)


def statements(thinking: str, final: Final, thought: Thought) -> list[int]:
    """Where statements of this answer end, in order: characters of the thinking."""
    low = lowered(thinking)
    announced = list(announcements(thinking, low))
    same = _same_values(dict.fromkeys(value for _, value in announced), final, thought)
    strong = [end for end, value in announced if value in same]
    found = {*strong, *_weak(thinking, low, final, thought, has_strong=bool(strong))}
    if not found and final.verifier == "number":
        # A short calculation may name its result without a word.
        found = {place for place, _ in _equal_results(low, final.value)}
    return sorted(found)


def _same_values(values: Iterable[str], final: Final, thought: Thought) -> set[str]:
    """Those of several announced values that are this answer; of expressions the first `MAX_COMPARISONS`."""
    if final.verifier != "math":
        return {value for value in values if _matches(value, final, thought)}
    plain = {value for value in values if math.tidy(value) == math.tidy(final.value)}
    asked = [value for value in values if value not in plain][:MAX_COMPARISONS]
    return plain | {value for value in asked if _matches(value, final, thought)}


def _matches(value: str, final: Final, thought: Thought) -> bool:
    """Whether an announced value is this answer."""
    if final.verifier == "number":
        return _same_number(_first_value(value), final.value)
    if final.verifier == "choice":
        return choice.find_letter(f"The answer is {value}", thought.options) == final.value.upper()
    if final.verifier == "math":
        found = math.extract(f"The answer is {value}") if "$" in value or "\\(" in value else value
        return found is not None and _same_math(found, final.value)
    return exact.same(value, final.value) or exact.same(value[: len(final.value)], final.value)


@lru_cache(maxsize=65536)
def _same_number(value: str, wanted: str) -> bool:
    if value.isdecimal() and wanted.isdecimal():
        # Nine numbers of ten; the verifier's reading takes a hundred times as long.
        return value.lstrip("0") == wanted.lstrip("0")
    return number.same(value, wanted)


@lru_cache(maxsize=65536)
def _first_value(value: str) -> str:
    return value if number.is_number(value) else number.extract(f"The answer is {value}") or value


@lru_cache(maxsize=4096)
def _same_math(value: str, wanted: str) -> bool:
    if math.tidy(value) == math.tidy(wanted):
        return True
    try:
        return math.same(value, wanted)
    except (VerifierError, UsageError):
        return False


def _weak(thinking: str, low: str, final: Final, thought: Thought, has_strong: bool) -> Iterator[int]:
    if final.verifier == "number":
        yield from _results(low, final.value, thought.question, has_strong)
    elif final.verifier == "choice":
        yield from _chosen(thinking, low, final.value, thought)
    elif final.verifier == "math":
        yield from (found.end() for found in _formula(final.value).finditer(thinking))
    else:
        yield from _texts(low, final.value, thought.question)


@lru_cache(maxsize=256)
def _formula(latex: str) -> re.Pattern[str]:
    """A formula as a result, in LaTeX or as it is typed, whatever spacing and sizes stand between its signs."""
    tidy = math.tidy(latex)[:MAX_VALUE_CHARS]
    spelled = "|".join(_spaced(form) for form in dict.fromkeys((tidy, _typed(tidy))))
    opening = rf"(?:[=:≈]|\bis|\bare|\bbe)\s{{0,3}}(?:\$|\\[(\[])?{_BETWEEN}"
    return re.compile(rf"{opening}(?:{spelled})(?![\w^])")


def _spaced(formula: str) -> str:
    signs = re.findall(r"\\[A-Za-z]+|.", formula, re.DOTALL)
    return _BETWEEN.join(r"\\[dt]?frac" if sign == "\\frac" else re.escape(sign) for sign in signs)


def _typed(latex: str) -> str:
    """Without LaTeX: ``\\frac{\\pi}{2}`` as ``π/2``."""
    for pattern, plain in TYPED:
        latex = re.sub(pattern, plain, latex)
    return latex


def _results(low: str, wanted: str, question: str, has_strong: bool) -> Iterator[int]:
    """Numbers in the place of a result that equal ``wanted``."""
    is_given = any(_same_number(each.replace(",", ""), wanted) for each in _NUMBERS.findall(question))
    if is_given and has_strong:
        return
    needs_conclusion = is_given or len(wanted.strip("-+ $%")) < 2
    for end, start in _equal_results(low, wanted):
        if not needs_conclusion or _is_in(_concluding(), low, start):
            yield end


def _equal_results(low: str, wanted: str) -> Iterator[tuple[int, int]]:
    """Ends and starts of all results that equal ``wanted``."""
    for found in _found_results(low, wanted):
        value = found["value"].strip()
        value = str(NUMBER_WORDS.index(value)) if value in NUMBER_WORDS else value
        if _same_number(value, wanted):
            yield found.end(), found.start()


def _found_results(low: str, wanted: str) -> Iterator[re.Match[str]]:
    """All results; of a whole number those around its digits only, as looking at every one takes many times as long."""
    if not wanted.isdecimal():
        yield from _RESULT.finditer(low)
        return
    digits = ",?".join(wanted.lstrip("0") or "0")
    word = f"|{NUMBER_WORDS[int(wanted)]}" if len(wanted) < 3 and int(wanted) < len(NUMBER_WORDS) else ""
    done = 0
    for hit in re.finditer(rf"{digits}{word}", low):
        for found in _RESULT.finditer(low, max(done, hit.start() - BEFORE_CHARS), hit.end() + BEFORE_CHARS):
            if found.start("value") <= hit.start() < found.end("value"):
                done = found.end()
                yield found


def _chosen(thinking: str, low: str, letter: str, thought: Thought) -> Iterator[int]:
    """Sentences that choose an option, by its letter or what it says."""
    for found in _alone(letter).finditer(thinking):
        before = thinking[max(0, found.start() - BEFORE_CHARS) : found.start()]
        is_chosen = _CHOSEN_BEFORE.search(before) or _CHOSEN_BEHIND.match(thinking, found.end())
        if is_chosen and not _is_in(_denying(), low, found.start()):
            yield found.end()
    position, options = "ABCDEFGHIJ".find(letter.upper()), _options(thought)
    if 0 <= position < len(options):
        says = options[position]
        bare = says.strip().lstrip("$").replace(",", "")
        yield from _results(low, says, "", True) if number.is_number(bare) else _texts(low, says, "")


def _options(thought: Thought) -> tuple[str, ...]:
    """As its source has them, else as lines "A. …", "B. …" of the question."""
    if thought.options:
        return thought.options
    lines = _OPTION_LINE.findall(thought.question)
    letters = "".join(letter for letter, _ in lines)
    return tuple(says.strip() for _, says in lines) if letters and "ABCDEFGHIJ".startswith(letters) else ()


@cache
def _alone(letter: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w'’\\-]){re.escape(letter.upper())}(?![\w'’])")


def _texts(low: str, wanted: str, question: str) -> Iterator[int]:
    """The text itself, in a sentence that concludes and denies nothing."""
    text = lowered(wanted.strip(" .*\"'"))
    if len(text) < 2 or (text in lowered(question) and len(text) < 40):
        return
    for found in re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", low):
        is_concluded = _is_in(_concluding(), low, found.start())
        if is_concluded and not _is_in(_denying(), low, found.start()):
            yield found.end()


def _is_in(pattern: re.Pattern[str], low: str, place: int) -> bool:
    """Whether the sentence up to ``place`` has such words."""
    floor = max(0, place - MAX_VALUE_CHARS)
    cut = max(low.rfind("\n", floor, place), low.rfind(". ", floor, place), low.rfind("? ", floor, place), floor - 1)
    return pattern.search(low, cut + 1, place) is not None
