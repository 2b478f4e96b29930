"""What a recipe says: one dataclass a section of the TOML file, every key with its unit and its default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from taut.errors import UsageError

Kind = Literal["sft", "rl", "dpo", "distill"]
Advantage = Literal[
    "paper",
    "group_normalised",
    "mean_centred",
    "leave_one_out",
    "direct",
    "difficulty_weighted",
    "set_standardised",
]


@dataclass(frozen=True, slots=True)
class ModelPart:
    """``[model]``: where the weights come from."""

    path: str
    """A local folder, or a name on the Hugging Face hub."""
    dtype: str | None = None
    """Of the weights in memory; by default float32, and for LoRA on a GPU the checkpoint's own."""
    dialect: str | None = None
    """How the model marks its thinking; by default found from its chat template."""


@dataclass(frozen=True, slots=True)
class DataPart:
    """``[data]``: what is trained on."""

    train: tuple[str, ...] = ()
    """JSONL files of examples; for ``rl`` of questions."""
    validation: tuple[str, ...] = ()
    """JSONL files of examples whose loss is told during training."""
    tasks: tuple[str, ...] = ()
    """For ``rl`` and ``distill``: task sets with options, ``reasoning_gym:chain_sum?difficulty=easy&limit=500``."""
    shares: tuple[float, ...] = ()
    """How much of the questions comes from each of ``tasks``, then of ``train``; without them all are taken."""
    limit: int | None = None
    """Rows or questions to take; all without it."""


@dataclass(frozen=True, slots=True)
class LoraPart:
    """``[lora]``: train a low-rank adapter; without the section every weight is trained."""

    rank: int = 16
    """Width of the matrices that are learnt beside each layer."""
    alpha: int = 32
    """The adapter is scaled by alpha / rank."""
    dropout: float = 0.0
    """Share of the adapter's inputs that is left out while training."""
    target_modules: tuple[str, ...] = ("all-linear",)
    """Names of the layers that get an adapter."""


