"""A tokenizer for the adapters' tests: one letter is one token, so that lengths can be counted by eye."""

from __future__ import annotations

from collections.abc import Sequence

END = "<|end|>"


class Letters:
    """Like one of Hugging Face; token 0 ends a response."""

    eos_token_id = 0
    eos_token = END
    all_special_tokens: Sequence[str] = (END,)

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text.replace(END, "\0")]}

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return "".join(chr(token) if token else "" if skip_special_tokens else END for token in token_ids)

    def ids(self, text: str) -> tuple[int, ...]:
        """Tokens of a text."""
        return tuple(self(text)["input_ids"])
