"""Answers of a model in this process, in batches: for held-out questions and for statistics of the start model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig

from taut.core import Task
from taut.dialects import starts_in
from taut.train.adapters._judging import Judge, Response
from taut.train.models import Writer
from taut.train.sampling import chances, fits, sample


@dataclass(frozen=True, slots=True)
class Drawing:
    """How answers are drawn."""

    max_tokens: int
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    batch_size: int = 16
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Drawn:
    """One answer, judged."""

    question: str
    right: bool | None
    """``None``: not scored."""
    thinking_tokens: int
    total_tokens: int
    finished: bool
    """It ended by itself."""


def draw(model: Any, writer: Writer, tasks: Sequence[Task], samples: int, drawing: Drawing) -> list[Drawn]:
    """``samples`` answers to every question, question by question. Leaves the random numbers of training alone.

    On a CPU an answer depends on its question, its number and the seed, and on nothing that is drawn beside it. On a
    GPU transformers draws a batch from one row of random numbers.
    """
    prompts = [writer.prompt(task.messages) for task in tasks for _ in range(samples)]
    asked = [task for task in tasks for _ in range(samples)]
    seeds = [seed_of(task, number, drawing.seed) for task in tasks for number in range(samples)]
    found: list[Drawn | None] = [None] * len(asked)
    # Prompts of like length together waste the least on padding.
    order = sorted(range(len(asked)), key=lambda index: len(prompts[index]))
    with _aside(model, drawing.seed):
        for start in range(0, len(order), drawing.batch_size):
            batch = order[start : start + drawing.batch_size]
            replies = _generate(
                model, writer, [prompts[index] for index in batch], [seeds[index] for index in batch], drawing
            )
            for index, ids in zip(batch, replies, strict=True):
                found[index] = _judge(ids, asked[index], prompts[index], writer)
    return [drawn for drawn in found if drawn is not None]


def seed_of(task: Task, number: int, seed: int) -> int:
    """Of one answer: by what is asked, which of several answers it is, and the seed of all."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}:{task.id}".encode()).digest()[:7], "big")


@contextmanager
def _aside(model: Any, seed: int) -> Iterator[None]:
    """Evaluation mode, and random numbers of its own: training goes on as if nothing had been drawn."""
    was_training = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    model.eval()
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            torch.manual_seed(seed)
            yield
    finally:
        model.train(was_training)


def _generate(
    model: Any, writer: Writer, prompts: Sequence[str], seeds: Sequence[int], drawing: Drawing
) -> list[list[int]]:
    """Tokens of each reply, the one that ends it included."""
    ids = [writer.ids(prompt) for prompt in prompts]
    if fits(model):
        by = chances(seeds, drawing.max_tokens) if drawing.temperature else None
        return sample(model, ids, writer.end_ids, drawing.max_tokens, drawing.temperature, drawing.top_p, by=by)
    width, pad = max(map(len, ids)), writer.tokenizer.pad_token_id
    given = torch.tensor([[pad] * (width - len(row)) + row for row in ids], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=model.device)
    sampled = {"do_sample": True, "temperature": drawing.temperature, "top_p": drawing.top_p, "top_k": 0}
    config = GenerationConfig(
        max_new_tokens=drawing.max_tokens,
        eos_token_id=list(writer.end_ids),
        pad_token_id=pad,
        use_cache=True,
        **(sampled if drawing.temperature else {"do_sample": False}),
    )
    output = model.generate(input_ids=given, attention_mask=mask, generation_config=config)
    return [_up_to_end(row, writer.end_ids) for row in output[:, width:].tolist()]


def _up_to_end(ids: list[int], ends: tuple[int, ...]) -> list[int]:
    at = next((index for index, token in enumerate(ids) if token in ends), None)
    return ids if at is None else ids[: at + 1]


def _judge(ids: list[int], task: Task, prompt: str, writer: Writer) -> Drawn:
    finished = bool(ids) and ids[-1] in writer.end_ids
    response = Response("", tuple(ids), finished=finished, start=starts_in(writer.dialect, prompt))
    rollout = Judge(writer.dialect, writer.tokenizer).rollout(response, task)
    if rollout is None:
        return Drawn(task.id, None, 0, len(ids), finished)
    return Drawn(task.id, rollout.correct, rollout.thinking_tokens, rollout.total_tokens, finished)