@dataclass(frozen=True, slots=True)
class HeldOutPart:
    """``[held_out]``: questions that the model in training answers now and then, judged by Taut's verifiers."""

    tasks: tuple[str, ...]
    """Task sets with options, or JSONL files of questions."""
    every_steps: int = 50
    """Also asked before the first step and after the last of each stage."""
    samples: int = 1
    """Answers per question."""
    temperature: float = 0.0
    """0 takes the likeliest token."""
    max_tokens: int = 1024
    """Ceiling of an answer, thinking included."""
    batch_size: int = 16
    """Answers generated at once on a device."""
    seed: int = 0
    """Of the draws, where the temperature is above 0."""
    instruction: str = ""
    """Added to every question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Keys that ``[sft]``, ``[rl]``, ``[dpo]`` and ``[distill]`` share."""

    learning_rate: float = 2e-5
    """Of AdamW, at its highest; small models and LoRA want ten times as much or more."""
    epochs: float | None = None
    """Times through the data; 1 where neither this nor ``steps`` is given."""
    steps: int | None = None
    """Optimiser steps; counts before ``epochs``."""
    batch_size: int = 16
    """Examples (pairs, or questions) per optimiser step, on all devices together."""
    device_batch_size: int | None = None
    """Examples (or rollouts) in memory at once on a device; by default all, at most 8. Lower it where memory ends."""
    seed: int = 0
    """Of the order of the data, of dropout and of rollouts."""
    warmup_share: float = 0.0
    """Share of the steps in which the learning rate rises."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """What the learning rate does after that."""
    weight_decay: float = 0.0
    """Of AdamW."""
    max_gradient_norm: float = 1.0
    """A longer gradient is cut to this length."""
    log_every_steps: int = 1
    """Steps from one line of ``log.jsonl`` to the next."""
    checkpoint_every_steps: int = 100
    """Steps from one checkpoint to the next; the last step and a stop make one too."""
    keep_checkpoints: int = 2
    """Older ones are deleted; at least 1."""
    gradient_checkpointing: bool = False
    """Less memory for a fifth more time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfExamples(Settings):
    """What is trained on rows that are there already has a longest length."""

    max_length_tokens: int = 1024
    """Prompt and completion together; longer examples are left out and counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sft(OfExamples):
    """``[sft]``: supervised fine-tuning on prompt and completion, the loss on the completion only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dpo(OfExamples):
    """``[dpo]``: pairs of a chosen and a rejected completion."""

    learning_rate: float = 1e-6
    loss: Literal["sigmoid", "simpo", "sigmoid_norm", "ipo", "hinge", "robust", "apo_zero", "apo_down", "sft"] = (
        "sigmoid"
    )
    """``simpo`` needs no reference model, and is what DAST trains with."""
    beta: float = 0.1
    """How strongly the loss pulls; SimPO's authors take 2 to 2.5."""
    margin: float = 0.5
    """SimPO's gamma: by how much the chosen one's score is to lead."""
    label_smoothing: float = 0.0
    """For ``robust``: the share of pairs that stand the wrong way round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rl(Settings):
    """``[rl]``: GRPO and its relatives with a length reward."""

    reward: str
    """``l1_max(alpha=0.001)``: a length reward and its parameters ('taut list')."""
    learning_rate: float = 1e-6
    batch_size: int = 8
    """Questions per optimiser step; each has ``num_generations`` rollouts."""
    num_generations: int = 8
    """Rollouts of each question: the group that a reward compares."""
    max_completion_tokens: int = 1024
    """A rollout is cut here."""
    temperature: float = 1.0
    """Of the rollouts."""
    top_p: float = 1.0
    """Rollouts draw from the likeliest tokens that together have this probability."""
    advantage: Advantage = "paper"
    """How rewards become advantages; ``paper`` is what the reward's paper does."""
    loss: Literal["grpo", "dr_grpo", "dapo", "bnpo"] = "dapo"
    """How the loss is averaged over tokens."""
    kl_weight: float = 0.0
    """GRPO's beta: the pull back to the start model, which is kept in memory where this is above 0."""
    clip_low: float = 0.2
    """How far below 1 the ratio of new to old probabilities still counts; it matters with ``iterations`` above 1."""
    clip_high: float = 0.2
    """How far above."""
    iterations: int = 1
    """Optimiser passes over each batch of rollouts."""
    instruction: str | None = None
    """Added to every question; ``{limit_tokens}`` is the ceiling, ``{wanted_tokens}`` the length asked for. By default
    nothing, and `` Think for {wanted_tokens} tokens.`` where the reward needs the latter; an empty one adds nothing
    there either."""
    wanted_tokens: tuple[int, int] | None = None
    """Lengths to ask for are drawn from this range, one a question, where its row names none."""
    reference: str | None = None
    """``traces.jsonl`` of the start model; without it a reward that needs statistics has them measured first."""
    reference_samples: int = 8
    """Answers per question for that."""
    penalty_after_steps: int = 0
    """Before that only correctness is rewarded."""
    no_thinking_share: float | None = None
    """Share of every group's rollouts whose thinking is closed as soon as it begins; by default half of them where the
    reward compares thinking with not thinking, else none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distill(OfExamples):
    """``[distill]``: supervised fine-tuning on the traces of a stronger model."""

    traces: tuple[str, ...] = ()
    """Files ``traces.jsonl`` of the teacher."""
    teacher: str | None = None
    """An engine that answers ``data.tasks`` first, where there are no traces yet."""
    rollouts: int = 1
    """Answers of the teacher per question."""
    concurrency: int = 4
    """Questions that the teacher answers at once."""
    temperature: float | None = None
    """Of the teacher; its own by default."""
    max_tokens: int = 4096
    """Ceiling of a teacher's answer."""
    only_correct: bool = True
    """``false`` learns wrong answers too, and those that were not scored."""
    builder: str = ""
    """How traces become examples, as in 'taut data': ``shortest_correct``; by default every right answer is one."""


