"""Pieces as blocks: thinking, answers and tool calls, one open at a time, as Responses and Messages want them.

An upstream may write several tool calls at once; a client of these protocols reads one after the other. So what is
not first in line waits until the block before it is done: a text is done when something else comes, a tool call when
its arguments are whole JSON as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from taut.core import Piece, Trace
from taut.messages import ToolCall

BlockKind = Literal["thinking", "answer", "call"]


@dataclass(slots=True)
class Block:
    """One stretch of thinking, one of an answer, or one tool call."""

    kind: BlockKind
    number: int = -1
    """Position in the reply, from 0; -1 while it waits for its turn."""
    id: str = ""
    """Of a tool call, as the upstream wrote it; may be empty."""
    name: str = ""
    """Of the called function."""
    told: list[str] = field(default_factory=list)
    """What the client got."""
    waiting: list[str] = field(default_factory=list)
    """What it is to get."""

    @property
    def text(self) -> str:
        """What the client got: the text, or a call's arguments as JSON."""
        return "".join(self.told)

    @property
    def is_whole(self) -> bool:
        """It may end here: a text may anywhere, a call where its arguments are one whole object."""
        return self.kind != "call" or is_object(self.text)


Step = tuple[Literal["open", "add", "close"], Block, str]
"""What to write next; the text is what to add."""


class Blocks:
    """Takes pieces as they come and says what to write."""

    __slots__ = ("_calls", "_last_call", "_line", "_show_thinking", "told")

    def __init__(self, *, show_thinking: bool = True) -> None:
        self.told: list[Block] = []
        """The blocks that were opened, in order."""
        self._line: deque[Block] = deque()
        self._calls: dict[int, Block] = {}
        self._last_call = -1
        self._show_thinking = show_thinking

    def add(self, pieces: Iterable[Piece]) -> list[Step]:
        """What to write for ``pieces``; neighbours of one kind become one step."""
        for piece in pieces:
            if piece.text and (self._show_thinking or piece.kind == "answer"):
                self._take_text(piece.kind, piece.text)
            for delta in piece.tool_calls:
                self._take_call(delta)
        return self._advance(is_over=False)

    def finish(self, trace: Trace | None = None) -> list[Step]:
        """What to write at the end: everything that waits.

        ``trace`` gives the answer and the calls of a method that showed none while it ran.
        """
        shown = {block.kind for block in (*self.told, *self._line)}
        steps = [] if trace is None or shown & {"answer", "call"} else self.add(_answer_of(trace))
        return steps + self._advance(is_over=True)

    def _take_text(self, kind: Literal["thinking", "answer"], text: str) -> None:
        line = self._line
        if not line or line[-1].kind != kind:
            line.append(Block(kind))
        line[-1].waiting.append(text)

    def _take_call(self, delta: ToolCall) -> None:
        index = delta.get("index")
        if not isinstance(index, int):
            # The same rule as in `taut.messages.whole_tool_calls`, so that stream and trace agree.
            index = len(self._calls) if delta.get("id") or self._last_call < 0 else self._last_call
        self._last_call = index
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = Block("call")
            self._line.append(call)
        function = delta.get("function") or {}
        if call.number < 0:
            # What a client was told once stays: it knows the call by its id.
            call.id = call.id or delta.get("id") or ""
            call.name = call.name or function.get("name") or ""
        arguments = function.get("arguments")
        if isinstance(arguments, str) and arguments:
            call.waiting.append(arguments)

    def _advance(self, *, is_over: bool) -> list[Step]:
        steps: list[Step] = []
        while self._line:
            block = self._line[0]
            if block.kind == "call" and not block.name and not is_over:
                break
            self._write(block, steps)
            if not is_over and (len(self._line) == 1 or not block.is_whole):
                break
            steps.append(("close", block, ""))
            self._line.popleft()
        return steps

    def _write(self, block: Block, steps: list[Step]) -> None:
        if block.number < 0:
            block.number = len(self.told)
            self.told.append(block)
            steps.append(("open", block, ""))
        if block.waiting:
            text = block.waiting[0] if len(block.waiting) == 1 else "".join(block.waiting)
            block.waiting.clear()
            block.told.append(text)
            steps.append(("add", block, text))


def blocks_of(trace: Trace, *, show_thinking: bool) -> Sequence[Block]:
    """The blocks of a reply that is not streamed: thinking, answer, tool calls."""
    blocks = Blocks(show_thinking=show_thinking)
    blocks.add((Piece("thinking", trace.thinking), *_answer_of(trace)))
    blocks.finish()
    return blocks.told


def is_object(text: str) -> bool:
    """``text`` is one whole JSON object."""
    # The end is looked at first: this is asked of every part of a call while another one waits.
    if not text.rstrip().endswith("}"):
        return False
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except msgspec.DecodeError:
        return False


def _answer_of(trace: Trace) -> tuple[Piece, ...]:
    calls = tuple({**call, "index": index} for index, call in enumerate(trace.tool_calls))
    return Piece("answer", trace.answer), Piece("answer", "", tool_calls=calls)
