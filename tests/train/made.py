"""A model small enough to be trained in seconds, with a tokenizer and a chat template of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{# thoughts stand in <think> and </think> #}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS = ("<think>", "</think>")


def tiny_llama(vocabulary: int, **more: Any) -> Any:
    """A random Llama with 2 layers of 32 numbers; ``more`` of its configuration."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        **more,
    )
    return LlamaForCausalLM(config).eval()


def tiny_model(folder: Path, *, template: str | None = TEMPLATE) -> Path:
    """The same with a tokenizer, written to ``folder``."""
    tokenizer = _tokenizer(template)
    model = tiny_llama(
        len(tokenizer),
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(template: str | None) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    inner.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(["What is 2 + 3?", "The answer is 5.", "user assistant"], trainer)
    inner.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>", clean_up_tokenization_spaces=False
    )
    made.chat_template = template
    return made


def sum_row(index: int, **more: Any) -> dict[str, Any]:
    """An example of a sum with a short thought."""
    a, b = index % 10, index // 10 % 10
    return {
        "prompt": [{"role": "user", "content": f"What is {a} + {b}?"}],
        "completion": [{"role": "assistant", "content": f"<think>\n{a} + {b} = {a + b}\n</think>\n\n{a + b}"}],
        **more,
    }


def pair_row(index: int) -> dict[str, Any]:
    """A short right answer before a long one."""
    row = sum_row(index)
    long = row["completion"][0]["content"].replace("\n</think>", "\nWait, let me check.\n</think>")
    chosen = row["completion"]
    return {"prompt": row["prompt"], "chosen": chosen, "rejected": [{"role": "assistant", "content": long}]}


def question_row(index: int, **more: Any) -> dict[str, Any]:
    """A question with its answer."""
    a, b = index % 10, index // 10 % 10
    return {"id": f"sum-{index}", "prompt": f"What is {a} + {b}?", "answer": str(a + b), "verifier": "number", **more}


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
