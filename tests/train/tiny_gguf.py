"""Tiny models with random weights and tokenizers trained on a few lines, made in a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CORPUS = (
    "What is 17 + 25? Let me think step by step: 17 + 25 = 42, so the answer is 42.",
    "def twice(number):\n    return 2 * number  # doubles it\n\n\nprint(twice(21))\n",
    "The model's answers don't change; they're shorter, we've seen. 3.14159 and 1,000,000.",
    "naïve café, Привет мир, 中文字符, 한국어, 😀 and ∑x² ≤ ½.",
)
TEXTS = (
    *CORPUS,
    "",
    " ",
    "\n",
    "  leading and   inner spaces \n\n\t tabs \r\n\r\n end",
    "I'll we've DON'T they're IT'S ' s 'd 'LL",
    "12345 and 3.14159, 1,000,000 x²+½ ٣٤ ⅷ 007",
    "𝟘𝟙𝟚 ⁴⁵ a1b22c333d4444",
    "👩‍👩‍👧‍👦🇩🇪 “quotes” … €\u00a0b\u2003c\u200bzero",
    "e\u0301\u0323 decomposed",
    "\x00\x01 control\x7f",
    "<think>\n17+25</think> 42<|im_end|>\n<|im_start|>user\nhi",
    "tok<think>en</think><think>",
    "A" * 50 + "1" * 20 + "!" * 20,
)
"""What a wrong rule for cutting text gets wrong: digits, contractions, spaces, scripts, signs, tags."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS = ("<think>", "</think>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MODERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_tokenizer(split: str = "smollm", size: int = 400) -> Any:
    """A byte-level BPE tokenizer whose text is cut as llama.cpp's rule of the name ``split`` does."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def by_pattern(digits: str) -> Any:
        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(MODERN % digits), "isolated"), bytes_only])

    cuts = {
        "gpt-2": words,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words]),
        "llama-bpe": by_pattern("{1,3}"),
        "smaug-bpe": by_pattern("{1,3}"),
        "qwen2": by_pattern(""),
    }
    tokenizer = Tokenizer(models.BPE(ignore_merges=split == "llama-bpe"))
    tokenizer.pre_tokenizer = cuts[split]
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return tokenizer


def make_folder(folder: Path, family: str = "Llama", split: str = "smollm", gain: float = 1.2, **settings: Any) -> Path:
    """A Hugging Face folder of a family, its weights large enough for every part to matter.

    ``gain`` is how much a matrix lengthens what goes through it; above 1 small errors grow from layer to layer.
    """
    import torch
    import transformers

    tokenizer = make_tokenizer(split)
    end = tokenizer.token_to_id("<|im_end|>")
    vocabulary = settings.pop("vocab_size", tokenizer.get_vocab_size())
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = getattr(transformers, f"{family}Config")(
        **{**shape, "num_key_value_heads": 2, "max_position_embeddings": 256, "tie_word_embeddings": True, **settings},
        vocab_size=vocabulary,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=None,
    )
    torch.manual_seed(7)
    model = getattr(transformers, f"{family}ForCausalLM")(config).float()
    with torch.no_grad():
        for weights in model.parameters():
            spread = gain / weights.shape[-1] ** 0.5 if weights.dim() > 1 else 0.3
            weights.copy_(torch.randn_like(weights) * spread + (weights.dim() == 1))
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    written = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(written), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder
