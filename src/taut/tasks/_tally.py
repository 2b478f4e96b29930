"""The questions of the task set ``tally``: five families of arithmetic, three grades each.

Two families have the wording of reasoning-gym's datasets (arXiv:2505.24760, Apache-2.0): chain_sum and leg_counting.
A question is drawn from its index and seed alone. The split is a hash of what is asked, not of how it is worded, so
that the same sum in other words, or under another seed, never moves from one split to another.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SPLITS = ("train", "validation", "test")
GRADES = ("easy", "medium", "hard")
HELD_OUT_SIXTEENTHS = {0: "test", 1: "validation"}
"""Of sixteen equal shares of all questions, one is for testing, one for validation."""

LEGS = {
    "snake": 0, "jellyfish": 0, "leech": 0, "chicken": 2, "bird": 2, "human": 2, "duck": 2, "dog": 4, "cat": 4,
    "cow": 4, "horse": 4, "lion": 4, "tiger": 4, "elephant": 4, "giraffe": 4, "sheep": 4, "deer": 4, "starfish": 5,
    "ant": 6, "bee": 6, "wasp": 6, "beetle": 6, "butterfly": 6, "cricket": 6, "spider": 8, "scorpion": 8, "crab": 10,
    "lobster": 10, "shrimp": 10, "woodlouse": 14,
}  # fmt: skip
NAMES = {
    "Anna": "She", "Ben": "He", "Clara": "She", "David": "He", "Emma": "She", "Felix": "He", "Grace": "She",
    "Henry": "He", "Ines": "She", "Jonas": "He", "Kate": "She", "Leo": "He", "Maria": "She", "Noah": "He",
    "Olga": "She", "Paul": "He", "Rosa": "She", "Sam": "He", "Tom": "He", "Vera": "She",
}  # fmt: skip
THINGS = (
    "apples", "books", "cards", "coins", "cookies", "eggs", "flowers", "marbles", "nuts", "oranges", "pencils",
    "shells", "stamps", "stickers", "stones", "tickets",
)  # fmt: skip
GAINS = ("buys {n} more", "finds {n} more", "gets {n} as a present", "wins {n} more", "is given {n} more")
LOSSES = ("gives {n} away", "loses {n}", "sells {n}", "trades {n} for a ball", "hands {n} to a friend")


@dataclass(frozen=True, slots=True)
class Question:
    """One question, with what it was made of."""

    family: str
    grade: str
    text: str
    answer: str
    parts: tuple[tuple[str, str], ...]
    """What it is made of, in order: (operator or kind, number or word)."""

    @property
    def key(self) -> str:
        """What is asked, whatever the wording."""
        return f"{self.family}:" + " ".join(f"{kind}{value}" for kind, value in self.parts)

    @property
    def split(self) -> str:
        """``train``, ``validation`` or ``test``: by a hash of `key`."""
        share = int(hashlib.sha256(self.key.encode()).hexdigest()[:8], 16) % 16
        return HELD_OUT_SIXTEENTHS.get(share, "train")


def draw(family: str, grade: str, rng: random.Random) -> Question:
    """One question of any split."""
    return FAMILIES[family](grade, rng)


def questions(family: str, grade: str, split: str, seed: int) -> Iterator[Question]:
    """Distinct questions of one split, as long as more are asked for (a small family may run dry: then it ends)."""
    seen: set[str] = set()
    misses = 0
    index = 0
    while misses < 5_000:
        question = draw(family, grade, random.Random(f"tally/{family}/{grade}/{seed}/{index}"))
        index += 1
        if question.split != split or question.key in seen:
            misses += 1
            continue
        misses = 0
        seen.add(question.key)
        yield question


def chain_sum(grade: str, rng: random.Random) -> Question:
    """Signed sums: 2 or 3 terms of one digit, 3 or 4 of two, 4 or 5 of two or three."""
    least, most, digits = {"easy": (2, 3, 1), "medium": (3, 4, 2), "hard": (4, 5, rng.choice((2, 3)))}[grade]
    low, high = (0 if digits == 1 else 10 ** (digits - 1)), 10**digits - 1
    terms = [rng.randint(low, high) for _ in range(rng.randint(least, most))]
    parts = [("+", str(terms[0])), *((rng.choice("+-"), str(term)) for term in terms[1:])]
    written = " ".join([parts[0][1], *(f"{sign} {term}" for sign, term in parts[1:])])
    total = sum(int(term) if sign == "+" else -int(term) for sign, term in parts)
    wording = rng.choice(
        ("State the final answer to the following arithmetic problem: {} =",) * 3
        + ("Calculate {}.", "What is {}?", "{} =")
    )
    return Question("chain_sum", grade, wording.format(written), str(total), tuple(parts))


def products(grade: str, rng: random.Random) -> Question:
    """Products: three factors of one digit, four, or two factors of two digits."""
    factors, digits = {"easy": (3, 1), "medium": (4, 1), "hard": (2, 2)}[grade]
    low, high = (2 if digits == 1 else 11), 10**digits - 1
    numbers = [rng.randint(low, high) for _ in range(factors)]
    total = 1
    for number in numbers:
        total *= number
    written = " * ".join(map(str, numbers))
    wording = rng.choice(
        ("Solve the following multiplication: {}. Give only the result as your final answer.",) * 2
        + ("What is {}?", "Calculate {}.")
    )
    return Question("products", grade, wording.format(written), str(total), tuple(("*", str(n)) for n in numbers))


def leg_counting(grade: str, rng: random.Random) -> Question:
    """How many legs some animals have: 1 or 2 kinds, 3 or 4, 5 or 6."""
    least, most, herd = {"easy": (1, 2, 9), "medium": (3, 4, 12), "hard": (5, 6, 15)}[grade]
    animals = rng.sample(sorted(LEGS), rng.randint(least, most))
    counts = [rng.randint(1, herd) for _ in animals]
    listed = ", ".join(
        f"{count} {animal}{'s' if count > 1 else ''}" for count, animal in zip(counts, animals, strict=True)
    )
    text = (
        "Your task is to count how many legs there are in total when given a list of animals.\n\n"
        f"Now, how many legs are there in total if you have {listed}?"
    )
    if rng.random() < 0.4:
        text = f"How many legs do {listed} have in total?"
    total = sum(count * LEGS[animal] for count, animal in zip(counts, animals, strict=True))
    parts = tuple((animal, str(count)) for count, animal in zip(counts, animals, strict=True))
    return Question("leg_counting", grade, text, str(total), parts)


def stories(grade: str, rng: random.Random) -> Question:
    """Somebody has things, gets more and loses some: 1 or 2 events, 2 or 3, 4 or 5."""
    least, most, high = {"easy": (1, 2, 20), "medium": (2, 3, 99), "hard": (4, 5, rng.choice((99, 500)))}[grade]
    name = rng.choice(sorted(NAMES))
    thing = rng.choice(THINGS)
    total = rng.randint(2, high)
    parts = [("+", str(total))]
    sentences = [f"{name} has {total} {thing}."]
    for _ in range(rng.randint(least, most)):
        gains = total < 2 or rng.random() < 0.5
        amount = rng.randint(2, high) if gains else rng.randint(1, total)
        total += amount if gains else -amount
        parts.append(("+" if gains else "-", str(amount)))
        event = rng.choice(GAINS if gains else LOSSES).format(n=amount)
        sentences.append(f"{rng.choice(('', 'Then ', 'Later '))}{NAMES[name]} {event}.")
    text = " ".join(sentences).replace("Then He", "Then he").replace("Then She", "Then she")
    text = text.replace("Later He", "Later he").replace("Later She", "Later she")
    text += f" How many {thing} does {name} have now?"
    return Question("stories", grade, text, str(total), tuple(parts))


def compare(grade: str, rng: random.Random) -> Question:
    """Which of two numbers is larger: whole ones, decimals of unequal length, or which of three decimals."""
    count = 3 if grade == "hard" else 2
    numbers: list[str] = []
    while len(numbers) < count:
        number = str(rng.randint(1, 99)) if grade == "easy" else f"{rng.randint(0, 9)}.{_decimals(rng)}"
        if grade != "easy" and numbers:
            number = f"{numbers[0].partition('.')[0]}.{_decimals(rng)}"
        if float(number) not in {float(other) for other in numbers}:
            numbers.append(number)
    word = rng.choice(("larger", "smaller")) if count == 2 else rng.choice(("largest", "smallest"))
    wanted = (max if word.startswith("larg") else min)(numbers, key=float)
    listed = ", ".join(numbers[:-1]) + f" or {numbers[-1]}"
    wording = rng.choice(("Which is {}, {}?", "Which number is {}: {}?"))
    parts = ((word[:5], ""), *(("|", number) for number in numbers))
    return Question("compare", grade, wording.format(word, listed), wanted, parts)


def _decimals(rng: random.Random) -> str:
    digits = rng.choice((1, 2, 2))
    return str(rng.randint(1, 9)) if digits == 1 else f"{rng.randint(1, 99):02d}".rstrip("0") or "5"


FAMILIES: dict[str, Callable[[str, random.Random], Question]] = {
    "chain_sum": chain_sum,
    "products": products,
    "leg_counting": leg_counting,
    "stories": stories,
    "compare": compare,
}
