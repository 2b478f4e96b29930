"""Tally's tokenizer: a small byte-level BPE whose digits stand alone, trained on the recipe's own texts."""

from __future__ import annotations

import random
from collections.abc import Iterator

from examples import CLOSINGS, FORM, REQUESTS, example
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

MOST_TOKENS = 1280
END = "<|im_end|>"
SPECIAL = ("<|endoftext|>", "<|im_start|>", END)
TAGS = ("<think>", "</think>")
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['reasoning_content'] -%}"
    "{{- '<think>\\n' + message['reasoning_content'] + '\\n</think>\\n\\n' -}}"
    "{%- endif -%}"
    "{{- message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{- '<|im_start|>assistant\\n' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}"
    "{%- endif -%}"
    "{%- endif -%}"
)
"""As Qwen3 does it: the model opens its thought itself, and ``enable_thinking=false`` gives it one that is over."""


def make_tokenizer(texts: int = 40_000, seed: int = 0) -> PreTrainedTokenizerFast:
    """Train it. Every byte has a token, so that any text can be read; special tokens are no text, tags are."""
    rng = random.Random(f"tokenizer/{seed}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MOST_TOKENS - len(TAGS),
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(rng, texts), trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )


def _texts(rng: random.Random, count: int) -> Iterator[str]:
    for _ in range(count):
        made = example(rng, grades=(1, 1, 1), most_checks=None)
        text = made.prompt + made.given + made.learnt
        for tag in (*SPECIAL, *TAGS):
            text = text.replace(tag, "\n")
        yield text
    for words in (FORM, *REQUESTS) * 40:
        yield words
    for words, _ in CLOSINGS * 40:
        yield words.replace("</think>", "")
