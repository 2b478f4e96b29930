"""Everything that Taut asks of TRL: where its versions differ, this is the one file to mend."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.utils import logging as transformers_logging
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer
from trl.models.utils import unwrap_model_for_generation

from taut.errors import UsageError, one_line
from taut.train.models import Writer, processes
from taut.train.recipe import Dpo, Rl, Settings
from taut.train.sampling import fits, sample

Rows = Sequence[dict[str, Any]]
Callbacks = list[TrainerCallback]
WEIGHS_PARTS_ALIKE = "bnpo"
"""The loss that is averaged within each part of a step: which rollouts share a part changes it."""
MOST_AT_ONCE = 8
"""Examples in memory at once on a device, where the recipe does not say."""


class ExampleTrainer(SFTTrainer):  # type: ignore[misc]
    """`SFTTrainer`, which writes no page into the folder of checkpoints."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None."""


def sft_trainer(
    model: Any, writer: Writer, settings: Settings, folder: Path, rows: Rows, validation: Rows, callbacks: Callbacks
) -> Any:
    """TRL's trainer for supervised fine-tuning, on rows that are tokens already."""
    arguments = SFTConfig(max_length=None, **_common(settings, folder, settings.batch_size, bool(validation)))
    return _quiet(
        ExampleTrainer(
            model=model,
            args=arguments,
            processing_class=writer.tokenizer,
            train_dataset=_dataset(rows),
            eval_dataset=_dataset(validation) if validation else None,
            callbacks=callbacks,
        )
    )


class PairTrainer(DPOTrainer):  # type: ignore[misc]
    """`DPOTrainer` on rows that are tokens already; their reference log-probabilities may be given."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """No page in the folder of checkpoints."""


def dpo_trainer(
    model: Any, writer: Writer, settings: Dpo, folder: Path, rows: Rows, validation: Rows, callbacks: Callbacks
) -> Any:
    """TRL's trainer for preference pairs."""
    simpo = settings.loss == "simpo"
    arguments = DPOConfig(
        max_length=None,
        loss_type=["sigmoid_norm" if simpo else settings.loss],
        beta=settings.beta,
        label_smoothing=settings.label_smoothing,
        precompute_ref_log_probs=simpo,
        **_common(settings, folder, settings.batch_size, bool(validation)),
    )
    sets = [_dataset(_with_margin(part, settings) if simpo else part) if part else None for part in (rows, validation)]
    trainer = PairTrainer(
        model=model,
        args=arguments,
        processing_class=writer.tokenizer,
        train_dataset=sets[0],
        eval_dataset=sets[1],
        callbacks=callbacks,
    )
    return _quiet(trainer)


def _with_margin(rows: Rows, settings: Dpo) -> Rows:
    """SimPO through the length-normalised loss, -log sigmoid(beta (chosen - rejected)): with no reference model, and
    one that gives each chosen token gamma / beta, its argument is beta (mean log p - mean log p) - gamma.
    """
    lead = settings.margin / settings.beta
    return [{**row, "ref_chosen_logps": lead * len(row["chosen_ids"]), "ref_rejected_logps": 0.0} for row in rows]


