"""The worker processes of one gateway look into each other's registers, so that any of them can show the whole.

Each worker answers on a unix socket in a folder that only this user can enter: one line of JSON is the question, what
comes until the end is the answer. With one worker there is no folder and no socket.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from taut.errors import UsageError
from taut.gateway.under_way import Snapshot, UnderWay, merge

PATIENCE_S = 0.5
"""How long a sibling may take; one that takes longer is left out of the picture."""
SOCKET_PATH_BYTES = 100
"""Unix allows 108 on Linux and 104 elsewhere."""


class Siblings:
    """This worker's register and those of its siblings. `open` it first, `close` it at the end."""

    def __init__(self, under_way: UnderWay, folder: Path | None = None, worker: int = 0) -> None:
        self.under_way = under_way
        self._folder = folder
        self._own = folder / f"worker-{worker}.sock" if folder else None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Answer siblings. Raises `UsageError` if the folder is open to others or its path is too long."""
        if self._own is None:
            return
        check_private(self._own.parent)
        if len(bytes(self._own)) > SOCKET_PATH_BYTES:
            raise UsageError(f"the path of the socket {self._own} is too long: choose a folder nearer to the root")
        # What lies there was left by a worker that died under the same number.
        self._own.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._answer, self._own)

    async def close(self) -> None:
        """Stop answering."""
        if self._server is None or self._own is None:
            return
        self._server.close()
        await self._server.wait_closed()
        self._own.unlink(missing_ok=True)

    async def snapshot(self) -> Snapshot:
        """All registers in one; see `UnderWay.snapshot`. Siblings that do not answer in `PATIENCE_S` are left out."""
        others = await self._ask_others({})
        return merge([self.under_way.snapshot(), *(found for found in others if isinstance(found, dict))])

    async def answer_now(self, request_id: str, owner: str | None = None) -> bool:
        """Ask a request for its answer, whichever worker has it; ``False`` where that is not possible.

        With an ``owner`` only a request that was sent with that key.
        """
        if self.under_way.answer_now(request_id, owner):
            return True
        question = {"answer_now": request_id, "owner": owner}
        return any(found is True for found in await self._ask_others(question))

    async def _ask_others(self, question: dict[str, Any]) -> list[Any]:
        if self._folder is None:
            return []
        paths = [path for path in sorted(self._folder.glob("worker-*.sock")) if path != self._own]
        return await asyncio.gather(*(ask(path, question) for path in paths))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                question = msgspec.json.decode(await reader.readline(), type=dict[str, Any])
                if "answer_now" in question:
                    reply: Any = self.under_way.answer_now(str(question["answer_now"]), question.get("owner"))
                else:
                    reply = self.under_way.snapshot()
                writer.write(msgspec.json.encode(reply))
                await writer.drain()
        except (OSError, ValueError, TimeoutError, msgspec.DecodeError):
            # A sibling that goes away, or is no sibling, needs no answer.
            pass
        finally:
            writer.close()


async def ask(path: Path, question: dict[str, Any]) -> Any:
    """What the worker behind ``path`` answers; ``None`` if nothing sensible comes within `PATIENCE_S`."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(msgspec.json.encode(question) + b"\n")
            return msgspec.json.decode(await reader.read())
    except (OSError, TimeoutError, msgspec.DecodeError):
        return None
    finally:
        if writer is not None:
            writer.close()


def check_private(folder: Path) -> None:
    """Raise `UsageError` unless ``folder`` is a folder that only its owner can enter."""
    try:
        mode = folder.stat().st_mode
    except OSError as error:
        raise UsageError(f"the folder {folder} for the workers' sockets cannot be used: {error.strerror}") from None
    if mode & 0o077:
        raise UsageError(f"the folder {folder} for the workers' sockets is open to other users: chmod 700 {folder}")
