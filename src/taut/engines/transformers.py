"""A local Hugging Face model in this process: batched on the CPU or a GPU, with its weights at hand.

Slower than a server made for it; meant for models that no server runs yet, for adapters just trained, and for methods
that reach into the weights. Needs ``pip install 'taut[transformers]'``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taut import box
from taut.core import Kind, Request, Sampling, Streamed
from taut.dialects import Dialect, by_name, detect, render_turn, starts_in
from taut.engines._reply import ReplyReader
from taut.engines._servers import Server
from taut.engines._suppress import BREAK, Suppressed, forms, suppressed
from taut.engines._switch import throw
from taut.engines._text import Detokenizer, StopFinder
from taut.engines._wire import Chunk
from taut.errors import EngineError, UsageError, nearest, one_line
from taut.messages import why_not_raw

if TYPE_CHECKING:
    from taut.engines._batch import Row
    from taut.engines._load import Loaded
    from taut.engines._worker import Worker

OFFERS = frozenset({"prefill", "logprobs", "stop", "seed", "cancel", "token_counts", "suppress"})
EXTRAS = ("ignore_eos",)
"""What `Sampling.extra` may hold."""
IN_PROCESS = Server("transformers")

Mailbox = asyncio.Queue[Chunk | EngineError]
"""From the model's thread to the loop that waits."""


@dataclass(slots=True)
class TransformersEngine:
    """A model and the thread that runs it; implements `taut.core.Engine`."""

    name: str
    model: str
    dialect: Dialect
    loaded: Loaded
    worker: Worker
    identity: dict[str, Any] = field(default_factory=dict)

    @property
    def offers(self) -> frozenset[str]:
        """A family without an off switch is given a thought that is closed already."""
        return OFFERS | {"thinking_switch"} if self.dialect.thinks else OFFERS

    async def stream(self, request: Request) -> AsyncIterator[Streamed]:
        """See `taut.core.Engine.stream`."""
        mailbox: Mailbox = asyncio.Queue()
        row, reader = self._prepare(request, mailbox)
        self.worker.submit(row)
        limit = _set_deadline(request.deadline_s, mailbox)
        try:
            while reader.finish_reason is None:
                for item in self._read(await mailbox.get(), reader):
                    yield item
        finally:
            row.is_left = True
            if limit is not None:
                limit.cancel()
        out: list[Streamed] = []
        reader.end(out)
        for item in out:
            yield item

    async def close(self) -> None:
        """End the thread; the model's memory goes with the engine."""
        await asyncio.to_thread(self.worker.close)

    def _read(self, chunk: Chunk | EngineError, reader: ReplyReader) -> list[Streamed]:
        if isinstance(chunk, EngineError):
            raise chunk
        chunk.model = self.model
        out: list[Streamed] = []
        reader.read(chunk, out)
        return out

    def _prepare(self, request: Request, mailbox: Mailbox) -> tuple[Row, ReplyReader]:
        from taut.engines._batch import Row, new_generator

        ids, start = self._prompt(request)
        sampling = request.sampling
        room = self.loaded.context_tokens - len(ids)
        if room < 1:
            raise EngineError(
                f"the prompt has {len(ids)} tokens and the model has room for {self.loaded.context_tokens}",
                kind="refused",
            )
        filters = self.loaded.filters(sampling)
        held_back = self._suppressed(request.suppress)
        row = Row(
            prompt_ids=ids,
            max_tokens=min(room, room if sampling.max_tokens is None else sampling.max_tokens),
            end_ids=frozenset() if sampling.extra.get("ignore_eos") else self.loaded.end_ids,
            detokenizer=Detokenizer(self.loaded.decode, ids),
            stops=StopFinder(sampling.stop),
            deliver=_deliverer(asyncio.get_running_loop(), mailbox),
            filters=filters,
            generator=new_generator(self.loaded.model.device, sampling.seed) if filters is not None else None,
            top_logprobs=request.top_logprobs,
            forbidden_ids=held_back.ids,
        )
        return row, ReplyReader(self.dialect, start, not_suppressed=held_back.left_out)

    def _suppressed(self, words: tuple[str, ...]) -> Suppressed:
        if not words:
            return Suppressed()
        texts = [BREAK, *(BREAK + form for form in forms(words))]
        return suppressed(words, {text: self.loaded.encode(text) for text in texts})

    def _prompt(self, request: Request) -> tuple[list[int], Kind | None]:
        """The tokens of the rendered conversation and turn, and what the model is writing after them."""
        _check(request, self.name)
        asked = throw(request.prompt, self.dialect, IN_PROCESS, can_prefill=True, may_chat=False)
        rendered = self.loaded.render(asked.messages, asked.variables)
        text = rendered + render_turn(self.dialect, asked.turn, rendered)
        start = starts_in(self.dialect, text, asked.turn)
        if start is None and self.dialect.template_opens:
            # The template is known to open the thought, and has not done so this time.
            start = "answer"
        return self.loaded.encode(text), start