class RolloutTrainer(GRPOTrainer):  # type: ignore[misc]
    """`GRPOTrainer` with advantages made as a reward's paper makes them, and a prefix forced on some rollouts."""

    advantages_of: Callable[[], Sequence[Any] | None] | None = None
    """Gives the advantages of the rewards just given, one number a rollout or one a token; ``None`` leaves TRL's."""
    forced_ids: tuple[int, ...] = ()
    """Tokens that the last ``forced`` rollouts of every group begin with."""
    forced: int = 0
    _buffered_inputs: Any
    """TRL's own: the rollouts of a step in parts."""

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        own = self.advantages_of() if self.advantages_of is not None and self.model.training else None
        if own is not None:
            output["advantages"] = _as_tensor(own, output)
        return output

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        parts = self._buffered_inputs
        if parts is before or self.loss_type == WEIGHS_PARTS_ALIKE:
            return inputs
        self._buffered_inputs = by_length(parts)
        return self._buffered_inputs[self._step % len(parts)]

    def _generate_single_turn(self, prompt_ids: Any, *others: Any, **more: Any) -> Any:
        begun = [self._beginning(index) for index in range(len(prompt_ids))]
        given = [[*ids, *start] for ids, start in zip(prompt_ids, begun, strict=True)]
        if fits(self.accelerator.unwrap_model(self.model_wrapped)):
            completions, logprobs = self._sample(given), None
        else:
            completions, logprobs = super()._generate_single_turn(given, *others, **more)
        # What was forced is part of the completion: the choice to begin so is what is to be learned.
        return [[*start, *ids] for start, ids in zip(begun, completions, strict=True)], logprobs

    def _sample(self, prompt_ids: Sequence[Sequence[int]]) -> list[list[int]]:
        ends, args = self.args.generation_kwargs["eos_token_id"], self.args
        with unwrapped(self) as model:
            return sample(model, prompt_ids, ends, args.max_completion_length, args.temperature, args.top_p)

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        return super()._compute_loss(model, trimmed(inputs))

    def _beginning(self, index: int) -> tuple[int, ...]:
        at = index % self.num_generations
        return self.forced_ids if self.model.training and at >= self.num_generations - self.forced else ()

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """No page in the folder of checkpoints."""


def by_length(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rollouts of a step parted anew, the short ones together, so that `trimmed` leaves little padding.

    All parts are of one size, and their gradients are summed before the optimiser steps: only the cost changes.
    """
    size = len(parts[0]["completion_mask"])
    lengths = torch.cat([part["completion_mask"].sum(dim=1) for part in parts])
    order = lengths.argsort(stable=True)

    def sort(name: str) -> Any:
        first = parts[0][name]
        if isinstance(first, torch.Tensor) and first.dim():
            return torch.cat([part[name] for part in parts])[order]
        if isinstance(first, list):
            together = [value for part in parts for value in part[name]]
            return [together[place] for place in order.tolist()]
        return None

    whole = {name: sort(name) for name in parts[0]}
    return [
        {
            name: part[name] if values is None else values[index * size : (index + 1) * size]
            for name, values in whole.items()
        }
        for index, part in enumerate(parts)
    ]


def trimmed(inputs: dict[str, Any]) -> dict[str, Any]:
    """Without the columns that are padding in every row.

    TRL pads to the longest of all rollouts of a step; the few that are in memory at once are mostly far shorter.
    """
    width = inputs["completion_mask"].size(1)
    used = inputs["completion_mask"].any(dim=0).nonzero()
    end = int(used.max()) + 1 if used.numel() else 1
    begin = int(inputs["prompt_mask"].any(dim=0).int().argmax())
    found = dict(inputs)
    for name, value in inputs.items():
        if name in ("prompt_ids", "prompt_mask"):
            found[name] = value[:, begin:]
        elif isinstance(value, torch.Tensor) and value.dim() == 2 and value.size(1) == width:
            found[name] = value[:, :end]
    return found


def _as_tensor(own: Sequence[Any], output: Any) -> Any:
    """One number a rollout, or one a token padded to the width of the batch."""
    ids = output["completion_ids"]
    if isinstance(own[0], int | float):
        return torch.tensor(own, dtype=torch.float32, device=ids.device)
    width = ids.size(1)
    rows = [[*row[:width], *[0.0] * (width - len(row))] for row in own]
    return torch.tensor(rows, dtype=torch.float32, device=ids.device)


def rl_trainer(
    model: Any, writer: Writer, settings: Rl, folder: Path, rows: Rows, reward: Any, callbacks: Callbacks
) -> RolloutTrainer:
    """TRL's GRPO trainer with one reward function."""
    world = processes().num_processes
    if settings.batch_size % world:
        raise UsageError(
            f"rl.batch_size is {settings.batch_size} questions: it must be a multiple of {world} processes"
        )
    rollouts = settings.batch_size * settings.num_generations
    common = _common(settings, folder, rollouts, validates=False)
    # With several passes every batch of rollouts is used that often before the next is drawn.
    arguments = GRPOConfig(
        num_generations=settings.num_generations,
        max_completion_length=settings.max_completion_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        beta=settings.kl_weight,
        epsilon=settings.clip_low,
        epsilon_high=settings.clip_high,
        num_iterations=settings.iterations,
        loss_type=settings.loss,
        steps_per_generation=common["gradient_accumulation_steps"],
        generation_kwargs={"eos_token_id": list(writer.end_ids)},
        **common,
    )
    trainer = RolloutTrainer(
        model=model,
        reward_funcs=[reward],
        args=arguments,
        processing_class=writer.tokenizer,
        train_dataset=_dataset(rows),
        callbacks=callbacks,
    )
    _quiet(trainer)
    return trainer


def _common(settings: Settings, folder: Path, examples: int, validates: bool) -> dict[str, Any]:
    """What the configurations of all of TRL's trainers share."""
    at_once, accumulation = _split(examples, settings.device_batch_size, processes().num_processes)
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.epochs or 1.0,
        "max_steps": settings.steps or -1,
        "per_device_train_batch_size": at_once,
        "per_device_eval_batch_size": at_once,
        "gradient_accumulation_steps": accumulation,
        "seed": settings.seed,
        "warmup_steps": settings.warmup_share if settings.warmup_share < 1 else 0.999,
        "lr_scheduler_type": settings.schedule,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_gradient_norm,
        "logging_steps": settings.log_every_steps,
        "logging_nan_inf_filter": False,
        "save_steps": settings.checkpoint_every_steps,
        "save_total_limit": settings.keep_checkpoints,
        "eval_strategy": "steps" if validates else "no",
        "eval_steps": settings.checkpoint_every_steps if validates else None,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "bf16": on_gpu and torch.cuda.is_bf16_supported(),
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "ddp_find_unused_parameters": False,
        "report_to": "none",
        "disable_tqdm": True,
    }


