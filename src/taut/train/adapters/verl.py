"""verl: length rewards in its reward loop and among its advantage estimators (read in verl 0.9.1).

There, the reward of a response is asked for one response at a time, by one of several workers that share nothing; the
others of its question are first seen where advantages are made. So there are three ways in:

- A reward that reads one response (`LengthReward.reads_group` is false) is a reward manager, `VerlRewardManager`::

      reward.reward_manager.source=importlib reward.reward_manager.name=VerlRewardManager
      reward.reward_manager.module.path=pkg://taut.train.adapters.verl
      '+reward.reward_kwargs.taut={reward: "l1_max(alpha=0.001)", limit_tokens: 4096}'

- One that reads the group is an advantage estimator, `VerlAdvantage`, over plain correctness from `compute_score`. It
  makes the advantage as the paper does. In a module of your own, named in ``VERL_USE_EXTERNAL_MODULES``::

      register_adv_est("taut")(VerlAdvantage("arora_zanette", limit_tokens=4096))

  with ``algorithm.adv_estimator=taut``, ``algorithm.use_kl_in_reward=False``, and
  ``reward.custom_reward_function.path=pkg://taut.train.adapters.verl`` (its name is ``compute_score`` by default).
- Older verl hands the whole batch to a reward manager: `VerlBatchRewardManager` takes every reward.

verl has no way to say that an answer could not be judged. One response alone gets 0 and ``judged`` 0 in its extra info;
in a batch it gets the mean of its group, which moves nothing.

What is known of a question is read from ``reward_model.ground_truth`` and ``extra_info``: ``verifier``, ``id`` or
``index``, ``metadata``, ``wanted_tokens``, ``reference_tokens``, ``reference_accuracy``.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from taut.core import Task
from taut.dialects import by_name
from taut.errors import UsageError, nearest
from taut.methods.model_based.advantages import advantages
from taut.rollouts import Group, LengthReward, Reference, Rollout
from taut.train.adapters._judging import Asked, Judge, Response
from taut.train.adapters._rewarding import check_dialect, memories_of, reward_group
from taut.train.rewards import open_reward

OPTIONS = ("reward", "verifier", "dialect", "limit_tokens")
"""Of ``reward.reward_kwargs.taut``."""
RIGHT = 0.5
"""A score above it is that of a correct answer."""


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    verifier: str = "auto",
    dialect: str = "think_tags",
    **_more: Any,
) -> dict[str, float]:
    """Right (1) or not (0), as verl's custom reward function; the answer is what stands behind the thinking.

    ``verifier`` and ``dialect`` come from ``reward.custom_reward_function.reward_kwargs``. Raises `UsageError` for a
    name that is not known.
    """
    task = _task(ground_truth, extra_info or {}, verifier, data_source)
    rollout = Judge(by_name(dialect)).rollout(Response(solution_str, total_tokens=0), task)
    score = float(rollout is not None and rollout.correct)
    return {"score": score, "acc": score, "judged": float(rollout is not None)}


class VerlRewardManager:
    """A reward manager of verl's reward loop, for rewards that read one response."""

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        """Read the options from ``config.reward.reward_kwargs.taut``. Raises `UsageError` for what does not fit."""
        options = _options((config.reward.get("reward_kwargs", None) or {}).get("taut", None) or {})
        self._reward = open_reward(options["reward"], "verl's reward.reward_kwargs.taut")
        if self._reward.reads_group:
            raise UsageError(
                f"{options['reward']} reads the other responses to a question, and verl's reward loop shows one at a "
                "time: register it as an advantage estimator (VerlAdvantage)"
            )
        workers = config.reward.get("num_workers", 1)
        if self._reward.needs & {"history", "targets"} and workers != 1:
            raise UsageError(
                f"{options['reward']} remembers earlier steps, and verl has {workers} reward workers that share "
                "nothing: set reward.num_workers=1"
            )
        self._limit_tokens = options["limit_tokens"]
        self._verifier = options["verifier"]
        self._judge = Judge(by_name(options["dialect"]), tokenizer)
        check_dialect(self._reward, self._judge)
        self._memories = memories_of(self._reward, self._limit_tokens)

    async def run_single(self, data: Any) -> dict[str, Any]:
        """The reward of the last response of ``data``, a DataProto. Raises `UsageError` where something lacks."""
        return await asyncio.to_thread(self._one, data[len(data) - 1])

    @classmethod
    def assemble_rm_scores(cls, data: Any, scores: Sequence[float]) -> Any:
        """The scores as a tensor with each at the last token of its response."""
        tensor = data.batch["responses"].float() * 0
        for row, score in enumerate(scores):
            tensor[row, max(_length(data[row]) - 1, 0)] = score
        return tensor

    def _one(self, item: Any) -> dict[str, Any]:
        asked, response = _read(item, self._verifier, self._limit_tokens)
        outcome = reward_group(self._reward, self._judge, asked, [response], self._memories)
        for memory in self._memories:
            memory.observe([outcome.group] if outcome.group.rollouts else [])
        (rollout,), (reward,) = outcome.rollouts, outcome.rewards
        return {"reward_score": reward or 0.0, "reward_extra_info": _facts(rollout)}


