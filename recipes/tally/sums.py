"""Writes arithmetic as one does it by hand, column by column, now and then with a slip.

Every function gives the text of a calculation and its result. The result follows from the columns as written, so a
slip is carried on, as people carry theirs on.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

TABLE_SLIPS = {(7, 8): 54, (8, 7): 54, (6, 9): 56, (9, 6): 56, (6, 7): 48, (7, 6): 48, (4, 8): 36, (8, 4): 36}
"""Products that are often remembered wrong, and how."""


@dataclass(slots=True)
class Care:
    """How carefully somebody calculates."""

    rng: random.Random
    at_a_trap: float = 0.0
    """Probability of a slip where one is easily made: a carry into a nine, a borrow into a nought, `TABLE_SLIPS`."""
    elsewhere: float = 0.0
    """Probability of forgetting any other carry or borrow."""
    slips: int = 0

    def slip(self, *, trap: bool) -> bool:
        """Whether a slip is made here."""
        slipped = self.rng.random() < (self.at_a_trap if trap else self.elsewhere)
        self.slips += slipped
        return slipped


def digits_of(number: int) -> list[int]:
    """The digits, the last one first."""
    return [int(digit) for digit in reversed(str(number))]


def add(a: int, b: int, care: Care) -> tuple[str, int]:
    """``a + b`` for two numbers that are not negative."""
    if a < 10 and b < 10:
        return f"{a}+{b}={a + b}", a + b
    first, second = digits_of(a), digits_of(b)
    columns, result, carry = [], [], 0
    for place in range(max(len(first), len(second))):
        here = [row[place] for row in (first, second) if place < len(row)]
        if carry and care.slip(trap=sum(here) == 9 and len(here) == 2):
            carry = 0
        terms = [*map(str, here), *(["1"] if carry else [])]
        value = sum(here) + carry
        columns.append("+".join(terms) + (f"={value}" if len(terms) > 1 else ""))
        is_last = place == max(len(first), len(second)) - 1
        result.append(str(value) if is_last else str(value % 10))
        carry = value // 10
    total = int("".join(reversed(result)))
    return f"{a}+{b}: {', '.join(columns)}, so {total}", total


def subtract(a: int, b: int, care: Care) -> tuple[str, int]:
    """``a - b`` for ``a >= b >= 0``."""
    if b < 10 and a < 19:
        return f"{a}-{b}={a - b}", a - b
    first, second = digits_of(a), digits_of(b)
    columns, result, borrow = [], [], 0
    for place in range(len(first)):
        top, bottom = first[place], second[place] if place < len(second) else None
        if borrow and care.slip(trap=top == bottom):
            borrow = 0
        value = top - (bottom or 0) - borrow
        lent = value < 0
        value += 10 if lent else 0
        shown = str(top + (10 if lent else 0)) + ("-1" if borrow else "") + (f"-{bottom}" if bottom is not None else "")
        columns.append(shown + (f"={value}" if borrow or bottom is not None else ""))
        result.append(str(value))
        borrow = int(lent)
    total = int("".join(reversed(result)))
    return f"{a}-{b}: {', '.join(columns)}, so {total}", total


def signed(total: int, sign: str, number: int, care: Care) -> tuple[str, int]:
    """``total + number`` or ``total - number``, whatever their signs."""
    if total >= 0 and sign == "+":
        return add(total, number, care)
    if total >= 0 and total >= number:
        return subtract(total, number, care)
    if total >= 0:
        text, result = subtract(number, total, care)
        return f"{total}-{number} is -({number}-{total}). {text}, with minus {-result}", -result
    if sign == "-":
        text, result = add(-total, number, care)
        return f"{total}-{number} is -({-total}+{number}). {text}, with minus {-result}", -result
    if number >= -total:
        text, result = subtract(number, -total, care)
        return f"{total}+{number} is {number}-{-total}. {text}", result
    text, result = subtract(-total, number, care)
    return f"{total}+{number} is -({-total}-{number}). {text}, with minus {-result}", -result


def times_digit(a: int, digit: int, care: Care) -> tuple[str, int]:
    """``a * digit``, for a digit from 0 to 9."""
    if a < 10 or digit < 2:
        value = a * digit
        if (a, digit) in TABLE_SLIPS and care.slip(trap=True):
            value = TABLE_SLIPS[a, digit]
        return f"{a}*{digit}={value}", value
    columns, result, carry = [], [], 0
    numbers = digits_of(a)
    for place, top in enumerate(numbers):
        value = top * digit
        if (top, digit) in TABLE_SLIPS and care.slip(trap=True):
            value = TABLE_SLIPS[top, digit]
        columns.append(f"{top}*{digit}={value}")
        if carry and not care.slip(trap=False):
            columns.append(f"{value}+{carry}={value + carry}")
            value += carry
        result.append(str(value) if place == len(numbers) - 1 else str(value % 10))
        carry = value // 10
    total = int("".join(reversed(result)))
    return f"{a}*{digit}: {', '.join(columns)}, so {total}", total


def times(a: int, b: int, care: Care) -> tuple[str, int]:
    """``a * b`` for ``b`` below 100."""
    if b < 10:
        return times_digit(a, b, care)
    tens, ones = divmod(b, 10)
    by_ones, low = times_digit(a, ones, care)
    by_tens, high = times_digit(a, tens, care)
    added, total = add(low, high * 10, care)
    return f"{by_ones}. {by_tens}, so {a}*{tens}0={high * 10}. {added}", total
