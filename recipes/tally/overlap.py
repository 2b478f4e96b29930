"""Shows that no held-out question was trained on: `python recipes/tally/overlap.py --examples 150000`.

Draws the questions of that many training examples again, and looks among them for what the splits ``validation`` and
``test`` ask: by what is asked (`Question.key`), and letter for letter.
"""

from __future__ import annotations

import argparse
import random
from itertools import islice

from examples import FAMILY_SHARES, training_question

from taut.tasks._tally import GRADES, questions


def overlap(examples: int, held_out_each: int, seed: int) -> tuple[int, int, int]:
    """Held-out questions looked at, and how many of them were trained on: by what is asked, by their text."""
    rng = random.Random(f"overlap/{seed}")
    keys, texts = set(), set()
    for _ in range(examples):
        question = training_question(rng, (1, 1, 1))
        keys.add(question.key)
        texts.add(question.text)
    held_out = [
        question
        for split in ("validation", "test")
        for family in FAMILY_SHARES
        for grade in GRADES
        for question in islice(questions(family, grade, split, seed), held_out_each)
    ]
    asked = sum(question.key in keys for question in held_out)
    worded = sum(question.text in texts for question in held_out)
    return len(held_out), asked, worded


def main() -> None:
    """Read the command line and look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=150_000)
    parser.add_argument("--held-out-each", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    looked_at, asked, worded = overlap(given.examples, given.held_out_each, given.seed)
    against = f"{looked_at:,} held-out questions against {given.examples:,} training examples"
    print(f"{against}: {asked} asked there, {worded} word for word")
    if asked or worded:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
