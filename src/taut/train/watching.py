"""What Taut does beside TRL's loop: the log, held-out accuracy, whole checkpoints, and stopping where one can go on."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import TrainerCallback

from taut.errors import UsageError
from taut.train.held_out import HeldOut, Standing, standing
from taut.train.models import Writer
from taut.train.progress import Progress
from taut.train.run_folder import Checkpoint, RunFolder, append, mark, read_log
from taut.train.trainers import unwrapped

NAMES: Mapping[str, str] = {
    "loss": "loss",
    "eval_loss": "validation_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
    "entropy": "entropy",
    "mean_token_accuracy": "token_accuracy",
    "reward": "reward",
    "reward_std": "reward_deviation",
    "kl": "kl",
    "frac_reward_zero_std": "groups_without_signal",
    "completions/mean_length": "completion_tokens",
    "completions/clipped_ratio": "truncated_share",
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "pairs_in_order",
    "taut/accuracy": "correct_share",
    "taut/thinking_tokens": "rollout_thinking_tokens",
    "taut/not_judged": "not_judged_share",
}
"""TRL's names of what is logged, and those of ``log.jsonl``."""
MOSTLY = 0.5
"""From this share of truncated rollouts on the ceiling is said to be too low."""
LINES_UNTIL_PLAIN = 5
"""Of the log, before that is said."""
CUT = "were cut at max_completion_tokens, and a cut answer is a wrong one: raise it, or go on if that is meant"
NOT_JUDGED = "could not be judged, and nothing is learnt from them: do the questions' answers fit their verifier?"
STOPPING = b"\ntaut: stopping once this step is done; the same again ends at once, with the last checkpoint kept\n"


@dataclass(slots=True)
class Stop:
    """Set by the first Ctrl-C; the second one interrupts at once."""

    wanted: bool = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals while the block runs. Only the main thread of a program gets them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        # Not through a stream of Python's, which the signal may have interrupted in the middle of a line.
        os.write(2, STOPPING)


