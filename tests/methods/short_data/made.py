"""Made-up questions with samples of known lengths, and tools that stand in for models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from taut.core import Count, Task
from taut.methods.model_based.short_data._chains import words_of
from taut.methods.model_based.short_data._nouns import (
    Builder,
    Dropped,
    Example,
    Question,
    Reading,
    Sample,
    Tools,
    Weighed,
)

ANSWER = "The answer is 7."


def made_sample(
    tokens: int,
    right: bool | None = True,
    *,
    preset: str = "direct",
    seed: int = 0,
    thinking: str = "3 + 4 = 7.",
    **more: Any,
) -> Sample:
    """A sample of so many thinking tokens and 5 of the answer."""
    answer = ANSWER if right is not False else "The answer is 8."
    sample = Sample(
        f"{preset}/{seed}", preset, seed, thinking, answer, Count(tokens, "reported"), Count(5, "reported"), right
    )
    return replace(sample, **more)


def made_question(samples: Sequence[Sample], name: str = "q/0", **metadata: Any) -> Question:
    """A question whose answer is 7; its samples get the numbers 0, 1, … as seeds unless they have one."""
    numbered = [
        sample if sample.seed else replace(sample, seed=place, key=f"{sample.preset}/{name}/{place}")
        for place, sample in enumerate(samples)
    ]
    task = Task(name, ({"role": "user", "content": f"What is 3 + 4 ({name})?"},), "7", "number", metadata)
    return Question(task, tuple(numbered))


def lengths_question(*tokens: int, name: str = "q/0") -> Question:
    """Right answers of these thinking lengths."""
    return made_question([made_sample(each) for each in tokens], name)


def audit_seven(question: Question, sample: Sample) -> Reading:
    """The right answer stands behind every "= 7", and sentences that begin with "Wait" check."""
    text = sample.thinking
    ends = tuple(place + 3 for place in range(len(text)) if text.startswith("= 7", place))
    starts = [place for place in range(len(text)) if text.startswith("Wait", place)]
    return Reading(ends, tuple((start, (text.find("\n", start) + len(text) + 1) % (len(text) + 1)) for start in starts))


def longer_words(question: str, chain: str) -> Weighed:
    """Long words matter more."""
    return [(word, float(len(word.strip()))) for word in words_of(chain)]


TOOLS = Tools(audit=audit_seven, importance=longer_words, compressions={})


def made(builder: Builder, *questions: Question, tools: Tools = TOOLS) -> tuple[list[Example], dict[str, str]]:
    """The examples, and the reasons by question."""
    found = list(builder(questions, tools))
    dropped = {each.question.id: each.why for each in found if isinstance(each, Dropped)}
    return [each for each in found if isinstance(each, Example)], dropped


def chosen_tokens(examples: Sequence[Example]) -> list[int]:
    """Thinking tokens of what is taught."""
    return [example.chosen.thinking_tokens.tokens for example in examples]


def thoughts(examples: Sequence[Example]) -> list[str]:
    """What is thought in what is taught."""
    return [example.chosen.thinking for example in examples]