SECTIONS: Mapping[Kind, type[Settings]] = {"sft": Sft, "rl": Rl, "dpo": Dpo, "distill": Distill}


@dataclass(frozen=True, slots=True)
class Stage:
    """``[[stages]]``: a part of the training with an optimiser of its own."""

    settings: Settings
    """The recipe's, with what the stage says otherwise."""
    name: str = ""
    train: tuple[str, ...] = ()
    """Files of its own; the recipe's by default."""
    stage: int | str | None = None
    """Only rows with this value in their column ``stage``; all by default."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole recipe, as resolved."""

    kind: Kind
    model: ModelPart
    settings: Settings
    data: DataPart = DataPart()
    lora: LoraPart | None = None
    held_out: HeldOutPart | None = None
    stages: tuple[Stage, ...] = ()
    table: Mapping[str, Any] = field(default_factory=dict)
    """The same as TOML data, defaults included."""


LEAST: Mapping[str, float] = {
    "batch_size": 1,
    "device_batch_size": 1,
    "steps": 1,
    "max_length_tokens": 2,
    "log_every_steps": 1,
    "checkpoint_every_steps": 1,
    "keep_checkpoints": 1,
    "num_generations": 2,
    "max_completion_tokens": 1,
    "iterations": 1,
    "reference_samples": 1,
    "every_steps": 1,
    "samples": 1,
    "max_tokens": 1,
    "rollouts": 1,
    "concurrency": 1,
    "rank": 1,
    "learning_rate": 0,
    "temperature": 0,
    "warmup_share": 0,
    "limit": 1,
    "beta": 0,
    "no_thinking_share": 0,
    "penalty_after_steps": 0,
    "kl_weight": 0,
    "clip_low": 0,
    "clip_high": 0,
    "margin": 0,
    "label_smoothing": 0,
    "weight_decay": 0,
    "seed": 0,
    "dropout": 0,
}
MOST: Mapping[str, float] = {
    "warmup_share": 1,
    "no_thinking_share": 1,
    "top_p": 1,
    "label_smoothing": 0.49,
    "seed": 2**32 - 1,
    "dropout": 0.99,
    "rank": 8192,
}
ABOVE_0: Mapping[str, tuple[str, ...]] = {"rl": ("top_p",), "dpo": ("beta",), "lora": ("alpha",)}
"""By section; ``epochs`` and ``max_gradient_norm`` in all of them."""


LOWEST_TEMPERATURE = 0.01
"""Of rollouts: below, probabilities leave the range of a float."""
ONCE: Mapping[Kind, tuple[str, ...]] = {
    "sft": (),
    "dpo": (),
    "rl": ("reference", "reference_samples"),
    "distill": ("teacher", "traces", "rollouts", "concurrency", "max_tokens", "temperature", "only_correct", "builder"),
}
"""Keys of what comes before all stages, and so cannot differ between them."""


def check_ranges(section: Any, where: str) -> None:
    """Raise `UsageError` for a number that is out of its range, or none at all."""
    for key in section.__dataclass_fields__:
        value = getattr(section, key)
        if not isinstance(value, int | float):
            continue
        if not math.isfinite(value):
            raise UsageError(f"{where}.{key} is {value}; it must be a finite number")
        if where == "rl" and key == "temperature" and value < LOWEST_TEMPERATURE:
            raise UsageError(f"rl.temperature is {value:g}; it must be at least {LOWEST_TEMPERATURE}")
        if key in ("epochs", "max_gradient_norm", *ABOVE_0.get(where, ())) and value <= 0:
            raise UsageError(f"{where}.{key} is {value:g}; it must be above 0")
        if value < LEAST.get(key, value) or value > MOST.get(key, value):
            limits = (("at least", LEAST), ("at most", MOST))
            bounds = [f"{words} {table[key]:g}" for words, table in limits if key in table]
            raise UsageError(f"{where}.{key} is {value:g}; it must be {' and '.join(bounds)}")
