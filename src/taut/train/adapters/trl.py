"""TRL: a length reward as one of ``reward_funcs`` of `GRPOTrainer` and its relatives (read in trl 1.16).

The trainer calls it with the flat batch, ``prompts``, ``completions``, ``completion_ids``, every other column of the
data set as a list, and ``trainer_state``, ``log_extra``, ``log_metric``. Columns that are read, all but ``answer``
optional: ``answer`` (the reference), ``verifier``, ``id``, ``metadata``, ``wanted_tokens``, ``limit_tokens``,
``reference_tokens`` and ``reference_accuracy`` (of the start model), and ``held_out``: rows where it is true leave no
trace in what is remembered between steps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taut.core import Kind, Task
from taut.dialects import Dialect, by_name, starts_in
from taut.errors import UsageError
from taut.methods.model_based.memory import Memory
from taut.rollouts import LengthReward, Reference
from taut.train.adapters._judging import Asked, Judge, Response
from taut.train.adapters._rewarding import (
    Outcome,
    check_dialect,
    log_lengths,
    memories_of,
    observe,
    reward_group,
    runs,
    split_runs,
)
from taut.train.rewards import open_reward

Columns = Mapping[str, Sequence[Any]]
NOT_COLUMNS = ("trainer_state", "log_extra", "log_metric", "environments")


@dataclass(slots=True)
class TrlReward:
    """One of TRL's ``reward_funcs``: returns a reward per completion, ``None`` where the answer cannot be judged."""

    reward: LengthReward
    judge: Judge = Judge()
    verifier: str = "auto"
    """For rows without one of their own."""
    limit_tokens: int | None = None
    """``max_completion_length`` of the trainer, for rows without one of their own."""
    end_ids: frozenset[int] = frozenset()
    """Tokens that end a completion; without them one is taken as cut where it is as long as the limit."""
    group_size: int | None = None
    """``num_generations``, to refuse groups that are spread over devices; ``None``: neighbours with the same prompt
    and columns are a group, whatever their number, which suits evaluation too."""
    memories: tuple[Memory, ...] = ()
    """What the reward remembers between steps. They are as many on each device, and each sees its own groups only."""
    name: str = field(default="length_reward", kw_only=True)
    """In the trainer's log."""

    def __post_init__(self) -> None:
        """Reject a reward of the thinking's length where the dialect does not mark any."""
        check_dialect(self.reward, self.judge)

    @property
    def __name__(self) -> str:
        """TRL names the columns of its log by it."""
        return self.name

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        """Rewards in the order of the completions. Raises `UsageError` where the reward lacks something."""
        rows = {key: value for key, value in columns.items() if key not in NOT_COLUMNS}
        if "answer" not in rows:
            raise UsageError("the data set has no column answer: without it nothing can be judged")
        responses = [
            self._response(prompt, completion, ids)
            for prompt, completion, ids in zip(prompts, completions, completion_ids, strict=True)
        ]
        keys = [_key(prompts, rows, place) for place in range(len(prompts))]
        spans = split_runs(runs(keys), self.group_size if self.reward.reads_group else None)
        outcomes = [
            reward_group(
                self.reward, self.judge, self._asked(keys[start], rows, start), responses[start:end], self.memories
            )
            for start, end in spans
        ]
        self._remember(outcomes, rows, spans)
        _log(outcomes, columns)
        return [reward for outcome in outcomes for reward in outcome.rewards]

    def _response(self, prompt: Any, completion: Any, token_ids: Sequence[int]) -> Response:
        ids = tuple(int(token) for token in token_ids)
        limit = self.limit_tokens
        if self.end_ids:
            finished = bool(ids) and ids[-1] in self.end_ids
        else:
            finished = limit is None or len(ids) < limit
        start: Kind | None = starts_in(self.judge.dialect, prompt) if isinstance(prompt, str) else None
        return Response(_text(completion, self.judge.dialect), ids, finished=finished, start=start)

    def _asked(self, key: str, rows: Columns, place: int) -> Asked:
        row = {column: values[place] for column, values in rows.items()}
        metadata = row.get("metadata") or {}
        task = Task(
            id=str(row.get("id") or key),
            messages=(),
            reference=row["answer"],
            verifier=row.get("verifier") or self.verifier,
            metadata=json.loads(metadata) if isinstance(metadata, str) else metadata,
        )
        wanted, limit = row.get("wanted_tokens"), row.get("limit_tokens")
        return Asked(task, wanted, self.limit_tokens if limit is None else limit, _reference(row))

    def _remember(self, outcomes: Sequence[Outcome], rows: Columns, spans: Sequence[tuple[int, int]]) -> None:
        held_out = rows.get("held_out")
        observe(
            self.memories,
            [
                outcome
                for outcome, (start, _) in zip(outcomes, spans, strict=True)
                if held_out is None or not held_out[start]
            ],
        )


def trl_reward(
    reward: str | LengthReward,
    *,
    tokenizer: Any = None,
    dialect: str = "think_tags",
    verifier: str = "auto",
    limit_tokens: int | None = None,
    group_size: int | None = None,
    end_ids: Sequence[int] = (),
) -> TrlReward:
    """A length reward for ``GRPOTrainer(reward_funcs=…)``: ``trl_reward("l1_max(alpha=0.001)", tokenizer=tokenizer)``.

    Give ``limit_tokens`` the trainer's ``max_completion_length``. Raises `UsageError` for an unknown reward, parameter
    or dialect.
    """
    opened = open_reward(reward) if isinstance(reward, str) else reward
    eos = getattr(tokenizer, "eos_token_id", None)
    ends = frozenset(end_ids) or (frozenset() if eos is None else frozenset({int(eos)}))
    return TrlReward(
        opened,
        Judge(by_name(dialect), tokenizer),
        verifier,
        limit_tokens,
        ends,
        group_size,
        memories_of(opened, limit_tokens),
        name=reward.partition("(")[0] if isinstance(reward, str) else "length_reward",
    )


def _key(prompts: Sequence[Any], rows: Columns, place: int) -> str:
    """The same for rollouts of one question, and a name for it where it has none."""
    return json.dumps([prompts[place], {key: rows[key][place] for key in sorted(rows)}], default=str, sort_keys=True)


def _text(completion: Any, dialect: Dialect) -> str:
    """Of a completion that is text, or a list of messages; thoughts in a field of their own are put in front."""
    if isinstance(completion, str):
        return completion
    message = completion[-1] if completion else {}
    thought = message.get("reasoning_content") or message.get("thinking") or ""
    content = message.get("content") or ""
    return f"{dialect.open_tags[0]}{thought}{dialect.close_tags[0]}{content}" if thought and dialect.thinks else content


def _reference(row: Mapping[str, Any]) -> Reference | None:
    tokens, accuracy = row.get("reference_tokens"), row.get("reference_accuracy")
    return None if tokens is None or accuracy is None else Reference(float(tokens), float(accuracy))


def _log(outcomes: Sequence[Outcome], columns: Mapping[str, Any]) -> None:
    rollouts = [rollout for outcome in outcomes for rollout in outcome.rollouts]
    if log_metric := columns.get("log_metric"):
        log_lengths(outcomes, log_metric)
    if log_extra := columns.get("log_extra"):
        log_extra("correct", [None if rollout is None else rollout.correct for rollout in rollouts])
        log_extra("thinking_tokens", [None if rollout is None else rollout.thinking_tokens for rollout in rollouts])
