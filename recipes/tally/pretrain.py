"""Trains Tally from nothing on the CPU: `python recipes/tally/pretrain.py --out build/tally`.

Run it again to go on from the last checkpoint. The learning rate is held, and let down over the last part; a longer
run is had by giving more ``--tokens`` before that part begins. Needs the extra ``train``, and a C++ compiler for
``--compile``.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from examples import Example, example
from tokenizer import make_tokenizer
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LENGTHS = (96, 160, 224, 320, 448, 640, 832)
"""Examples are padded to the next of these, so that few shapes occur."""
BATCH_TOKENS = 8192
LEARNING_RATE = 3e-3
WARM_UP_STEPS = 200
CHUNK = 4096
"""Examples made at a time, then sorted by length."""
PHASES = (
    # share of all tokens, weights of easy, medium and hard questions, most checks of a thought
    (0.13, (6, 3, 0), 0),
    (0.30, (3, 4, 3), 1),
    (1.00, (3, 4, 4), None),
)
"""Short thoughts first: sums are learnt from them, checking is learnt later."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    out: Path
    tokens: int
    decay_share: float
    seed: int
    compile: bool
    save_every_s: float


def config(vocabulary: int) -> LlamaConfig:
    """Two million parameters: what two cores can train in an hour or two."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        rope_theta=10_000.0,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
        attn_implementation="sdpa",
    )


def batches(
    tokenizer: PreTrainedTokenizerFast, options: Options, done: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches (ids, labels), each of one length; ``done`` tokens were trained on before."""
    chunk_index = done // BATCH_TOKENS
    while True:
        share = done / options.tokens
        _, grades, most_checks = next(phase for phase in PHASES if share < phase[0] or phase is PHASES[-1])
        rng = random.Random(f"pretrain/{options.seed}/{chunk_index}")
        chunk_index += 1
        rows = _encode(tokenizer, [example(rng, grades=grades, most_checks=most_checks) for _ in range(CHUNK)])
        made = _batched(rows, rng)
        for batch in made:
            yield batch
            done += batch[0].numel()


def _encode(tokenizer: PreTrainedTokenizerFast, examples: list[Example]) -> list[tuple[list[int], list[int]]]:
    given = tokenizer([item.prompt + item.given for item in examples], add_special_tokens=False)["input_ids"]
    learnt = tokenizer([item.learnt for item in examples], add_special_tokens=False)["input_ids"]
    return [(before + after, [-100] * len(before) + after) for before, after in zip(given, learnt, strict=True)]


def _batched(rows: list[tuple[list[int], list[int]]], rng: random.Random) -> list[tuple[torch.Tensor, torch.Tensor]]:
    made = []
    for shortest, longest in zip((0, *LENGTHS), LENGTHS, strict=False):
        fit = [row for row in rows if shortest < len(row[0]) <= longest]
        size = BATCH_TOKENS // longest
        for start in range(0, len(fit) - size + 1, size):
            ids = torch.zeros(size, longest, dtype=torch.long)
            labels = torch.full((size, longest), -100)
            for index, (tokens, targets) in enumerate(fit[start : start + size]):
                ids[index, : len(tokens)] = torch.tensor(tokens)
                labels[index, : len(targets)] = torch.tensor(targets)
            made.append((ids, labels))
    rng.shuffle(made)
    return made


def optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside, AdamW for the embedding and the norms."""
    inside = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(inside, lr=LEARNING_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def rate(step: int, done: int, options: Options) -> float:
    """The learning rate at ``done`` tokens: up, level, and down to a fiftieth over the last share."""
    left = (options.tokens - done) / (options.tokens * options.decay_share)
    return LEARNING_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * min(1.0, max(0.02, left))


def train(options: Options) -> None:
    """Train to ``options.tokens``, saving as it goes."""
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(options.out)
    model = LlamaForCausalLM(config(len(tokenizer)))
    optims = optimizers(model)
    done, step = _resume(options, model, optims)

    def loss_of(ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=ids, use_cache=False).logits
        return functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100
        )

    if options.compile:
        torch._dynamo.config.cache_size_limit = 32
        loss_of = torch.compile(loss_of, dynamic=False)
    losses, started, begun, saved = [], time.monotonic(), done, time.monotonic()
    for ids, labels in batches(tokenizer, options, done):
        loss = loss_of(ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = rate(step, done, options)
            optim.step()
            optim.zero_grad()
        losses.append(loss.item())
        done, step = done + ids.numel(), step + 1
        if step % 50 == 0:
            speed = (done - begun) / (time.monotonic() - started)
            left_min = (options.tokens - done) / speed / 60
            line = {"step": step, "tokens": done, "loss": sum(losses) / len(losses), "lr": rate(step, done, options)}
            with (options.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(
                f"{done / 1e6:7.2f} M tokens  loss {line['loss']:.4f}  {speed:6.0f} tok/s  {left_min:4.0f} min left",
                flush=True,
            )
            losses = []
        if done >= options.tokens or time.monotonic() - saved > options.save_every_s:
            _save(options, model, optims, done, step)
            saved = time.monotonic()
        if done >= options.tokens:
            break


def _tokenizer(out: Path) -> PreTrainedTokenizerFast:
    """The run's own where it goes on: a changed text would make another one."""
    if (out / "tokenizer.json").exists():
        return PreTrainedTokenizerFast.from_pretrained(out)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(out)
    return tokenizer


def _save(options: Options, model: LlamaForCausalLM, optims: list[torch.optim.Optimizer], done: int, step: int) -> None:
    state = {
        "done": done,
        "step": step,
        "model": model.state_dict(),
        "optims": [optim.state_dict() for optim in optims],
    }
    torch.save(state, options.out / "checkpoint.new")
    (options.out / "checkpoint.new").replace(options.out / "checkpoint.pt")
    model.save_pretrained(options.out)


def _resume(options: Options, model: LlamaForCausalLM, optims: list[torch.optim.Optimizer]) -> tuple[int, int]:
    path = options.out / "checkpoint.pt"
    if not path.exists():
        return 0, 0
    state = torch.load(path)
    model.load_state_dict(state["model"])
    for optim, saved in zip(optims, state["optims"], strict=True):
        optim.load_state_dict(saved)
    return state["done"], state["step"]


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/tally"))
    parser.add_argument("--tokens", type=float, default=42e6)
    parser.add_argument("--decay-share", type=float, default=0.35)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--save-every-s", type=float, default=300)
    given = parser.parse_args()
    train(Options(given.out, int(given.tokens), given.decay_share, given.seed, given.compile, given.save_every_s))


if __name__ == "__main__":
    main()
