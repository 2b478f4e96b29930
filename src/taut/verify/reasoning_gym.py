"""The scorer of the reasoning-gym dataset that made the question; right means a score of 1.

**Which answer.** What stands in the last ``<answer>`` tag; else in the last ``\\boxed{}``; else behind ``####`` in
the last line; else behind the last "the answer is" or "answer:"; else the whole text. Where the reference is a bare
number, the number is read out as `taut.verify.number` does it.

Scores below 1 (partly right, or right in a wrong form) are wrong, and stand in `Score.why`. The question is made
again from the task's metadata; where it comes out different (another version of the package) the answer is *not
scored*.
"""

from __future__ import annotations

from taut.core import Score, Task
from taut.errors import UsageError, VerifierError, one_line
from taut.verify import number
from taut.verify._numbers import read
from taut.verify._procedural import Item, entry, points
from taut.verify._text import find_text, normalise

WITHOUT_REFERENCE = True
"""Some datasets accept any valid answer and name none."""


def verify(answer: str, task: Task) -> Score:
    """Whether the dataset gives ``answer`` full marks. Raises `VerifierError` where the question cannot be remade."""
    is_number = task.reference is not None and number.is_number(task.reference)
    found = number.extract(answer) if is_number else extract(answer)
    if found is None:
        return Score(False, None, "no answer found")
    item = _item(task)
    reached = points(item, _as_digits(found) if is_number else found)
    return Score(reached >= 1.0, found, f"reasoning_gym score {reached:g}")


def extract(answer: str) -> str | None:
    """The answer's text; ``None`` where there is none."""
    return find_text(answer, whole=True)


def same(a: str, b: str) -> bool:
    """Whether two extracted answers are the same number, or else the same text."""
    return number.same(a, b) or normalise(a) == normalise(b)


def _item(task: Task) -> Item:
    try:
        item = Item(*(task.metadata[key] for key in ("dataset", "difficulty", "seed", "index")))
        made = entry(item)
    except KeyError as error:
        raise VerifierError(f"the task's metadata does not say which question it is: {error} is missing") from None
    except UsageError as error:
        raise VerifierError(one_line(error)) from None
    if not task.question.startswith(made["question"]):
        raise VerifierError("this version of reasoning_gym makes another question of the same number")
    return item


def _as_digits(found: str) -> str:
    """ "1,234" as "1234": the datasets' scorers know no grouping, and no units."""
    value = read(found)
    return str(value.value) if value is not None and value.value.denominator == 1 else found.replace(",", "")