class VerlAdvantage:
    """An advantage estimator of verl: a length reward over the groups of a step, made into its paper's advantages.

    It sees tokens and correctness only: rewards that need more of a question, or of the thinking apart, are refused.
    """

    def __init__(self, reward: str | LengthReward, limit_tokens: int | None = None) -> None:
        """``limit_tokens`` is ``data.max_response_length``. Raises `UsageError` for a reward that needs more."""
        self._reward = open_reward(reward) if isinstance(reward, str) else reward
        self._limit_tokens = limit_tokens
        lacking = self._reward.needs - {"limit_tokens", "targets"}
        if lacking or getattr(self._reward, "of", "total") != "total":
            raise UsageError(
                f"verl's advantage estimators see no {', '.join(sorted(lacking)) or 'thinking tokens'}: use {reward!r} "
                "in a reward manager (VerlRewardManager)"
            )
        self._memories = memories_of(self._reward, limit_tokens)

    def __call__(
        self, token_level_rewards: Any, response_mask: Any, index: Sequence[Any], config: Any = None, **_more: Any
    ) -> tuple[Any, Any]:
        """Advantages and returns, of the shape of the mask; ``index`` names the question of each row."""
        lengths = [int(tokens) for tokens in response_mask.sum(-1).tolist()]
        corrects = [score > RIGHT for score in (token_level_rewards * response_mask).sum(-1).tolist()]
        places: dict[Any, list[int]] = defaultdict(list)
        for place, name in enumerate(index):
            places[name].append(place)
        groups = [self._group(str(name), [(lengths[i], corrects[i]) for i in rows]) for name, rows in places.items()]
        made = advantages(
            self._reward.advantage, [self._reward(group) for group in groups], [g.accuracy for g in groups]
        )
        for memory in self._memories:
            memory.observe(groups)
        values = response_mask.float() * 0
        for rows, group in zip(places.values(), made, strict=True):
            for row, value in zip(rows, group, strict=True):
                values[row] = value
        values = values * response_mask
        return values, values

    def _group(self, name: str, responses: Sequence[tuple[int, bool]]) -> Group:
        limit = self._limit_tokens
        rollouts = tuple(Rollout(0, tokens, right, limit is None or tokens < limit) for tokens, right in responses)
        group = Group(rollouts, name, limit_tokens=limit)
        for memory in self._memories:
            group = memory.fill(group)
        return group


