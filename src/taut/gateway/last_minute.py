"""How much happened in the last minute, in 60 numbers."""

from __future__ import annotations

import math
from typing import ClassVar


class LastMinute:
    """An amount per second of the last minute."""

    SECONDS: ClassVar[int] = 60

    __slots__ = ("_amounts", "_seconds")

    def __init__(self) -> None:
        self._amounts = [0.0] * self.SECONDS
        self._seconds = [-1] * self.SECONDS

    def add(self, began_s: float, ended_s: float, amount: float) -> None:
        """Spread ``amount`` evenly over the time in which it came; what is more than a minute old is left out."""
        if ended_s <= began_s:
            self._put(math.floor(ended_s), amount)
            return
        rate = amount / (ended_s - began_s)
        start_s = max(began_s, ended_s - self.SECONDS + 1)
        for second in range(math.floor(start_s), math.floor(ended_s) + 1):
            self._put(second, rate * (min(second + 1, ended_s) - max(second, start_s)))

    def total(self, now_s: float) -> float:
        """The sum over the last minute."""
        oldest = math.floor(now_s) - self.SECONDS
        return sum(a for a, second in zip(self._amounts, self._seconds, strict=True) if second > oldest)

    @classmethod
    def share(cls, began_s: float, now_s: float) -> float:
        """Which part of an even flow that began then and still goes on came in the last minute."""
        return min(1.0, cls.SECONDS / (now_s - began_s)) if now_s > began_s else 1.0

    def _put(self, second: int, amount: float) -> None:
        at = second % self.SECONDS
        if self._seconds[at] > second:
            return
        if self._seconds[at] < second:
            self._seconds[at], self._amounts[at] = second, 0.0
        self._amounts[at] += amount
