"""Loops: sentences that were there before, word for word. One pass over the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from taut.audit.text import Sentence

MIN_CHARS = 24
"""Shorter sentences ("Yes.", "x = 2") come again in good thinking; they count only between repeated ones."""
MIN_RUN_CHARS = 160
"""Of repeated text at a stretch, before it is called repetition; a sentence's third time and later counts alone."""
THIRD = 3


def repeated_sentences(text: str, found: Sequence[Sentence]) -> set[int]:
    """Positions in ``found`` of sentences that repeat earlier ones."""
    times: Counter[str] = Counter()
    repeated: set[int] = set()
    run: list[int] = []
    is_loop = False
    for position, sentence in enumerate(found):
        words = " ".join(text[sentence.start : sentence.end].split())
        times[words] += 1
        if times[words] == 1:
            repeated |= _kept(run, found, is_loop)
            run, is_loop = [], False
            continue
        is_long = len(words) >= MIN_CHARS
        is_loop = is_loop or (is_long and times[words] >= THIRD)
        if run or is_long:
            run.append(position)
    return repeated | _kept(run, found, is_loop)


def _kept(run: Sequence[int], found: Sequence[Sentence], is_loop: bool) -> set[int]:
    chars = found[run[-1]].end - found[run[0]].start if run else 0
    return set(run) if is_loop or chars >= MIN_RUN_CHARS else set()