class VerlBatchRewardManager:
    """A reward manager of older verl, which hands it the whole batch: takes every reward."""

    def __init__(
        self,
        tokenizer: Any,
        num_examine: int = 0,
        compute_score: Any = None,
        reward_fn_key: str = "data_source",
        **reward_kwargs: Any,
    ) -> None:
        """``reward_kwargs`` are ``reward``, ``verifier``, ``dialect`` and ``limit_tokens``. Raises `UsageError`."""
        options = _options(reward_kwargs)
        self._reward = open_reward(options["reward"], "verl's reward_kwargs")
        self._limit_tokens = options["limit_tokens"]
        self._verifier = options["verifier"]
        self._judge = Judge(by_name(options["dialect"]), tokenizer)
        check_dialect(self._reward, self._judge)
        self._memories = memories_of(self._reward, self._limit_tokens)

    def __call__(self, data: Any, return_dict: bool = False) -> Any:
        """Rewards as a tensor with each at the last token of its response; with extra info on request."""
        places: dict[Any, list[int]] = defaultdict(list)
        for place, name in enumerate(data.non_tensor_batch["uid"]):
            places[name].append(place)
        scores, facts = [0.0] * len(data), [dict[str, float]()] * len(data)
        outcomes = []
        for rows in places.values():
            read = [_read(data[row], self._verifier, self._limit_tokens) for row in rows]
            responses = [response for _, response in read]
            outcome = reward_group(self._reward, self._judge, read[0][0], responses, self._memories)
            outcomes.append(outcome)
            known = [reward for reward in outcome.rewards if reward is not None]
            for row, reward, rollout in zip(rows, outcome.rewards, outcome.rollouts, strict=True):
                scores[row] = sum(known) / max(len(known), 1) if reward is None else reward
                facts[row] = _facts(rollout)
        for memory in self._memories:
            memory.observe(outcome.group for outcome in outcomes if outcome.group.rollouts)
        tensor = VerlRewardManager.assemble_rm_scores(data, scores)
        if not return_dict:
            return tensor
        return {"reward_tensor": tensor, "reward_extra_info": {key: [row[key] for row in facts] for key in facts[0]}}


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    for key in given:
        if key not in OPTIONS:
            raise UsageError(f"verl: unknown option {key!r}{nearest(key, OPTIONS)}; known: {', '.join(OPTIONS)}")
    if "reward" not in given:
        raise UsageError('verl: the option reward is missing: +reward.reward_kwargs.taut.reward="l1_max(alpha=0.001)"')
    return {"verifier": "auto", "dialect": "think_tags", "limit_tokens": None, **given}


def _length(item: Any) -> int:
    """Tokens of a response without its padding."""
    return int(item.batch["attention_mask"][-item.batch["responses"].shape[-1] :].sum())


def _read(item: Any, verifier: str, limit_tokens: int | None) -> tuple[Asked, Response]:
    ids = tuple(int(token) for token in item.batch["responses"][: _length(item)].tolist())
    extra = item.non_tensor_batch.get("extra_info", None) or {}
    truth = item.non_tensor_batch["reward_model"].get("ground_truth", None)
    task = _task(truth, extra, verifier, str(item.non_tensor_batch.get("uid", "")))
    tokens, accuracy = extra.get("reference_tokens"), extra.get("reference_accuracy")
    reference = None if tokens is None or accuracy is None else Reference(float(tokens), float(accuracy))
    asked = Asked(task, extra.get("wanted_tokens"), limit_tokens, reference)
    return asked, Response("", ids, finished=limit_tokens is None or len(ids) < limit_tokens)


def _task(ground_truth: Any, extra: Mapping[str, Any], verifier: str, name: str) -> Task:
    own = next((str(extra[key]) for key in ("id", "index") if extra.get(key) is not None), name)
    metadata = extra.get("metadata") or {}
    known = json.loads(metadata) if isinstance(metadata, str) else metadata
    return Task(own, (), ground_truth, extra.get("verifier") or verifier, known)


def _facts(rollout: Rollout | None) -> dict[str, float]:
    """What verl writes into its log, the same keys for every response."""
    if rollout is None:
        return {"judged": 0.0, "acc": 0.0, "thinking_tokens": 0.0, "total_tokens": 0.0}
    return {
        "judged": 1.0,
        "acc": float(rollout.correct),
        "thinking_tokens": float(rollout.thinking_tokens),
        "total_tokens": float(rollout.total_tokens),
    }
