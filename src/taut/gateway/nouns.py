"""What the rooms of the gateway hand to each other: a request as understood, what was granted, how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from taut.core import Message, Piece, Sampling, Trace
from taut.errors import TautError

ProtocolName = Literal["chat", "completions", "responses", "messages"]
Mechanism = Literal["none", "native", "loop", "switch", "preset", "passed on"]
"""What enforces a budget: nobody, the upstream server's own budget, the thinking loop, the family's off switch, the
preset by itself (it never thinks), or the upstream on whose word it is taken: the fields were passed on untouched."""


class Problem(TautError):
    """Why a request gets no answer; every protocol writes it in its own form.

    ``code`` is OpenAI's ``error.type`` or close to it: ``invalid_request_error``, ``authentication_error``,
    ``permission_error``, ``not_found_error``, ``rate_limit_error``, ``overloaded_error``, ``upstream_error``,
    ``timeout_error``, ``server_error``.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str = "invalid_request_error",
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        """The field of the request that was wrong."""
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asked about thinking, in whichever dialect, before anybody looked at what is possible."""

    field: str = ""
    """Where it was written, e.g. ``reasoning.max_tokens`` or ``model suffix``; empty when nothing was asked."""
    value: Any = None
    """As written."""
    budget_tokens: int | None = None
    """Thinking tokens at most."""
    effort: str | None = None
    """``minimal`` … ``max``; the operator's map turns it into tokens."""
    think: bool | None = None
    """``False``: do not think at all."""
    exclude: bool = False
    """Thinking happens and is counted, but its text is not to be sent."""
    ignored: tuple[str, ...] = ()
    """Further fields that asked for something else and lost by precedence."""


@dataclass(frozen=True, slots=True)
class Options:
    """The request's own ``taut`` field."""

    preset: str | None = None
    """Run this preset on the engine that ``model`` names."""
    deadline_s: float | None = None
    receipt: bool = False
    """Wants the receipt in the body even of a reply that would pass through untouched."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, whatever protocol it came in."""

    protocol: ProtocolName
    model: str
    """As asked for, suffix included."""
    messages: tuple[Message, ...]
    """In OpenAI's chat form."""
    sampling: Sampling
    """``extra`` holds every field that passes through: tools, response_format, unknown ones."""
    wish: Wish = Wish()
    stream: bool = False
    include_usage: bool = False
    """The stream is to end with the counts (``stream_options.include_usage``)."""
    n: int = 1
    """Candidates."""
    options: Options = Options()
    document: Mapping[str, Any] = field(default_factory=dict)
    """The decoded body."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What was made of a wish: what is in force, and who sees to it."""

    wish: Wish = Wish()
    budget_tokens: int | None = None
    """Thinking tokens in force; ``None``: no limit of the gateway's."""
    think: bool | None = None
    mechanism: Mechanism = "none"
    enforced: bool | None = True
    """What was asked is seen to; ``None`` where there is nothing to see to."""
    why: str = ""
    """Why it is not enforced, or why less is in force than was asked, in one sentence."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a reply says about itself before it begins."""

    id: str
    """Bare; each protocol has a prefix of its own."""
    created_s: int
    model: str
    """As the client asked for it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One candidate, when it is over."""

    index: int
    trace: Trace


@dataclass(frozen=True, slots=True)
class Spent:
    """What a reply cost, all its candidates and calls together, in tokens."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    """Of every role: probes, estimates and discarded candidates too."""
    reasoning: int = 0
    """Thinking, a part of ``completion``."""
    reasoning_estimated: bool = False
    completion_estimated: bool = False


Receipt = Mapping[str, Any]
"""The ``taut`` object of a reply; see `taut.gateway.receipt`."""


class Writer(Protocol):
    """Writes one reply in one protocol. The stream is ``begin``, ``pieces`` …, then ``end`` or ``fail``."""

    content_type: str

    def begin(self) -> bytes:
        """What comes before the first piece."""
        ...

    def pieces(self, index: int, pieces: Sequence[Piece]) -> bytes:
        """New pieces of candidate ``index``; may be several that came together. Tool calls come as OpenAI deltas."""
        ...

    def keep_alive(self, note: str) -> bytes:
        """Something that clients skip, while nothing comes; ``note`` is one line for people who look at the wire."""
        ...

    def end(self, outcomes: Sequence[Outcome], spent: Spent, receipt: Receipt) -> bytes:
        """The end of a good stream, counts and receipt included."""
        ...

    def fail(self, problem: Problem, spent: Spent, receipt: Receipt) -> bytes:
        """The end of a stream that has begun and cannot be finished."""
        ...

    def whole(self, outcomes: Sequence[Outcome], spent: Spent, receipt: Receipt) -> bytes:
        """The body of a reply that is not streamed."""
        ...
