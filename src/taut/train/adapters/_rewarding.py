"""From judged responses to rewards: grouping, what is remembered between steps, and what is told to the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from taut.errors import UsageError
from taut.methods.model_based.memory import History, Memory, Monitor
from taut.rollouts import Group, Length, LengthReward, Rollout, Targets
from taut.train.adapters._judging import Asked, Judge, Response

Span = tuple[int, int]
Log = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one group."""

    group: Group
    """Of the responses that could be judged."""
    rewards: tuple[float | None, ...]
    """One per response; ``None`` where it could not be judged."""
    rollouts: tuple[Rollout | None, ...]


def check_dialect(reward: LengthReward, judge: Judge) -> None:
    """Raise `UsageError` for a reward of the thinking's length where the dialect does not mark any."""
    if getattr(reward, "of", "total") == "thinking" and not judge.dialect.thinks:
        raise UsageError(
            f"{reward!r} counts the tokens of the thinking, and the dialect {judge.dialect.name!r} has no tags that "
            "mark it: take of=total, or the model's own dialect"
        )


def memories_of(reward: LengthReward, limit_tokens: int | None) -> tuple[Memory, ...]:
    """What this reward must remember between steps. Raises `UsageError` for target lengths without a limit."""
    of: Length = getattr(reward, "of", "total")
    found: list[Memory] = []
    if "history" in reward.needs:
        found.append(History(of))
    if "targets" in reward.needs:
        if limit_tokens is None:
            raise UsageError("target lengths begin at the ceiling of a response: give limit_tokens")
        step_tokens = max(limit_tokens // 16, 1)
        found.append(Monitor(Targets(limit_tokens, limit_tokens, limit_tokens), step_tokens=step_tokens, of=of))
    return tuple(found)


def reward_group(
    reward: LengthReward, judge: Judge, asked: Asked, responses: Sequence[Response], memories: Sequence[Memory] = ()
) -> Outcome:
    """Judge the responses to one question and reward them. Raises `UsageError` where the reward lacks something."""
    rollouts = tuple(judge.rollout(response, asked.task) for response in responses)
    judged = tuple(rollout for rollout in rollouts if rollout is not None)
    group = Group(judged, asked.task.id, asked.wanted_tokens, asked.limit_tokens, asked.reference)
    for memory in memories:
        group = memory.fill(group)
    rewards = iter(reward(group))
    return Outcome(group, tuple(None if rollout is None else next(rewards) for rollout in rollouts), rollouts)


def observe(memories: Sequence[Memory], outcomes: Sequence[Outcome]) -> None:
    """Remember the groups of a step; all of them are rewarded by what was known before it."""
    for memory in memories:
        memory.observe(outcome.group for outcome in outcomes if outcome.group.rollouts)


def runs(keys: Sequence[object]) -> list[Span]:
    """Where equal keys stand next to each other: from, to."""
    starts = [place for place, key in enumerate(keys) if place == 0 or keys[place - 1] != key]
    return list(zip(starts, [*starts[1:], len(keys)], strict=True))


def split_runs(spans: Sequence[Span], group_size: int | None) -> list[Span]:
    """Runs as groups of ``group_size``. Raises `UsageError` for a run in which a group is not whole."""
    if group_size is None:
        return list(spans)
    groups = []
    for start, end in spans:
        if (end - start) % group_size:
            raise UsageError(
                f"the trainer brought {end - start} responses to one question, and a group has {group_size}: make the "
                "responses per device and step a multiple of the group's size, so that no group is spread over devices"
            )
        groups += [(place, place + group_size) for place in range(start, end, group_size)]
    return groups


def log_lengths(outcomes: Sequence[Outcome], log: Log) -> None:
    """Tell accuracy, mean tokens, and the shares of responses that were cut and that could not be judged."""
    every = [rollout for outcome in outcomes for rollout in outcome.rollouts]
    judged = [rollout for rollout in every if rollout is not None]
    if every:
        log("taut/not_judged", 1 - len(judged) / len(every))
    if judged:
        log("taut/accuracy", sum(rollout.correct for rollout in judged) / len(judged))
        log("taut/tokens", sum(rollout.total_tokens for rollout in judged) / len(judged))
        log("taut/thinking_tokens", sum(rollout.thinking_tokens for rollout in judged) / len(judged))
        log("taut/cut", sum(not rollout.finished for rollout in judged) / len(judged))


def with_limit(asked: Asked, limit_tokens: int | None) -> Asked:
    """The question with the trainer's ceiling, where it has none of its own."""
    return asked if asked.limit_tokens is not None else replace(asked, limit_tokens=limit_tokens)
