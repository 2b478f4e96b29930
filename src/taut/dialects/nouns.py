"""What a dialect is: the tags a model thinks in, who opens them, and how thinking is switched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

SwitchKind = Literal["template_kwarg", "system", "user_suffix", "effort", "prefill", "none"]


@dataclass(frozen=True, slots=True)
class Switch:
    """How thinking is turned on or off."""

    kind: SwitchKind = "none"
    """``prefill`` stands for a thought that is given as closed; ``none`` for no such switch."""
    key: str = ""
    """The template's variable (``enable_thinking``) or the request field (``reasoning_effort``)."""
    value: Any = None
    """What the variable or field is set to, or the text that is added to the system or the last user message."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of models writes its thinking."""

    name: str
    open: str = ""
    """What the model or its template writes to start thinking, e.g. ``<think>`` and a newline."""
    close: str = ""
    """What we write to end thinking in mid-thought and get the answer."""
    open_tags: tuple[str, ...] = ()
    """What is recognised in output as the start of a thought; the first is canonical."""
    close_tags: tuple[str, ...] = ()
    """What is recognised in output as the end of a thought; the first is canonical."""
    template_opens: bool = False
    """The chat template's generation prompt already ends inside a thought, unless thinking is switched off."""
    off: Switch = Switch()
    on: Switch = Switch()
    chat_prefill: bool = True
    """An assistant message with a thought in it, given last, reaches the model as it is. Many templates drop or
    rewrite thoughts in messages: those models can be continued only with the prompt rendered by ourselves."""
    closed_answer_prefix: str = ""
    """Written instead of ``close`` where thinking is closed before anything was thought; for models without tags."""

    @property
    def thinks(self) -> bool:
        """The model marks its thinking with tags."""
        return bool(self.open_tags)
