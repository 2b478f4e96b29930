"""The same text, after normalisation: case, Unicode width, runs of spaces and punctuation at the ends do not matter.

The answer is what stands in the last ``<answer>`` tag; else in the last ``\\boxed{}``; else behind ``####`` in the
last line; else behind the last "the answer is" or "answer:"; else the last line that is not empty. The reference may
be a list of texts of which any counts.
"""

from __future__ import annotations

from taut.core import Score, Task
from taut.errors import VerifierError
from taut.verify._text import find_text, normalise


def verify(answer: str, task: Task) -> Score:
    """Whether the text of ``answer`` is ``task.reference`` or one of them. Raises `VerifierError` for an empty one."""
    listed = isinstance(task.reference, (list, tuple))
    accepted = [normalise(str(text)) for text in (task.reference if listed else [task.reference])]
    if not any(accepted):
        raise VerifierError("the reference is empty")
    found = extract(answer)
    if found is None:
        return Score(False, None, "no answer found")
    is_same = normalise(found) in accepted
    return Score(is_same, found, "same text" if is_same else "different text")


def extract(answer: str) -> str | None:
    """The answer's text; ``None`` where there is none."""
    return find_text(answer)


def same(a: str, b: str) -> bool:
    """Whether two extracted answers are the same text after normalisation."""
    return normalise(a) == normalise(b)
