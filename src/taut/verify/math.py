r"""Mathematics in LaTeX, through math-verify: ``\frac{14}{3}``, ``(3, \frac{\pi}{2})``, ``[0, 1)``, ``x^2 - 1``.

**Which expression.** What stands in the last ``<answer>`` tag; else in the last ``\boxed{}``; else behind the last
"the answer is" or "answer:", its formula where it has one; else the last formula between dollars or ``\[ \]``; else
the last line, if it is short and without words; else the last number. Nothing of these, or more than 2,000
characters, is a wrong answer.

**Equal.** The same text but for spacing and size commands; or the same number by `taut.verify.number`; or equal to
math-verify, which is asked with the reference first (it is not symmetric). It works in a process of its own, which is
ended after 10 seconds: that, its failure, and a reference that it cannot read are *not scored*.
"""

from __future__ import annotations

import re

from taut.core import Score, Task
from taut.errors import VerifierError
from taut.verify import _markers
from taut.verify._math_process import PROCESS, check_library
from taut.verify._numbers import equal, last_number, read

__all__ = ["check_library", "extract", "same", "verify"]

MAX_CHARS = 2000
MAX_BARE_CHARS = 200
TAIL_CHARS = 20_000
"""A formula farther from the end is not the answer."""
_FORMULA = re.compile(r"\$\$?((?:\\.|[^$\n\\]){1,500})\$|\\\[([^\]]{1,500})\\\]|\\\(([^)]{1,500})\\\)")
_SPACING = re.compile(r"\\(?:left|right|displaystyle|[bB]igg?[lr]?|quad|qquad)(?![a-zA-Z])|\\[,;:! ]|[\s$~]")
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|mbox|textrm) ?\{([^{}]*)\}")


def verify(answer: str, task: Task) -> Score:
    """Whether the expression in ``answer`` equals ``task.reference``. Raises `VerifierError`."""
    reference = str(task.reference).strip()
    reference = _markers.boxed(reference) or reference
    if not reference:
        raise VerifierError("the reference is empty")
    found = extract(answer)
    if found is None:
        return Score(False, None, "no answer found")
    if len(found) > MAX_CHARS:
        return Score(False, None, f"longer than {MAX_CHARS} characters")
    is_same, why = _compare(reference, found)
    return Score(is_same, found, why)


def extract(answer: str) -> str | None:
    """The answer's expression, without delimiters; ``None`` where there is none."""
    marked = _markers.marked(answer)
    if marked:
        return marked
    for rest in _markers.after_answer_is(answer):
        return _last_formula(rest) or rest.rstrip(". *")
    return _last_formula(answer) or _bare_formula(answer) or last_number(answer)


def same(a: str, b: str) -> bool:
    """Whether two extracted answers are equal, in either order."""
    return _compare(a, b)[0] or _compare(b, a)[0]


def _compare(reference: str, found: str) -> tuple[bool, str]:
    if tidy(reference) == tidy(found):
        return True, "same text"
    first, second = read(reference), read(found)
    if first is not None and second is not None:
        is_equal = equal(first, second)
        return is_equal, "equal numbers" if is_equal else "different numbers"
    is_same = PROCESS.same(reference, found)
    return is_same, "math-verify: equal" if is_same else "math-verify: different"


def tidy(latex: str) -> str:
    """LaTeX without what does not change its meaning: spacing, sizes, text commands, a final point."""
    latex = _TEXT.sub(r"\1", _SPACING.sub("", latex))
    return latex.replace("dfrac", "frac").replace("tfrac", "frac").replace("^{\\circ}", "^\\circ").rstrip(".")


def _last_formula(text: str) -> str | None:
    last = None
    for last in _FORMULA.finditer(text[-TAIL_CHARS:]):  # noqa: B007 - only the last one counts
        pass
    return next(group for group in last.groups() if group).strip() if last else None


def _bare_formula(text: str) -> str | None:
    """The last line, where it is no sentence: short, and without words."""
    line = text.rstrip().rpartition("\n")[2].strip()
    has_words = re.search(r"[A-Za-z]{3}", re.sub(r"\\[A-Za-z]+", "", line[:MAX_BARE_CHARS])) is not None
    return line if 0 < len(line) <= MAX_BARE_CHARS and not has_words else None
