"""CPU time of drawing rollouts: `taut.train.sampling` beside transformers' ``generate``, taking turns.

    python benchmarks/rollout_sampling.py [--rollouts 64] [--rounds 3] [--threads 1]

Both draw the same number of answers of the model in the box at temperature 1, to the same training questions, until
each answer ends or is as long as the ceiling. Which answers a seed gives differs between the two, so the figure is CPU
time (user and system) per token drawn as well as per round. Needs the extra ``train``.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from _common import machine, median_and_spread, print_table, write_result
from transformers import AutoModelForCausalLM, AutoTokenizer

from taut import box
from taut.tasks import LoadOptions, load_tasks
from taut.train.sampling import sample

Draw = Callable[[Any, Sequence[Sequence[int]], int, int], list[list[int]]]


def own(model: Any, prompts: Sequence[Sequence[int]], end: int, most: int) -> list[list[int]]:
    """Rows leave the batch when they are done."""
    return sample(model, prompts, (end,), most, 1.0)


def generate(model: Any, prompts: Sequence[Sequence[int]], end: int, most: int) -> list[list[int]]:
    """Every row is computed until the longest is done."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    drawn = model.generate(
        ids,
        attention_mask=mask,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=most,
        eos_token_id=end,
        pad_token_id=0,
    )
    rows = drawn[:, width:].tolist()
    return [row[: row.index(end) + 1] if end in row else row for row in rows]


WAYS: dict[str, Draw] = {"taut.train.sampling": own, "transformers generate": generate}


def main() -> None:
    """Read the command line, draw, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=64, help="in one batch, 8 to a question (default: 64)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=768, help="ceiling of an answer (default: 768)")
    parser.add_argument("--out", type=Path, help="default: results/rollout_sampling.json")
    given = parser.parse_args()
    began = machine()
    torch.set_num_threads(given.threads)
    tokenizer = AutoTokenizer.from_pretrained(box.FOLDER)
    model = AutoModelForCausalLM.from_pretrained(box.FOLDER, dtype=torch.float32).eval()
    tasks = load_tasks("tally", LoadOptions(split="train", limit=-(-given.rollouts // 8)))
    asked = [
        tokenizer.apply_chat_template(list(task.messages), add_generation_prompt=True, return_dict=False)
        for task in tasks
        for _ in range(8)
    ][: given.rollouts]
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    tokens = dict.fromkeys(WAYS, 0)
    for seed in range(given.rounds):
        for name, draw in WAYS.items():
            torch.manual_seed(seed)
            before = _cpu_seconds()
            drawn = draw(model, asked, tokenizer.eos_token_id, given.max_tokens)
            seconds[name].append(_cpu_seconds() - before)
            tokens[name] += sum(map(len, drawn))
    rows = [
        {
            "way": name,
            "cpu_s_a_round": median_and_spread(spent, 2)["median"],
            "tokens_a_round": round(tokens[name] / given.rounds),
            "cpu_ms_a_token": round(1000 * sum(spent) / tokens[name], 3),
        }
        for name, spent in seconds.items()
    ]
    print_table(f"{given.rollouts} rollouts, {given.threads} threads, {given.rounds} rounds", rows)
    write_result("rollout_sampling", began, {"rows": rows}, given.out)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
