"""``README.md`` of a training run: what it is, what came of it, and the commands that use it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from taut.train.held_out import ratio_in_words
from taut.train.recipe import Recipe
from taut.train.run_folder import RunFolder
from taut.train.watching import MOSTLY

WORDS: Mapping[str, str] = {
    "sft": "Supervised fine-tuning",
    "dpo": "Preference training",
    "rl": "Reinforcement learning with a length reward",
    "distill": "Distillation from a stronger model's traces",
}
ADAPTER = """\
The folder `model/` is a LoRA adapter of `{base}`. To load it into a running vLLM that was started with
`--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`:

    taut adapter load {model} --engine http://127.0.0.1:8000

For llama.cpp merge it first, then write a GGUF file:

    taut adapter merge {model} --out {run}/merged
    taut export {run}/merged --out {run}/model.gguf
    taut bench --engine embedded:{run}/model.gguf {asked} --out {run}/after-gguf
"""
FULL = """\
The folder `model/` is a whole Hugging Face model. vLLM serves it with `vllm serve {model}`. For llama.cpp:

    taut export {model} --out {run}/model.gguf
    taut bench --engine embedded:{run}/model.gguf {asked} --out {run}/after-gguf
"""
PAGE = """\
# {title}

Trained from `{base}` with `taut train {kind}`; `recipe.toml` is the recipe, defaults included, `manifest.json` has the
versions and the machine, `log.jsonl` a line for every logged step, `curves.png` the picture.

{facts}

![curves](curves.png)

## What it changed
{unasked}
    taut bench --engine transformers:{base} {asked} --out {run}/before
    taut bench --engine transformers:{model} {asked} --out {run}/after
    taut compare before={run}/before after={run}/after --out {run}/compared

## Use it

{use}"""
WITHOUT_QUESTIONS = """
Put questions that were not trained on in the place of TASK, and the temperature that the model is to be used at:
"""
WITHOUT_INSTRUCTION = """
The held-out questions ended in {instruction!r}; these commands ask them without:
"""
UNKNOWN = "- Whether it got shorter, and what that cost, was not measured: the recipe has no `[held_out]`."


def write_page(
    recipe: Recipe, run: RunFolder, lines: Sequence[Mapping[str, Any]], says: Sequence[str], truncated: float
) -> None:
    """Write it."""
    names = {"base": recipe.model.path, "model": run.model, "run": run.path, "asked": _asked(recipe)}
    facts = [*(f"- Trained on: {text}" for text in says if text), *(_held_out(lines) or [UNKNOWN])]
    facts += _warnings(truncated)
    names["unasked"] = _unasked(recipe)
    use = (FULL if recipe.lora is None else ADAPTER).format(**names)
    text = PAGE.format(title=WORDS[recipe.kind], kind=recipe.kind, facts="\n".join(facts), use=use, **names)
    (run.path / "README.md").write_text(text, encoding="utf-8")


def _asked(recipe: Recipe) -> str:
    """The arguments of ``taut bench`` for the held-out questions, or for TASK where none are named."""
    part = recipe.held_out
    if part is None:
        return "--task TASK --limit 200 --temperature 0.6 --preset direct"
    name, _, query = part.tasks[0].partition("?")
    options = [f"--{key.replace('_', '-')} {value}" for key, value in parse_qsl(query) if key != "format_line"]
    if name.lower().endswith(".jsonl") or "format_line=false" in query.lower():
        options.append("--no-format-line")
    drawn = f"--temperature {part.temperature:g} --max-tokens {part.max_tokens}"
    return " ".join(["--task", shlex.quote(name), *options, drawn, "--preset direct"])


def _unasked(recipe: Recipe) -> str:
    """What the commands below it do not say by themselves."""
    if recipe.held_out is None:
        return WITHOUT_QUESTIONS
    instruction = recipe.held_out.instruction
    return WITHOUT_INSTRUCTION.format(instruction=instruction) if instruction else ""


def _held_out(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    told = [(line["step"], line["held_out"]) for line in lines if "held_out" in line]
    return [
        f"- Held out, {when} (step {step}): {_share(found['accuracy'])} right"
        f" (95 % interval {_share(found['low'])} to {_share(found['high'])}, {found['questions']} questions),"
        f" {found['thinking_tokens']:,.0f} thinking of {found['total_tokens']:,.0f} tokens a reply,"
        f" {found['truncated_share']:.0%} cut{ratio_in_words(found)}"
        for when, (step, found) in zip(("before", "after"), told[:: max(len(told) - 1, 1)], strict=False)
    ]


def _share(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1%}"


def _warnings(truncated: float) -> list[str]:
    if truncated < MOSTLY:
        return [f"- {truncated:.0%} of the rollouts were cut at the ceiling"] if truncated else []
    return [f"- **Warning:** {truncated:.0%} of the rollouts were cut at max_completion_tokens: raise it"]