@dataclass(slots=True)
class Watch(TrainerCallback):  # type: ignore[misc]
    """One stage's eyes and hands; TRL's trainer calls it."""

    run: RunFolder
    writer: Writer
    progress: Progress
    stop: Stop
    stage: int
    steps_before: int
    tokens_before: int
    is_first: bool
    held_out: HeldOut | None = None
    reward_state: Callable[[], Any] | None = None
    trainer: Any = None
    """Set once it is made."""
    tokens: int = 0
    truncated: list[float] = field(default_factory=list)
    not_judged: list[float] = field(default_factory=list)
    began_s: float = field(default_factory=time.monotonic)
    checkpoint: Checkpoint | None = None
    """The last one that was saved."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show where the stage stands; ask the held-out questions of a run that is new.

        Raises `KeyboardInterrupt` where it is to stop with nothing learnt yet: there is nothing to keep.
        """
        self.tokens = self.tokens_before
        # Some of TRL's trainers go on counting in a run that goes on, others begin anew.
        self.tokens_before -= int(state.num_input_tokens_seen)
        self.progress.begin(state.global_step, state.max_steps, self.tokens)
        if self.is_first and state.global_step == 0:
            if self.held_out is not None:
                self.progress.say(f"asking the start model {len(self.held_out.tasks):,} held-out questions")
            self._ask(state)
            if self._is_stopped():
                raise KeyboardInterrupt

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Ask held-out questions and decide on a checkpoint."""
        if state.global_step % args.logging_steps:
            self.progress.step(state.global_step)
        is_last = state.global_step >= state.max_steps
        if self.held_out and (state.global_step % self.held_out.part.every_steps == 0 or is_last):
            self._ask(state)
        if self._is_stopped():
            control.should_training_stop = True
        if is_last or control.should_training_stop or state.global_step % args.save_steps == 0:
            self._check_finite(kwargs["model"], state)
            # A loss is the mean since the last line: with a line here, a run that goes on has the same curve.
            control.should_log = control.should_save = True
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write a line of the log. Raises `UsageError` where the loss is no number any more."""
        logs = logs or {}
        line = {NAMES[name]: value for name, value in logs.items() if name in NAMES and value is not None}
        if not line:
            return
        if not math.isfinite(line.get("loss", 0.0)):
            raise UsageError(
                f"the loss is {line['loss']} at step {self.steps_before + state.global_step}: lower learning_rate; "
                f"{self.kept()}"
            )
        if "num_tokens" in logs:
            self.tokens = self.tokens_before + int(logs["num_tokens"])
        if "truncated_share" in line:
            self._take(self.truncated, line["truncated_share"], CUT)
            self._take(self.not_judged, line.get("not_judged_share", 0.0), NOT_JUDGED)
        self._write(state, {"tokens": self.tokens, **line})
        self.progress.log({"tokens": self.tokens, **line})
        self.progress.step(state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint as whole."""
        self.checkpoint = Checkpoint(
            Path(args.output_dir) / f"checkpoint-{state.global_step}",
            self.stage,
            state.global_step,
            self.steps_before,
            self.tokens,
            is_last=state.global_step >= state.max_steps,
            reward_state=None if self.reward_state is None else self.reward_state(),
        )
        if state.is_world_process_zero:
            mark(self.checkpoint)

    def _check_finite(self, model: Any, state: Any) -> None:
        """Raise `UsageError` before weights are kept that are no numbers any more."""
        if not all(bool(torch.isfinite(weights).all()) for weights in model.parameters() if weights.requires_grad):
            step = self.steps_before + state.global_step
            raise UsageError(f"the weights are no numbers any more at step {step}: lower learning_rate; {self.kept()}")

    def kept(self) -> str:
        """What is there of the run, as the end of a sentence."""
        if self.checkpoint is None:
            return "no checkpoint was saved yet"
        return f"the checkpoint of step {self.checkpoint.total_step} is kept in {self.checkpoint.path}"

    def _take(self, shares: list[float], share: float, words: str) -> None:
        """Remember the share of a step; say so as soon as it is plain that it is most of the rollouts."""
        shares.append(share)
        mean = sum(shares) / len(shares)
        if len(shares) == LINES_UNTIL_PLAIN and mean >= MOSTLY:
            self.progress.say(f"taut: {mean:.0%} of the rollouts so far {words}")

    def _ask(self, state: Any) -> None:
        if self.held_out is None:
            return
        accelerator = self.trainer.accelerator
        mine = self.held_out.mine(accelerator.process_index, accelerator.num_processes)
        with unwrapped(self.trainer) as model:
            drawn = self.held_out.ask(model, self.writer, mine)
        found: Standing = standing(gather_object(drawn) if accelerator.num_processes > 1 else drawn)
        if self.steps_before + state.global_step:
            found = found.against(self._start_thinking())
        self._write(state, {"held_out": found.as_line()})
        self.progress.held_out(f"{found.brief} (step {self.steps_before + state.global_step})")
        self.progress.say(f"step {self.steps_before + state.global_step}: held out {found}")

    def _start_thinking(self) -> Sequence[int]:
        """By question, from the log."""
        told = [line["held_out"] for line in read_log(self.run.log) if "held_out" in line]
        start: Sequence[int] = told[0].get("thinking_by_question", ()) if told else ()
        return start

    def _write(self, state: Any, line: Mapping[str, Any]) -> None:
        if state.is_world_process_zero:
            seconds = round(time.monotonic() - self.began_s, 3)
            step = self.steps_before + state.global_step
            append(self.run.log, {"step": step, "stage": self.stage, "seconds": seconds, **line})

    def _is_stopped(self) -> bool:
        """Whether any process was asked to stop: all must do so at the same step."""
        accelerator = self.trainer.accelerator
        if accelerator.num_processes == 1:
            return self.stop.wanted
        flag = torch.tensor(float(self.stop.wanted), device=accelerator.device)
        self.stop.wanted = bool(accelerator.reduce(flag, reduction="sum").item())
        return self.stop.wanted
