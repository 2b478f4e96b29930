"""Where a stop rule looks: every n tokens, at paragraph ends, or at given words."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

At = Literal["tokens", "paragraph", "word", "end"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in the thinking where a rule decides. ``end``: the model itself has closed its thinking or stopped."""

    at: At
    thinking: str
    """All thinking so far, given parts included."""
    thinking_tokens: int
    """Generated thinking tokens so far."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the thinking here and take the answer."""

    why: str


@dataclass(frozen=True, slots=True)
class Extend:
    """Put ``text`` at the end of the thinking and let the model go on."""

    text: str
    why: str


Verdict = Stop | Extend | None
"""``None``: go on; at ``end`` it means that the model may finish."""
Watch = Callable[[Checkpoint], Awaitable[Verdict]]


@dataclass(frozen=True, slots=True)
class Places:
    """Where checkpoints fall. The end of the thinking is always one."""

    every_tokens: int = 0
    """0: not by count."""
    paragraphs: bool = False
    words: tuple[str, ...] = ()
    """Whole words, case as given: "Wait", "Alternatively"."""


class StopRule(Protocol):
    """When to end the thinking. Fields are parameters; what changes during a trace lives in what `watch` returns."""

    @property
    def needs(self) -> frozenset[str]:
        """Features beyond those of the loop."""
        ...

    @property
    def places(self) -> Places:
        """Where it wants to look."""
        ...

    @property
    def max_thinking_tokens(self) -> int | None:
        """Hard limit in tokens, known beforehand: the engine is never asked for more."""
        ...

    @property
    def only_caps(self) -> bool:
        """The hard limit is all there is to the rule: a server with a thinking budget of its own can do the same."""
        ...

    def watch(self) -> Watch:
        """Begin one trace."""
        ...


@dataclass(slots=True)
class Scanner:
    """Finds checkpoints in thinking as it grows."""

    places: Places
    _pattern: re.Pattern[str] | None = field(init=False, default=None)
    _tail: str = field(init=False, default="")
    _tokens: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Compile the words once."""
        if self.places.words:
            self._pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, self.places.words)) + r")\b(?=\W)")

    def feed(self, text: str, tokens: int) -> At | None:
        """The kind of checkpoint that this piece completes, if any; a word wins over a paragraph, that over a count."""
        before, self._tokens = self._tokens, self._tokens + tokens
        old, window = self._tail, self._tail + text
        longest = max((len(word) for word in self.places.words), default=0)
        self._tail = window[-max(longest + 1, 2) :]
        if self._pattern and any(match.end() >= len(old) for match in self._pattern.finditer(window)):
            return "word"
        if self.places.paragraphs and "\n\n" in old[-1:] + text:
            return "paragraph"
        step = self.places.every_tokens
        return "tokens" if step and before // step != self._tokens // step else None


def is_open(thinking: str) -> bool:
    """The text ends inside a code fence or a tool call, where it must not be cut."""
    return thinking.count("```") % 2 == 1 or thinking.rfind("<tool_call>") > thinking.rfind("</tool_call>")
