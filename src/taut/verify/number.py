"""Numbers, compared exactly: "1,234.50", "$5", "3/4", "1 1/2", "5 km", "50%", "1.5e3".

**Which number.** What stands in the last ``<answer>`` tag; else in the last ``\\boxed{}``; else behind the last
``####``; else the first number behind the last "the answer is" or "answer:" that has one (behind its last ``=``);
else the last number of the text. A tag or box must hold one number (with a unit or a leading ``x =``): several
numbers or an expression are a wrong answer. No number at all is a wrong answer.

**Equal.** As exact fractions. Besides, where one of the two has endless decimals (1/3, or six and more decimals
written), the other may be that number cut off or rounded, with at least three significant digits (0.333 is 1/3; 0.33
and 0.334 are not). A percent sign is a unit: "50%" equals 50, and 0.5 too; never "0.5%". Commas and spaces group
thousands only in groups of three; the decimal point is a point.

**Not scored** where the reference is not one finite number.
"""

from __future__ import annotations

import math
import re
from typing import Any

from taut.core import Score, Task
from taut.errors import VerifierError
from taut.verify import _markers
from taut.verify._numbers import Number, equal, first_number, is_bare, last_number, read

_STARTS_WITH_NUMBER = re.compile(r"[-+−$£€¥ \\(*]{0,6}\.?\d")


def verify(answer: str, task: Task) -> Score:
    """Whether the number in ``answer`` equals ``task.reference`` (a number or its text). Raises `VerifierError`."""
    reference = read_reference(task.reference)
    found = extract(answer)
    if found is None:
        return Score(False, None, "no number found")
    number = read(found)
    if number is None:
        return Score(False, found, "not one number")
    is_equal = equal(number, reference)
    return Score(is_equal, found, "equal numbers" if is_equal else "different numbers")


def extract(answer: str) -> str | None:
    """The answer's number as written; ``None`` where there is none."""
    marked = _markers.marked(answer)
    if marked:
        return marked
    hashes = _markers.after_hashes(answer)
    if hashes and _STARTS_WITH_NUMBER.match(hashes):
        return first_number(hashes)
    for rest in _markers.after_answer_is(answer):
        if (number := first_number(rest)) is not None:
            return number
    return last_number(answer)


def same(a: str, b: str) -> bool:
    """Whether two extracted answers are the same number, or the same text where they are not numbers."""
    first, second = read(a), read(b)
    if first is None or second is None:
        return a.split() == b.split()
    return equal(first, second)


def is_number(reference: Any) -> bool:
    """Whether a reference is a number and nothing else, so that this verifier suits it: not "6th" or "5 apples"."""
    return not isinstance(reference, bool) and is_bare(str(reference))


def read_reference(reference: Any) -> Number:
    """A reference as a number. Raises `VerifierError` where it is not one finite number."""
    if isinstance(reference, bool) or (isinstance(reference, float) and not math.isfinite(reference)):
        raise VerifierError(f"the reference {reference!r} is not a number")
    number = read(str(reference))
    if number is None:
        raise VerifierError(f"the reference {str(reference)[:80]!r} is not one number")
    return number
