"""Turns questions and thoughts into what Tally is trained on, token by token, and says which tokens count.

Three kinds of examples: whole thoughts; no thought at all (``<think></think>`` and the answer); and thoughts that
were cut somewhere, closed, and answered. Of the last two only the answer is learnt. The cut ones make a trial answer
mean something: where the thought has not come to a conclusion yet, the right answer cannot be seen in it, and the
model learns to be unsure there. They also make the model answer behind the words that stop rules put in.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from thoughts import Thought, think

from taut.tasks._tally import GRADES, Question, draw

ANSWER = "The answer is \\boxed{{{}}}."
WHOLE, NOT_AT_ALL, CUT = 0.80, 0.05, 0.15
"""Shares of the three kinds."""
SAYING = 0.02
"""Share of examples that only ask to say words again and again, without which Tally could not go on with any text but
its own sums."""
WORDS = (
    "red", "green", "blue", "one", "two", "three", "apples", "books", "Tom", "Anna", "dogs", "cats", "yes", "first",
    "last", "more", "way", "ball",
)  # fmt: skip
FAMILY_SHARES = {"chain_sum": 5, "products": 4, "leg_counting": 3, "stories": 4, "compare": 3}
CLOSINGS = (
    ("\n</think>\n\n", ANSWER),
    ("\n</think>\n\n", ANSWER),
    ("\n</think>\n\n**Final Answer**\n\\boxed{{", "{}}}"),
    ("\n</think>\n\n**Final Answer**\n", "\\boxed{{{}}}"),
    ("\n**Final Answer**\n\\boxed{{", "{}}}"),
    ("\n\nTime is up. I have to answer with what I have.\n</think>\n\n", ANSWER),
    ("\n\nI have thought enough.\n</think>\n\n", ANSWER),
    ("... Oh, I suddenly got the answer to the whole problem, **Final Answer**\n\n\\[ \\boxed{{", "{}}}"),
    ("\n</think>\n\nThe answer is \\boxed{{", "{}}}."),
)
"""What may close a cut thought, and the answer behind it."""
FORM = "Put the final answer in \\boxed{}."
"""The line that Taut's tasks put behind a question."""
REQUESTS = (
    "Write the final answer between <answer> and </answer>.",
    "Let's think step by step.",
    "Please reason step by step, and put your final answer within \\boxed{}.",
    "Be concise.",
    "Think briefly.",
    "Think for at most 60 tokens.",
    "Let's think step by step and use less than 50 tokens:",
    "Think step by step, but only keep a minimum draft for each thinking step, with 5 words at most.",
    "Give only the number.",
    "Answer the question directly.",
    "Show your work.",
    "Limit the answer length to 100 words.",
    "Thank you!",
    "Take your time.",
    "What do you think?",
)
"""Further sentences that users and presets put behind a question. Tally learns to live with them, not to obey."""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, what follows in it that is not learnt, and what is learnt."""

    prompt: str
    given: str
    learnt: str


def example(rng: random.Random, *, grades: tuple[int, ...], most_checks: int | None) -> Example:
    """One training example. ``grades`` weighs the `GRADES`; ``most_checks`` keeps thoughts short at first."""
    if rng.random() < SAYING:
        return _saying(rng)
    question = training_question(rng, grades)
    while (thought := think(question, rng, most_checks)).answer != question.answer:
        pass
    return _of_a_kind(question, thought, rng)


def training_question(rng: random.Random, grades: tuple[int, ...]) -> Question:
    """A question of the split ``train``."""
    family = rng.choices(list(FAMILY_SHARES), list(FAMILY_SHARES.values()))[0]
    grade = rng.choices(GRADES, grades)[0]
    while (question := draw(family, grade, rng)).split != "train":
        pass
    return question


def _of_a_kind(question: Question, thought: Thought, rng: random.Random) -> Example:
    text = question.text + ("\n" + FORM if rng.random() < 0.4 else "")
    text += rng.choice(("\n", "\n\n", " ")) + rng.choice(REQUESTS) if rng.random() < 0.2 else ""
    prompt = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    kind = rng.choices(("whole", "not at all", "cut"), (WHOLE, NOT_AT_ALL, CUT))[0]
    answer = ANSWER.format(question.answer)
    if kind == "whole":
        return Example(prompt, "", f"<think>\n{thought.text}\n</think>\n\n{answer}<|im_end|>")
    if kind == "not at all":
        return Example(prompt, "<think>\n\n</think>\n\n", f"{answer}<|im_end|>")
    closing, form = rng.choice(CLOSINGS)
    given = f"<think>\n{_cut(thought, rng)}{closing.format()}"
    return Example(prompt, given, f"{form.format(question.answer)}<|im_end|>")


def _saying(rng: random.Random) -> Example:
    words = " ".join(rng.sample(WORDS, rng.randint(2, 4)))
    prompt = f"<|im_start|>user\nSay the words {words} again and again.<|im_end|>\n<|im_start|>assistant\n"
    said = " ".join([words] * rng.randint(3, 8))
    thought = f"Okay, I need to say {words} again and again." if rng.random() < 0.6 else said
    if rng.random() < 0.3:
        return Example(prompt, "<think>\n\n</think>\n\n", f"{said}<|im_end|>")
    return Example(prompt, "", f"<think>\n{thought}\n</think>\n\n{said}<|im_end|>")


def _cut(thought: Thought, rng: random.Random) -> str:
    if rng.random() < 0.6:
        return "\n\n".join(thought.paragraphs[: rng.randint(1, len(thought.paragraphs))])
    return thought.text[: rng.randint(1, len(thought.text))]
