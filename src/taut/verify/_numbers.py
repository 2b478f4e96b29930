"""Reads numbers as people and models write them, exactly: every value is a `fractions.Fraction`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 1000
"""Longer runs of digits are no answers; converting them would take quadratic time."""

_CHARACTERS = str.maketrans(
    {**dict.fromkeys("−–‐‑﹣－", "-"), **dict.fromkeys("\u00a0\u202f\u2009\u2007", " "), "，": ",", "°": " ", "％": "%"}
    | {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3", "⅛": " 1/8", "⁄": "/", "×": r"\times "}
)
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\{,\}|,\\!", ","),
        (r"\\[,;: ]|~", " "),
        (r"\\(?:left|right|displaystyle|quad|qquad|!)(?![a-zA-Z])|\\!", ""),
        (r"\\(?:text|mathrm|textbf|mathbf|mbox|textrm|operatorname) ?\{([^{}]*)\}", r" \1 "),
        (r"\^ ?(?:\\circ|\{ ?\\circ ?\})|\\degree(?:s)?\b", " "),
        (r"\\([$%])", r"\1"),
        (r"\\[dtc]?frac ?\{ ?(-?\d{1,300}) ?\} ?\{ ?(\d{1,300}) ?\}", r" \1/\2 "),
        (r"\\[dtc]?frac ?(\d) ?(\d)(?!\d)", r" \1/\2 "),
        (r"(?<=\d) {0,2}(?:\\times|\\cdot|\*|x) {0,2}10 ?\^ ?\{? ?(-?\d{1,3})\b ?\}?", r"e\1"),
        (r"\*\*|__|`", " "),
        (r"(?<![\w)\]}])- ?[$£€¥] ?", " -"),
        (r"[$£€¥]", " "),
        (r"(?<![\w)\]}])- (?=\d{1,300}/\d)", "-"),
    )
)
# Atomic, so that "70,000" is never read as 70. A number that is part of an expression is not read at all.
_WHOLE = r"(?>\d{1,3}(?:,\d{3})++(?!\d)|\d{1,3}(?:\ \d{3})++(?![\d/])|\d++)"
_NO_FACTOR = r"(?!\ ?(?:\^|\\(?:sqrt|pi|frac|times|cdot|theta|alpha|log|ln)(?![a-zA-Z])))"
_NO_INDEX = r"(?<!\w)(?<!\d\.)(?<![\^_])(?<![\^_]\{)(?<!sqrt\{)"
_NUMBER = re.compile(
    rf"""{_NO_INDEX}
    (?P<sign>(?:(?<![\w)\]}}])[-+])?)
    (?:(?P<units>\d++)\ )?(?P<top>\d++)\ ?/\ ?(?P<bottom>\d++)(?![\d/]|\.\d){_NO_FACTOR}
    |{_NO_INDEX}(?P<sign2>(?:(?<![\w)\]}}])[-+])?)
    (?P<whole>{_WHOLE}?+)(?P<part>(?:\.\d++)?+)(?<=\d){_NO_FACTOR}
    (?P<exponent>(?:[eE][-+]?\d{{1,3}}(?!\w))?)
    (?P<scale>(?:\ (?:thousand|million|billion|trillion)\b)?)
    (?P<percent>(?:\ ?(?:%|percent\b))?)""",
    re.VERBOSE,
)
_SCALES = {"": 0, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_UNIT_POWER = re.compile(r"(?<=[a-zA-Z])\^ ?\{?[23]\}?")
_LETTERS_THAT_ARE_UNITS = frozenset("mgshlLKCFVAWNJ")


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written."""

    value: Fraction
    decimals: int | None = 0
    """Digits written behind the point; ``None`` for a fraction such as 1/3."""
    is_percent: bool = False

    @property
    def is_endless(self) -> bool:
        """A fraction whose decimals never end, or a decimal so long that it can only be a rounded one."""
        if self.decimals is not None:
            return self.decimals >= 6
        rest = self.value.denominator
        for prime in (2, 5):
            while rest % prime == 0:
                rest //= prime
        return rest != 1

    def shortens(self, other: Number) -> bool:
        """Whether this is ``other`` cut off or rounded to its decimals, with at least three significant digits."""
        if not self.decimals:
            return False
        power = 10**self.decimals
        written, full = abs(self.value) * power, abs(other.value) * power
        is_near = written in (math.floor(full), math.floor(full + Fraction(1, 2)))
        return is_near and written >= 100 and (self.value < 0) == (other.value < 0)


def plain(text: str) -> str:
    """The text with LaTeX, currency signs and typographic variants of digits' surroundings taken away."""
    text = text.translate(_CHARACTERS)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text


def last_number(text: str) -> str | None:
    """The last number that stands in a text, as written."""
    found = None
    for found in _NUMBER.finditer(plain(text)):  # noqa: B007 - only the last one counts
        pass
    return found[0].strip() if found else None


def first_number(text: str) -> str | None:
    """The first number that stands in a text, behind its last ``=`` if there is one."""
    found = _NUMBER.search(_behind_equals(plain(text)))
    return found[0].strip() if found else None


def read(text: str) -> Number | None:
    """The one number that ``text`` consists of, units and a leading ``x =`` apart.

    ``None`` for anything else: no number, several ("3, 5"), an expression (``10\\sqrt{2}``, ``5x``).
    """
    text = _UNIT_POWER.sub("", _behind_equals(plain(text))).strip()
    text = re.sub(r"^([-+]) +", r"\1", text)
    found = list(_NUMBER.finditer(text))
    if len(found) != 1:
        return None
    rest = (text[: found[0].start()] + " " + text[found[0].end() :]).strip(" .,;:")
    if re.search(r"[\d\\+*^=<>{}!]", rest) or (
        len(rest) == 1 and rest.isalpha() and rest not in _LETTERS_THAT_ARE_UNITS
    ):
        return None
    return _number(found[0])


def is_bare(text: str) -> bool:
    """Whether ``text`` is a number and nothing else: neither words nor units, a currency or percent sign apart."""
    return _NUMBER.fullmatch(plain(text).strip()) is not None and read(text) is not None


def equal(a: Number, b: Number) -> bool:
    """Whether two numbers are the same by the rules of `taut.verify.number`."""
    if a.is_percent != b.is_percent:
        hundredth = Number(a.value / 100, _more(a), False) if a.is_percent else a
        other = Number(b.value / 100, _more(b), False) if b.is_percent else b
        if _close(hundredth, other):
            return True
    return _close(a, b)


def _more(number: Number) -> int | None:
    return None if number.decimals is None else number.decimals + 2


def _close(a: Number, b: Number) -> bool:
    if a.value == b.value:
        return True
    return (a.is_endless and b.shortens(a)) or (b.is_endless and a.shortens(b))


def _behind_equals(text: str) -> str:
    return re.split(r"=|≈|\\approx", text)[-1]


def _number(found: re.Match[str]) -> Number | None:
    if len(found[0]) > MAX_DIGITS:
        return None
    if found["top"] is not None:
        if int(found["bottom"]) == 0:
            return None
        value = int(found["units"] or 0) + Fraction(int(found["top"]), int(found["bottom"]))
        return Number(-value if found["sign"] == "-" else value, None)
    digits = found["whole"].replace(",", "").replace(" ", "") or "0"
    scale = _SCALES[found["scale"].strip()] + int(found["exponent"][1:] or 0)
    value = Fraction(digits + found["part"]) * Fraction(10) ** scale
    decimals = max(0, len(found["part"][1:]) - scale)
    return Number(-value if found["sign2"] == "-" else value, decimals, bool(found["percent"]))
