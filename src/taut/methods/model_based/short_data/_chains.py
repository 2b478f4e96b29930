"""The chain of a sample: its thinking, or the worked part of an answer; and what becomes of it when it is cut."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Sequence

from taut.core import Count
from taut.errors import UsageError
from taut.methods.model_based.short_data._nouns import Sample, Take, Tools, Written
from taut.rollouts import Length

WORD = re.compile(r"\s*\S+\s*|\s+")
_STEP = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^\s\da-z])")


def chain_of(sample: Sample) -> str:
    """Its thinking; of a reply without thinking, what stands before the last line of the answer."""
    return sample.thinking if sample.thinking.strip() else _worked_part(sample.answer)[0]


def with_chains(samples: Iterable[Sample]) -> list[Sample]:
    """Those that have a chain: an answer in one line, without thinking, has nothing to shorten."""
    return [sample for sample in samples if chain_of(sample).strip()]


def as_it_is(sample: Sample) -> Written:
    """The sample unchanged."""
    return Written(sample, sample.thinking, sample.answer, sample.thinking_tokens, sample.answer_tokens)


def with_chain(sample: Sample, chain: str, tools: Tools) -> Written:
    """The sample with another chain; its answer, or the answer's last line, stays as it is."""
    if chain == chain_of(sample):
        return as_it_is(sample)
    if sample.thinking.strip():
        tokens = _tokens(chain, sample.thinking, sample.thinking_tokens, tools)
        return Written(sample, chain, sample.answer, tokens, sample.answer_tokens)
    last_line = _worked_part(sample.answer)[1]
    answer = f"{chain.rstrip()}\n\n{last_line}" if chain.strip() else last_line
    tokens = _tokens(answer, sample.answer, sample.answer_tokens, tools)
    return Written(sample, "", answer, sample.thinking_tokens, tokens)


def _tokens(text: str, before: str, count: Count, tools: Tools) -> Count:
    if not text.strip():
        return Count(0, count.source)
    if tools.count is not None:
        return Count(tools.count(text), "counted")
    return Count(max(1, round(count.tokens * len(text) / len(before))), "estimated")


def _worked_part(answer: str) -> tuple[str, str]:
    before, _, last_line = answer.rstrip().rpartition("\n")
    return before.rstrip(), last_line


def steps_of(chain: str) -> list[str]:
    """Its paragraphs; of one paragraph the lines, of one line the sentences. Joined they are the chain."""
    for boundary in (_STEP, re.compile(r"\n\s*"), _SENTENCE):
        found = _cut_behind(chain, boundary)
        if len(found) > 1:
            return found
    return [chain] if chain.strip() else []


def _cut_behind(text: str, boundary: re.Pattern[str]) -> list[str]:
    body = text.rstrip()
    ends = [match.end() for match in boundary.finditer(body)]
    parts = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
    return [part for part in parts if part]


def step_at(steps: Sequence[str], place: int) -> int:
    """Which step holds the character before ``place``."""
    end = 0
    for position, step in enumerate(steps):
        end += len(step)
        if place <= end:
            return position
    return len(steps) - 1


def words_of(text: str) -> list[str]:
    """Words, each with the space behind it. Joined, the text."""
    return WORD.findall(text)


def in_order(samples: Iterable[Sample], of: Length = "total") -> list[Sample]:
    """The shortest first; of equals the one drawn first."""
    return sorted(samples, key=lambda sample: sample.tokens(of))


def pick(samples: Sequence[Sample], take: Take, of: Length = "total") -> Sample:
    """One of several, of which there must be one."""
    return samples[0] if take == "first" else in_order(samples, of)[0 if take == "shortest" else -1]


def draw_of(seed: int, name: str) -> random.Random:
    """Randomness that depends on the seed and the question alone, the same on every machine."""
    return random.Random(int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest(), "big"))


def check(is_right: bool, sentence: str) -> None:
    """Raise `UsageError` with the sentence unless the parameters are right."""
    if not is_right:
        raise UsageError(sentence)
