"""Questions that are nearly the same: by the words they share, numbers aside."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

_WORDS = re.compile(r"[^\W\d_]+|\d+")


def ngrams(text: str, n: int = 3) -> frozenset[tuple[str, ...]]:
    """All runs of n words, in lower case and with every number as one sign."""
    words = ["#" if word.isdecimal() else word for word in _WORDS.findall(text.lower())]
    return frozenset(tuple(words[start : start + n]) for start in range(max(1, len(words) - n + 1)))


def clusters(texts: Sequence[str], least_overlap: float) -> list[int]:
    """For each text the number of its cluster: the first whose leader it overlaps with enough, or a new one.

    The overlap is the share of the two texts' n-grams that both have (Jaccard), from 0 to 1.
    """
    sizes: list[int] = []
    leaders_with: dict[tuple[str, ...], list[int]] = defaultdict(list)
    found = []
    for text in texts:
        own = ngrams(text)
        shared = Counter(leader for gram in own for leader in leaders_with[gram])
        near = (n for n in sorted(shared) if shared[n] >= least_overlap * (len(own) + sizes[n] - shared[n]))
        number = next(near, len(sizes))
        if number == len(sizes):
            sizes.append(len(own))
            for gram in own:
                leaders_with[gram].append(number)
        found.append(number)
    return found
