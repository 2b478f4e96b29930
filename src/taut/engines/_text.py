"""Token by token into text: characters that span tokens, and stop strings that span them too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[list[int]], str]

CONTEXT_TOKENS = 6
"""Of the prompt, decoded along: some tokenizers write a token differently at the start of a text."""
UNFINISHED = "�"
"""What a tokenizer writes for the bytes of a character that is not complete."""


class Detokenizer:
    """`push` tokens one by one; the texts it returns join to the text of all of them.

    A token is held back until the characters it belongs to are complete, then decoded with those before it. The method
    is that of the offsets in Hugging Face's text-generation-inference.
    """

    def __init__(self, decode: Decode, prompt_ids: Sequence[int]) -> None:
        self._decode = decode
        self._ids = list(prompt_ids[-CONTEXT_TOKENS:])
        self._begin = 0
        self._told = len(self._ids)

    def push(self, token_id: int) -> str:
        """The text that this token completes, often that of the token alone, sometimes none."""
        self._ids.append(token_id)
        text = self._new_text()
        if not text or text.endswith(UNFINISHED):
            return ""
        self._forget()
        return text

    def flush(self) -> str:
        """What is still held back, complete or not."""
        text = self._new_text()
        self._forget()
        return text

    def _new_text(self) -> str:
        told = self._decode(self._ids[self._begin : self._told])
        return self._decode(self._ids[self._begin :])[len(told) :]

    def _forget(self) -> None:
        self._ids = self._ids[self._told :] or self._ids[-1:]
        self._begin, self._told = 0, len(self._ids)


class StopFinder:
    """Passes text on until one of the stop strings has come; they are not passed on themselves.

    Held back is only what may yet become a stop string.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Text that is certain, and whether a stop string has ended it."""
        if not self._stops or not text:
            return text, False
        self._held += text
        ends = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if ends:
            text, self._held = self._held[: min(ends)], ""
            return text, True
        keep = max(_overlap(self._held, stop) for stop in self._stops)
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return text, False

    def flush(self) -> str:
        """What was held back, when nothing more comes."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that ``stop`` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
