"""What the rewards share: what a group must have, and the ranges of parameters, told in one sentence."""

from __future__ import annotations

import math
from array import array
from typing import TypeVar

from taut.errors import UsageError
from taut.rollouts import Group, LengthReward, Reference, Targets

Value = TypeVar("Value")


def wanted_tokens_of(reward: LengthReward, group: Group) -> int:
    """How long a response the prompt asked for. Raises `UsageError` where nobody knows."""
    return _present(
        group.wanted_tokens,
        f"{name_of(reward)} needs the length that the prompt asked for, and {_question(group)} has none: give each "
        "question its wanted_tokens and say them in its prompt",
    )


def limit_tokens_of(reward: LengthReward, group: Group) -> int:
    """The ceiling of a response. Raises `UsageError` where nobody knows."""
    limit_tokens = _present(
        group.limit_tokens,
        f"{name_of(reward)} needs the ceiling of a response in tokens, and {_question(group)} has none: "
        "give limit_tokens, the most that the trainer lets the model write",
    )
    if limit_tokens < 1:
        raise UsageError(f"{name_of(reward)}: limit_tokens of {_question(group)} is {limit_tokens}, it must be above 0")
    return limit_tokens


def reference_of(reward: LengthReward, group: Group) -> Reference:
    """What the start model does on the question. Raises `UsageError` where nobody knows."""
    return _present(
        group.reference,
        f"{name_of(reward)} needs reference statistics (mean tokens and accuracy of the start model per question), "
        f"and {_question(group)} has none: sample the start model several times on every question first, and give "
        "mean_tokens and accuracy of each",
    )


def targets_of(reward: LengthReward, group: Group) -> Targets:
    """Target lengths by difficulty. Raises `UsageError` where there are none."""
    return _present(
        group.targets,
        f"{name_of(reward)} needs target lengths by difficulty, and {_question(group)} has none: let a Monitor watch "
        "the groups, its fill() puts them in",
    )


def check_token_ids(reward: LengthReward, group: Group) -> None:
    """Raise `UsageError` if a response of some length comes without its tokens."""
    for place, rollout in enumerate(group.rollouts, start=1):
        if len(rollout.token_ids) != rollout.total_tokens:
            raise UsageError(
                f"{name_of(reward)} looks for repetition in the tokens of each response, and rollout {place} of "
                f"{_question(group)} has {rollout.total_tokens} tokens but {len(rollout.token_ids)} token ids: "
                "give token_ids"
            )


def check_above_zero(reward: LengthReward, *parameters: str) -> None:
    """Raise `UsageError` for a parameter that is not a finite number above 0."""
    for parameter in parameters:
        value = getattr(reward, parameter)
        if not 0 < value < math.inf:
            raise UsageError(f"{name_of(reward)}: {parameter} is {value}, it must be a finite number above 0")


def check_not_negative(reward: LengthReward, *parameters: str) -> None:
    """Raise `UsageError` for a parameter that is not a finite number of at least 0."""
    for parameter in parameters:
        value = getattr(reward, parameter)
        if not 0 <= value < math.inf:
            raise UsageError(f"{name_of(reward)}: {parameter} is {value}, it must be a finite number of at least 0")


def check_between(reward: LengthReward, parameter: str, least: float, most: float) -> None:
    """Raise `UsageError` for a parameter outside the range, whose ends belong to it."""
    value = getattr(reward, parameter)
    if not least <= value <= most:
        raise UsageError(f"{name_of(reward)}: {parameter} is {value}, it must be between {least} and {most}")


def check_order(reward: LengthReward, *parameters: str) -> None:
    """Raise `UsageError` unless the parameters are finite and never rise from one to the next."""
    values = [getattr(reward, parameter) for parameter in parameters]
    if not all(map(math.isfinite, values)) or values != sorted(values, reverse=True):
        said = ", ".join(f"{parameter} = {value}" for parameter, value in zip(parameters, values, strict=True))
        raise UsageError(f"{name_of(reward)}: {said}: they must be finite and none may be above the one before it")


def name_of(reward: LengthReward) -> str:
    """The reward's name: that of its file."""
    return type(reward).__module__.rpartition(".")[2]


def clip(value: float, least: float, most: float) -> float:
    """``value``, moved to the nearer end where it lies outside the range."""
    return float(min(max(value, least), most))


def mean(values: tuple[float, ...] | tuple[int, ...]) -> float:
    """Their mean; 0 of none."""
    return math.fsum(values) / len(values) if values else 0.0


def deviation(values: tuple[float, ...] | tuple[int, ...], *, freedom: int = 0) -> float:
    """Their standard deviation; ``freedom=1`` divides by n - 1. 0 where there are too few."""
    if len(values) <= max(freedom, 1):
        return 0.0
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - freedom))


def repeated_tokens(token_ids: tuple[int, ...], ngram_tokens: int) -> int:
    """How many tokens stand in a run of ``ngram_tokens`` that was there before, as a whole, earlier in the response."""
    # Bytes are hashed several times as fast as tuples of numbers.
    tokens = array("q", token_ids)
    packed, width = tokens.tobytes(), tokens.itemsize
    seen: set[bytes] = set()
    covered = reached = 0
    for start in range(len(token_ids) - ngram_tokens + 1):
        end = start + ngram_tokens
        run = packed[start * width : end * width]
        if run in seen:
            covered += end - max(start, reached)
            reached = end
        seen.add(run)
    return covered


def _present(value: Value | None, complaint: str) -> Value:
    if value is None:
        raise UsageError(complaint)
    return value


def _question(group: Group) -> str:
    return f"question {group.question}" if group.question else "a question"
