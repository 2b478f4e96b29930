"""Writes the thinking from which Tally learnt: a first try, a conclusion, and then more checking than is needed.

A first try is careless where slips are easily made (`sums.Care`); a check goes another way and is careful. Where the
two differ, a third try settles it. So stopping at the first conclusion is right for easy questions and now and then
wrong for hard ones, and checks are what saves those. The easier the question, the more checks follow: that is the
overthinking, and it was put there on purpose.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from sums import Care, add, signed, times, times_digit

from taut.tasks._tally import LEGS, Question

CHECKS = {"easy": (2, 3, 3, 4), "medium": (1, 2, 2, 3), "hard": (1, 1, 1, 2)}
"""Numbers of checks after the first try, equally likely."""
OPENINGS = ("Okay, so I need to find {}.", "Okay, let me work out {}.", "Let me see: {}.", "I need {}.")
CHECKING = {
    "again": (
        "Wait, let me check this again.",
        "Hmm, let me double-check.",
        "Wait, is that right? Once more.",
        "Let me verify this step by step.",
    ),
    "other": (
        "Wait, let me try another order.",
        "Alternatively, I can do it the other way round.",
        "Hmm, let me check it in another way.",
        "Let me start over from the other end.",
    ),
}
CONCLUSIONS = ("So the answer is {}.", "So it is {}.", "That makes {}.", "So I get {}.")
COMPARING = "I had {}, and now {}. "
"""Both side by side: a small model that says "again" at once does not look back first."""
AGREEMENTS = ("Good.", "Yes.", "Yes. Good.")
ENDINGS = ("So the answer is {}.", "I am sure now: {}.", "Okay, the answer is {}.")
DISAGREEMENT = "One of them is wrong. Let me do it slowly."


@dataclass(frozen=True, slots=True)
class Thought:
    """A whole thought, as paragraphs."""

    paragraphs: tuple[str, ...]
    answer: str
    first_answer: str
    """What the first try concluded."""

    @property
    def text(self) -> str:
        """As it stands between the tags."""
        return "\n\n".join(self.paragraphs)


Way = Callable[[Question, bool, Care], tuple[str, str]]
"""Work a question out, in the given order or (True) another one: the text and the answer."""


def think(question: Question, rng: random.Random, most_checks: int | None = None) -> Thought:
    """One thought about a question. Its answer is right but for a slip that every try made."""
    way = WAYS[question.family]
    text, first = way(question, False, Care(rng, at_a_trap=0.5, elsewhere=0.015))
    paragraphs = [f"{rng.choice(OPENINGS).format(_asked(question))}", text, rng.choice(CONCLUSIONS).format(first)]
    answer = first
    checks = rng.choice(CHECKS[question.grade])
    for _ in range(checks if most_checks is None else min(checks, rng.randint(0, most_checks))):
        other = rng.random() < 0.6
        text, found = way(question, other, Care(rng, at_a_trap=0.03, elsewhere=0.003))
        opening = rng.choice(CHECKING["other" if other else "again"])
        same = found == answer
        judged = COMPARING.format(answer, found) + (rng.choice(AGREEMENTS) if same else DISAGREEMENT)
        paragraphs.append(f"{opening} {text}. {judged}")
        if same:
            continue
        text, answer = way(question, False, Care(rng))
        paragraphs += [text, rng.choice(CONCLUSIONS).format(answer)]
    if rng.random() < 0.6:
        paragraphs.append(rng.choice(ENDINGS).format(answer))
    return Thought(tuple(paragraphs), answer, first)


def _asked(question: Question) -> str:
    """The question, cut down to what is to be calculated."""
    parts = question.parts
    if question.family == "chain_sum":
        return parts[0][1] + "".join(sign + number for sign, number in parts[1:])
    if question.family == "products":
        return "*".join(number for _, number in parts)
    if question.family == "compare":
        return (
            f"the {question.text.split()[2 if question.text.startswith('Which is') else 3].strip(',:')} of "
            + ", ".join(number for _, number in parts[1:])
        )
    return "how many there are now" if question.family == "stories" else "the number of legs"


def _chain(question: Question, other: bool, care: Care) -> tuple[str, str]:
    parts = list(question.parts)
    if other:
        parts = sorted(parts[1:], key=lambda part: part[0] != "+")
        if parts[0][0] == "+":
            parts.insert(1, question.parts[0])
        else:
            parts.insert(0, question.parts[0])
    total = int(parts[0][1])
    lines = []
    for sign, number in parts[1:]:
        text, total = signed(total, sign, int(number), care)
        lines.append(text)
    return "\n".join(lines), str(total)


def _products(question: Question, other: bool, care: Care) -> tuple[str, str]:
    numbers = [int(number) for _, number in question.parts]
    numbers = numbers[::-1] if other else numbers
    total = numbers[0]
    lines = []
    for number in numbers[1:]:
        text, total = times(total, number, care)
        lines.append(text)
    return "\n".join(lines), str(total)


def _legs(question: Question, other: bool, care: Care) -> tuple[str, str]:
    parts = question.parts[::-1] if other else question.parts
    lines, total = [], None
    for animal, count in parts:
        legs = int(count) * LEGS[animal]
        text = f"{count}*{LEGS[animal]}={legs}"
        if LEGS[animal] < 10 and int(count) < 10:
            text, legs = times_digit(int(count), LEGS[animal], care)
        line = f"{count} {animal}{'s' if count != '1' else ''}: {text}"
        if total is None:
            total = legs
        else:
            text, total = add(total, legs, care)
            line += f". {text}"
        lines.append(line)
    return "\n".join(lines), str(total)


def _stories(question: Question, other: bool, care: Care) -> tuple[str, str]:
    parts = list(question.parts)
    if other:
        parts = [parts[0], *sorted(parts[1:], key=lambda part: part[0] != "+")]
    total = int(parts[0][1])
    lines = [f"Start with {total}"]
    for sign, number in parts[1:]:
        text, total = signed(total, sign, int(number), care)
        lines.append(f"{'Plus' if sign == '+' else 'Minus'} {number}: {text}")
    return "\n".join(lines), str(total)


def _compare(question: Question, other: bool, care: Care) -> tuple[str, str]:
    numbers = [number for _, number in question.parts[1:]]
    numbers = numbers[::-1] if other else numbers
    larger = question.parts[0][0] == "large"
    best = numbers[0]
    lines = []
    for number in numbers[1:]:
        text, best = _larger(best, number, larger, care)
        lines.append(text)
    return "\n".join(lines), best


def _larger(a: str, b: str, larger: bool, care: Care) -> tuple[str, str]:
    """Compare two numbers. The slip is the famous one: 0.11 over 0.9, because 11 is more than 9."""
    pick = max if larger else min
    word = "larger" if larger else "smaller"
    if "." not in a:
        won = str(pick(int(a), int(b)))
        return f"{a} and {b}: {won} is {word}", won
    left, right = a.partition(".")[2], b.partition(".")[2]
    trap = len(left) != len(right) and (int(left) > int(right)) != (float(a) > float(b))
    if trap and a.partition(".")[0] == b.partition(".")[0] and care.slip(trap=True):
        won = pick((a, b), key=lambda number: int(number.partition(".")[2]))
        return f"{left} and {right}: {won.partition('.')[2]} is {word}, so {won}", won
    won = pick((a, b), key=float)
    padded = [f"{number.partition('.')[0]}.{number.partition('.')[2]:0<2}" for number in (a, b, won)]
    return f"{padded[0]} and {padded[1]}: {padded[2]} is {word}, so {won}", won


WAYS: dict[str, Way] = {
    "chain_sum": _chain,
    "products": _products,
    "leg_counting": _legs,
    "stories": _stories,
    "compare": _compare,
}