async def open_engine(
    path: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    max_batch: int = 8,
    dialect: str | None = None,
    local_files_only: bool = False,
) -> TransformersEngine:
    """Load a model from a folder or by its hub name, and start the thread that runs it.

    ``tally`` is the model in the box. A folder with an ``adapter_config.json`` is a PEFT adapter: its base model is
    loaded and the adapter merged into it. ``device`` is a torch device, by default the first GPU or the CPU; ``dtype``
    a torch type, by default float32 on the CPU and the checkpoint's own elsewhere. ``max_batch`` calls run at once,
    further ones wait. Raises `UsageError`.
    """
    if max_batch < 1:
        raise UsageError(f"max_batch is {max_batch}; it must be at least 1")
    spoken = by_name(dialect) if dialect else None
    load, batch, worker = _import()
    loaded = await asyncio.to_thread(
        load.load, box.folder_or(path), device=device, dtype=dtype, only_local=local_files_only
    )
    if not await asyncio.to_thread(batch.can_batch, loaded.model):
        raise UsageError(f"{path} keeps more than keys and values of its tokens; this engine cannot batch it")
    return TransformersEngine(
        name=f"transformers:{path}",
        model=loaded.name,
        dialect=spoken or detect(loaded.name, loaded.chat_template),
        loaded=loaded,
        worker=worker.Worker(batch.Batch(loaded.model, loaded.decode), max_batch),
        identity=loaded.identity,
    )


def _import() -> tuple[Any, Any, Any]:
    try:
        from taut.engines import _batch, _load, _worker
    except ImportError as error:
        raise UsageError(
            f"the transformers engine needs {error.name or 'torch'}: pip install 'taut[transformers]'"
        ) from None
    return _load, _batch, _worker


def _check(request: Request, name: str) -> None:
    sampling: Sampling = request.sampling
    if reason := why_not_raw(request.prompt.messages, {}):
        raise EngineError(f"{reason} cannot be given to {name}", kind="refused")
    if request.thinking_budget_tokens is not None:
        raise EngineError(f"{name} has no thinking budget of its own; use budget_forcing", kind="refused")
    if sampling.max_tokens is not None and sampling.max_tokens < 1:
        raise EngineError(f"max_tokens is {sampling.max_tokens}; it must be at least 1", kind="refused")
    for key in sampling.extra:
        if key not in EXTRAS:
            known = f"{', '.join(EXTRAS)}{nearest(key, EXTRAS)}"
            raise EngineError(f"{name} has no sampling field {key!r}; it has: {known}", kind="refused")


def _set_deadline(deadline_s: float | None, mailbox: Mailbox) -> asyncio.TimerHandle | None:
    if deadline_s is None:
        return None
    error = EngineError(f"the deadline of {deadline_s:.3g} s has passed", kind="timeout")
    return asyncio.get_running_loop().call_later(deadline_s, mailbox.put_nowait, error)


def _deliverer(loop: asyncio.AbstractEventLoop, mailbox: Mailbox) -> Any:
    def deliver(chunk: Chunk | EngineError) -> None:
        try:
            loop.call_soon_threadsafe(mailbox.put_nowait, chunk)
        except RuntimeError as error:
            # The loop is closed: whoever waited is gone, and will have marked the row as left.
            if not loop.is_closed():
                raise EngineError(f"cannot deliver a token: {one_line(error)}") from error

    return deliver
