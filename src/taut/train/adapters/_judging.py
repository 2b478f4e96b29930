"""From a trainer's response to a `Rollout`: where its thinking ends, its length, and whether its answer is right."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from taut import verify
from taut.core import Kind, Task
from taut.dialects import Dialect, Splitter, by_name
from taut.errors import UsageError
from taut.rollouts import Reference, Rollout


class Tokenizer(Protocol):
    """What is asked of a tokenizer, which is that of Hugging Face or one like it."""

    all_special_tokens: Sequence[str]

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """The text of tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as a trainer's data has it."""

    task: Task
    """With what the verifier reads: the reference, and the metadata of some task sets."""
    wanted_tokens: int | None = None
    limit_tokens: int | None = None
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What the model wrote."""

    text: str
    """Read only where there is no tokenizer, or no tokens."""
    token_ids: tuple[int, ...] = ()
    total_tokens: int | None = None
    """Where the tokens themselves are not at hand."""
    finished: bool = True
    start: Kind | None = None
    """What the prompt has opened; ``None``: what the dialect's template opens."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Reads responses in one dialect."""

    dialect: Dialect = by_name("think_tags")
    tokenizer: Tokenizer | None = None
    """Without it, thinking tokens are the share of the characters, and tags that are special tokens may be lost."""

    def rollout(self, response: Response, task: Task) -> Rollout | None:
        """``None`` where the answer could not be judged: no reference, or one that cannot be read.

        What is still thinking at its end has no answer and is wrong. Raises `UsageError` for an unknown verifier, and
        where there is nothing to count tokens by.
        """
        text = self._text(response)
        thinking, answer = self._parts(text, response.start)
        score = verify.score(answer, task)
        if score.value is None:
            return None
        total_tokens = self._total_tokens(response)
        return Rollout(
            thinking_tokens=self._thinking_tokens(response, text, (thinking, answer), total_tokens),
            total_tokens=total_tokens,
            correct=score.value,
            finished=response.finished,
            # Without tags nobody can tell thinking from answer.
            thought=bool(thinking.strip()) or not self.dialect.thinks,
            token_ids=response.token_ids,
        )

    def _text(self, response: Response) -> str:
        if self.tokenizer is None or not response.token_ids:
            return response.text
        return self._decode(response.token_ids)

    def _decode(self, token_ids: Sequence[int]) -> str:
        """With the dialect's tags, though they may be special tokens, and without other special tokens."""
        assert self.tokenizer is not None
        text = self.tokenizer.decode(list(token_ids), skip_special_tokens=False)
        tags = (*self.dialect.open_tags, *self.dialect.close_tags)
        for special in self.tokenizer.all_special_tokens:
            if not any(special in tag for tag in tags):
                text = text.replace(special, "")
        return text

    def _parts(self, text: str, start: Kind | None) -> tuple[str, str]:
        splitter = Splitter(self.dialect, start or self._opened(text))
        pieces = [*splitter.feed(text), *splitter.finish()]
        thinking = "".join(piece for kind, piece in pieces if kind == "thinking")
        return thinking, "".join(piece for kind, piece in pieces if kind == "answer")

    def _opened(self, text: str) -> Kind | None:
        """A thought that is closed and was never opened was opened by the prompt, whatever the dialect's entry says."""
        closed = min((at for tag in self.dialect.close_tags if (at := text.find(tag)) >= 0), default=None)
        if closed is None or any(tag in text[:closed] for tag in self.dialect.open_tags):
            return None
        return "thinking"

    def _total_tokens(self, response: Response) -> int:
        if response.total_tokens is not None:
            return response.total_tokens
        if response.token_ids or not response.text:
            return len(response.token_ids)
        raise UsageError("a response came without its tokens: give a tokenizer, so that its length can be counted")

    def _thinking_tokens(self, response: Response, text: str, parts: tuple[str, str], total_tokens: int) -> int:
        """Tokens before the answer begins, tags included."""
        thinking, answer = parts
        if not thinking.strip():
            return 0
        if not answer.strip():
            return total_tokens
        begins = text.rfind(answer.strip())
        if self.tokenizer is None or not response.token_ids or begins < 0:
            return round(total_tokens * len(thinking) / (len(thinking) + len(answer)))
        ids = response.token_ids
        # The first number of tokens whose text reaches into the answer, less the one that does.
        return bisect_right(range(len(ids) + 1), begins, key=lambda count: len(self._decode(ids[:count]))) - 1
