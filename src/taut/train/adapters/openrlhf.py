"""OpenRLHF: length rewards as its ``reward_func`` and as its agent executor (read in openrlhf 0.11.2).

OpenRLHF asks for the reward of one response at a time, so that there are two ways in, each a small file of yours:

- A reward that reads one response (`LengthReward.reads_group` is false), for ``--reward.remote_url rewards.py``
  (``--remote_rm_url`` in older versions)::

      from taut.train.adapters.openrlhf import reward_function
      reward_func = reward_function("l1_max(alpha=0.001)", tokenizer="MODEL", limit_tokens=4096)

- Any reward, for ``--train.agent_func_path agent.py``: all responses to a question run in one process at once, and each
  waits there for the others before it is rewarded; the tokens are those that were sampled::

      from openrlhf.utils.agent import SingleTurnAgentExecutor
      from taut.train.adapters.openrlhf import agent_executor
      AgentExecutor = agent_executor(SingleTurnAgentExecutor, "arora_zanette", limit_tokens=4096)

A label is the reference, or a JSON object with ``answer`` and, as needed, ``verifier``, ``id``, ``metadata``,
``wanted_tokens``, ``reference_tokens`` and ``reference_accuracy``. OpenRLHF has no way to say that an answer could not
be judged: it gets the mean of the others of its group, or 0 if it is alone, and ``judged`` 0 in the log. What a reward
remembers between steps is kept by each engine's process for itself.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from taut.core import Task
from taut.dialects import Dialect, by_name, starts_in
from taut.errors import UsageError
from taut.methods.model_based.memory import Memory
from taut.rollouts import LengthReward, Reference, Rollout
from taut.train.adapters._judging import Asked, Judge, Response
from taut.train.adapters._rewarding import Outcome, check_dialect, memories_of, observe, reward_group
from taut.train.rewards import open_reward

Row = tuple[Response, str, str]
"""A response, its prompt and its label."""
Rewarded = tuple[float, dict[str, float]]
"""A reward and what to log."""
Generate = Callable[[], Awaitable[dict[str, Any]]]


@dataclass(slots=True)
class OpenRlhfReward:
    """OpenRLHF's ``reward_func(queries, prompts, labels)``."""

    reward: LengthReward
    tokenizer: Any
    """Of Hugging Face: responses come as text, and are counted by it."""
    judge: Judge
    verifier: str = "auto"
    limit_tokens: int | None = None
    memories: tuple[Memory, ...] = ()

    def __post_init__(self) -> None:
        """Reject a reward of the thinking's length where the dialect does not mark any."""
        check_dialect(self.reward, self.judge)

    def __call__(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str], **_more: Any
    ) -> dict[str, Any]:
        """Rewards, scores (1 for a correct answer) and what to log, as tensors with one number per query.

        Raises `UsageError` where the reward lacks something, and for a query that does not begin with its prompt.
        """
        import torch

        responses = [self._response(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
        rewards, logs = _rewarded(self, list(zip(responses, prompts, labels, strict=True)))
        return {
            "rewards": torch.tensor(rewards),
            "scores": torch.tensor([log["correct"] for log in logs]),
            "extra_logs": {key: torch.tensor([log[key] for log in logs]) for key in logs[0]} if logs else {},
        }

    def _response(self, query: str, prompt: str) -> Response:
        _, found, text = query.partition(prompt)
        if not found:
            raise UsageError(f"a query does not hold its prompt, which begins {prompt[:60]!r}: nothing can be counted")
        ids = tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        finished = bool(ids) and ids[-1] == self.tokenizer.eos_token_id
        return Response(text, ids, finished=finished, start=starts_in(self.judge.dialect, prompt))


def reward_function(
    reward: str,
    *,
    tokenizer: Any,
    dialect: str = "think_tags",
    verifier: str = "auto",
    limit_tokens: int | None = None,
) -> OpenRlhfReward:
    """What ``reward_func`` of a file for OpenRLHF is to be; ``tokenizer`` is one, or the model's folder or name.

    ``limit_tokens`` is the trainer's ceiling of a response. Raises `UsageError` for a reward that reads the group,
    which OpenRLHF does not show here, and for what is not known.
    """
    opened = open_reward(reward, "OpenRLHF's reward")
    if opened.reads_group:
        raise UsageError(
            f"{reward} reads the other responses to a question, and OpenRLHF shows its reward function one at a time: "
            "use agent_executor instead"
        )
    if isinstance(tokenizer, str):
        tokenizer = _load_tokenizer(tokenizer)
    judge = Judge(by_name(dialect), tokenizer)
    return OpenRlhfReward(opened, tokenizer, judge, verifier, limit_tokens, memories_of(opened, limit_tokens))


@dataclass(slots=True)
class Meeting:
    """Where the responses to one question wait for each other."""

    under_way: int = 0
    """Still being generated."""
    arrived: list[tuple[Row, asyncio.Future[Rewarded]]] = field(default_factory=list)


@dataclass(slots=True)
class Meetings:
    """One per question that is being answered: responses to the same prompt and label at the same time are a group."""

    reward: LengthReward
    dialect: Dialect
    verifier: str
    limit_tokens: int | None
    memories: tuple[Memory, ...]
    open: dict[tuple[str, str], Meeting] = field(default_factory=lambda: defaultdict(Meeting))

    async def attend(self, prompt: str, label: str, tokenizer: Any, generate: Generate) -> dict[str, Any]:
        """Generate a response, and reward it when the last of its group is there."""
        meeting = self.open[prompt, label]
        meeting.under_way += 1
        future: asyncio.Future[Rewarded] = asyncio.get_running_loop().create_future()
        try:
            output = await generate()
            meeting.arrived.append(((_sampled(output, prompt, self.dialect), prompt, label), future))
        finally:
            # Also where generation fails: the others must not wait for this one.
            meeting.under_way -= 1
            if not meeting.under_way:
                del self.open[prompt, label]
                await self._close(meeting, tokenizer)
        value, log = await future
        output.update(reward=value, scores=log["correct"], extra_logs=log)
        return output

    async def _close(self, meeting: Meeting, tokenizer: Any) -> None:
        judge = Judge(self.dialect, tokenizer)
        maker = OpenRlhfReward(self.reward, tokenizer, judge, self.verifier, self.limit_tokens, self.memories)
        waiting = [future for _, future in meeting.arrived]
        try:
            # Judging may take long, and the engine generates on this loop.
            rewards, logs = await asyncio.to_thread(_rewarded, maker, [row for row, _ in meeting.arrived])
        except Exception as error:  # noqa: BLE001 - who waits must be told, whatever it was
            for future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for future, rewarded in zip(waiting, zip(rewards, logs, strict=True), strict=True):
            if not future.done():
                future.set_result(rewarded)


def agent_executor(
    base: type[Any],
    reward: str,
    *,
    dialect: str = "think_tags",
    verifier: str = "auto",
    limit_tokens: int | None = None,
) -> type[Any]:
    """A class derived from ``base``, OpenRLHF's `SingleTurnAgentExecutor`, that rewards whole groups.

    Responses to the same prompt and label that are under way at once are a group. ``limit_tokens`` is the trainer's
    ceiling of a response. Raises `UsageError` for what is not known.
    """
    opened = open_reward(reward, "OpenRLHF's reward")
    spoken, memories = by_name(dialect), memories_of(opened, limit_tokens)
    check_dialect(opened, Judge(spoken))
    meetings = Meetings(opened, spoken, verifier, limit_tokens, memories)

    class AgentExecutor(base):  # type: ignore[misc]
        """Generates as the base does."""

        def __init__(self) -> None:
            super().__init__(None)

        async def execute(
            self,
            prompt: str,
            label: str,
            sampling_params: Any,
            max_length: int,
            hf_tokenizer: Any,
            llm_engine: Any,
            images: Any = None,
        ) -> dict[str, Any]:
            base_execute = super().execute

            def generate() -> Awaitable[dict[str, Any]]:
                found: Awaitable[dict[str, Any]] = base_execute(
                    prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images
                )
                return found

            return await meetings.attend(prompt, label, hf_tokenizer, generate)

    return AgentExecutor


def _sampled(output: dict[str, Any], prompt: str, dialect: Dialect) -> Response:
    """The tokens that the model itself wrote."""
    ids = output["observation_tokens"]
    sampled = tuple(int(token) for start, end in output["action_ranges"] for token in ids[start:end])
    return Response("", sampled, finished=not output["truncated"], start=starts_in(dialect, prompt))


def _rewarded(maker: OpenRlhfReward, rows: Sequence[Row]) -> tuple[list[float], list[dict[str, float]]]:
    """Rewards and what to log, in the order of the rows; equal prompts and labels are a group."""
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, (_, prompt, label) in enumerate(rows):
        places[prompt, label].append(place)
    rewards, logs = [0.0] * len(rows), [dict[str, float]() for _ in rows]
    outcomes: list[Outcome] = []
    for (prompt, label), own in places.items():
        asked = _asked(maker, prompt, label)
        outcome = reward_group(maker.reward, maker.judge, asked, [rows[place][0] for place in own], maker.memories)
        outcomes.append(outcome)
        known = [reward for reward in outcome.rewards if reward is not None]
        for place, reward, rollout in zip(own, outcome.rewards, outcome.rollouts, strict=True):
            rewards[place] = sum(known) / max(len(known), 1) if reward is None else reward
            logs[place] = _log(rollout)
    observe(maker.memories, outcomes)
    return rewards, logs


def _asked(maker: OpenRlhfReward, prompt: str, label: str) -> Asked:
    known: dict[str, Any] = {}
    if label.lstrip().startswith("{"):
        try:
            known = json.loads(label)
        except json.JSONDecodeError:
            known = {}  # a reference that merely looks like an object
    reference = known.get("answer", label)
    task = Task(
        str(known.get("id", prompt)), (), reference, known.get("verifier", maker.verifier), known.get("metadata", {})
    )
    tokens, accuracy = known.get("reference_tokens"), known.get("reference_accuracy")
    start_model = None if tokens is None or accuracy is None else Reference(float(tokens), float(accuracy))
    return Asked(task, known.get("wanted_tokens"), maker.limit_tokens, start_model)


def _log(rollout: Rollout | None) -> dict[str, float]:
    if rollout is None:
        return {"judged": 0.0, "correct": 0.0, "total_tokens": 0.0, "thinking_tokens": 0.0}
    return {
        "judged": 1.0,
        "correct": float(rollout.correct),
        "total_tokens": float(rollout.total_tokens),
        "thinking_tokens": float(rollout.thinking_tokens),
    }


def _load_tokenizer(name: str) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise UsageError("the tokenizer is loaded with transformers: pip install 'taut[transformers]'") from None
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot load the tokenizer {name}: {str(error).splitlines()[0]}") from None