def _split(examples: int, at_once: int | None, world: int) -> tuple[int, int]:
    """How many are in memory at once on a device, and how often that is done for one optimiser step."""
    if examples % world:
        raise UsageError(f"batch_size is {examples}: it must be a multiple of the {world} processes")
    share = examples // world
    most = min(at_once or MOST_AT_ONCE, share)
    fitting = next(count for count in range(most, 0, -1) if share % count == 0)
    return fitting, share // fitting


def _dataset(rows: Rows) -> Any:
    try:
        return datasets.Dataset.from_list(list(rows))
    except (ValueError, TypeError) as error:
        raise UsageError(f"the rows do not have the same types in the same columns: {one_line(error)}") from None


def _quiet(trainer: Any) -> Any:
    """The trainer without the libraries' own output, and with the start model as its reference.

    TRL takes an adapter's copy for the reference: in a run that goes on that would be the checkpoint's. Without the
    copy it switches the adapter off.
    """
    if "ref" in getattr(trainer.model, "peft_config", ()):
        trainer.model.delete_adapter("ref")
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    return trainer


@contextmanager
def unwrapped(trainer: Any) -> Iterator[Any]:
    """The model in training, ready to generate on every process."""
    with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
        yield model


@contextmanager
def silence() -> Iterator[None]:
    """No bars, warnings and notes of the libraries while the block runs: they would tear apart what is shown."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    level, bars = transformers_logging.get_verbosity(), datasets.are_progress_bars_disabled()
    loud = [logging.getLogger(name) for name in ("trl", "accelerate", "peft", "torch.distributed")]
    levels = [logger.level for logger in loud]
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    for logger in loud:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()
        if not bars:
            datasets.enable_progress_bars()
        for logger, before in zip(loud, levels, strict=True):
            logger.setLevel(before)
