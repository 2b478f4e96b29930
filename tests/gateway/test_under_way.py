"""The register of requests under way: what it counts, what it keeps, what it costs, and how workers share it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
import timeit
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import msgspec
import pytest

from taut.core import Call as TautCall
from taut.core import Count, Engine, Piece, Task, Trace, Usage
from taut.engines.fake import FakeEngine
from taut.errors import UsageError
from taut.gateway.entry import JOIN_AFTER, TAIL_CHARS, Ending, Entry, ending_of
from taut.gateway.last_minute import LastMinute
from taut.gateway.nouns import Grant
from taut.gateway.siblings import PATIENCE_S, Siblings
from taut.gateway.under_way import HISTORY, TEXTS_SHOWN, UnderWay, merge
from taut.methods.prompt_based.direct import Direct
from taut.run import Preset, run
from tests.conftest import sum_task


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def register(clock: Clock) -> UnderWay:
    return UnderWay(clock=clock)


def enter(register: UnderWay, name: str = "a", preset: str = "cap", can_answer_now: bool = True) -> Entry:
    return register.enter(name, preset=preset, engine="big", protocol="chat", can_answer_now=can_answer_now)


def probed(tokens: int, why: str = "the answer is stable") -> Trace:
    """A trace with one probe that is over."""
    usage = Usage(Count(10, "reported"), Count(tokens, "reported"), Count(0, "reported"))
    trace = Trace(Task("t", ()), "cap", finish="stop")
    trace.calls.append(TautCall("probe", "main", usage=usage))
    trace.decisions.append({"event": "stop", "why": why, "text": "the user's own words"})
    return trace


def test_what_streams_is_counted_by_kind_and_its_texts_are_shown(register: UnderWay, clock: Clock) -> None:
    entry = enter(register)
    entry.grant = Grant(budget_tokens=64, mechanism="loop")
    assert register.snapshot()["running"][0]["state"] == "waiting"
    entry.piece(Piece("thinking", "one ", 1))
    entry.piece(Piece("thinking", "two", 2))
    assert register.snapshot()["running"][0]["state"] == "thinking"
    entry.piece(Piece("answer", "Three.", 2))
    clock.now_s += 1.5
    (shown,) = register.snapshot()["running"]
    assert shown["tokens"] == {"thinking": 3, "answer": 2}
    assert shown["thinking"] == {"text": "one two", "chars": 7}
    assert shown["answer"] == {"text": "Three.", "chars": 6}
    assert (shown["state"], shown["seconds"], shown["budget_tokens"]) == ("answering", 1.5, 64)
    assert not shown["estimated"]


def test_looking_changes_nothing_of_the_state(register: UnderWay) -> None:
    entry = enter(register)
    entry.piece(Piece("thinking", "hm", 1))
    register.snapshot()
    assert register.snapshot()["running"][0]["state"] == "thinking"


def test_tokens_that_the_engine_does_not_count_are_estimated_and_marked(register: UnderWay) -> None:
    enter(register).piece(Piece("thinking", "nine chars"))
    (shown,) = register.snapshot()["running"]
    assert shown["tokens"] == {"thinking": 3}
    assert shown["estimated"]


def test_further_candidates_are_counted_and_not_mixed_into_the_text(register: UnderWay) -> None:
    entry = enter(register)
    entry.piece(Piece("thinking", "first", 1), 0)
    entry.piece(Piece("thinking", "second", 1), 1)
    (shown,) = register.snapshot()["running"]
    assert shown["tokens"] == {"thinking": 2}
    assert shown["thinking"]["text"] == "first"


def test_probes_count_as_they_end(register: UnderWay) -> None:
    entry = enter(register)
    entry.began(probed(7))
    entry.piece(Piece("thinking", "hm", 1))
    assert register.snapshot()["running"][0]["tokens"] == {"thinking": 1, "probe": 7}


def test_only_the_end_of_a_long_text_is_kept(register: UnderWay) -> None:
    entry = enter(register)
    for number in range(20 * JOIN_AFTER):
        entry.piece(Piece("thinking", f"{number:07d} ", 1))
        assert len(entry._tails["thinking"].parts) <= JOIN_AFTER + 1
    (shown,) = register.snapshot()["running"]
    assert len(shown["thinking"]["text"]) == TAIL_CHARS
    assert shown["thinking"]["text"].endswith(f"{20 * JOIN_AFTER - 1:07d} ")
    assert shown["thinking"]["chars"] == 20 * JOIN_AFTER * 8


def test_a_piece_costs_less_than_a_microsecond_beyond_an_append() -> None:
    entry = enter(UnderWay())
    piece, kept = Piece("thinking", "word ", 1), list[str]()
    append_s = min(timeit.repeat(lambda: kept.append(piece.text), number=20_000, repeat=9)) / 20_000
    piece_s = min(timeit.repeat(lambda: entry.piece(piece), number=20_000, repeat=9)) / 20_000
    assert piece_s - append_s < 1e-6


def test_a_request_that_is_over_moves_to_the_history_without_its_texts(register: UnderWay, clock: Clock) -> None:
    entry = enter(register)
    entry.piece(Piece("answer", "a secret", 2))
    clock.now_s += 2
    entry.leave(Ending(tokens={"answer": 2, "probe": 5}, decision="stop: stable"))
    snapshot = register.snapshot()
    (shown,) = snapshot["recent"]
    assert snapshot["running"] == []
    assert len(register) == 0
    assert (shown["tokens"], shown["decision"], shown["seconds"]) == ({"answer": 2, "probe": 5}, "stop: stable", 2.0)
    assert "secret" not in str(snapshot)


def test_texts_of_the_past_are_kept_only_where_texts_may_be_stored() -> None:
    register = UnderWay(store_texts=True)
    entry = enter(register)
    entry.piece(Piece("answer", "kept", 1))
    entry.leave()
    assert register.snapshot()["recent"][0]["answer"]["text"] == "kept"


def test_leaving_twice_counts_once(register: UnderWay) -> None:
    entry = enter(register)
    entry.leave()
    entry.leave(Ending("error", error="late"))
    assert register.snapshot()["totals"]["cap"]["requests"] == 1
    assert register.snapshot()["totals"]["cap"]["errors"] == 0


def test_the_history_is_bounded(register: UnderWay) -> None:
    for number in range(HISTORY + 10):
        enter(register, str(number)).leave()
    recent = register.snapshot()["recent"]
    assert [recent[0]["id"], recent[-1]["id"]] == ["10", str(HISTORY + 9)]
    assert register.snapshot()["totals"]["cap"]["requests"] == HISTORY + 10


def test_many_running_requests_are_counted_and_only_the_oldest_show_texts(register: UnderWay, clock: Clock) -> None:
    for number in range(TEXTS_SHOWN + 5):
        clock.now_s += 1
        enter(register, str(number))
    running = register.snapshot()["running"]
    assert len(running) == TEXTS_SHOWN + 5
    assert [item["id"] for item in running if "thinking" in item] == [str(n) for n in range(TEXTS_SHOWN)]


def test_totals_add_up_by_preset_and_role(register: UnderWay) -> None:
    enter(register, "a").leave(Ending(tokens={"thinking": 10, "answer": 1}))
    enter(register, "b").leave(Ending("error", {"thinking": 5}, estimated=True, error="broke off"))
    enter(register, "c", preset="vote").leave(Ending(tokens={"discarded": 7}))
    assert register.snapshot()["totals"] == {
        "cap": {"requests": 2, "errors": 1, "estimated": 1, "tokens": {"thinking": 15, "answer": 1}},
        "vote": {"requests": 1, "errors": 0, "estimated": 0, "tokens": {"discarded": 7}},
    }


def test_an_ending_is_read_from_the_traces_and_takes_no_text_from_decisions() -> None:
    failed = probed(3, why="")
    failed.finish, failed.error = "error", "the engine broke off"
    ending = ending_of([probed(4), failed])
    assert ending == Ending("error", {"probe": 7}, False, "stop", "the engine broke off")
    assert ending_of([probed(1)]).decision == "stop: the answer is stable"
    assert ending_of([Trace(Task("t", ()), "cap")]).finish == "cancelled"


async def test_a_real_run_tells_how_it_ended(register: UnderWay) -> None:
    entry = enter(register, preset="direct")
    engines: dict[str, Engine] = {"main": FakeEngine()}
    trace = await run(Preset("direct", Direct()), sum_task(), engines, emit=entry.piece, onlooker=entry)
    streamed, estimated = entry.tokens()
    entry.leave()
    (shown,) = register.snapshot()["recent"]
    assert shown["tokens"] == streamed == {k: t.total for k, t in trace.tokens_by_role().items() if t.total}
    assert (shown["finish"], estimated) == ("stop", False)


def test_answer_now_reaches_the_request_and_says_when_it_cannot(register: UnderWay) -> None:
    pressed: list[str] = []
    entry = register.enter(
        "a", preset="cap", engine="e", protocol="chat", can_answer_now=True, answer_now=lambda: pressed.append("a")
    )
    enter(register, "b", can_answer_now=False)
    assert register.answer_now("a")
    assert not register.answer_now("b")
    assert not register.answer_now("unknown")
    assert pressed == ["a"]
    assert entry.is_answer_wanted()
    first, second = register.snapshot()["running"]
    assert (first["asked"], first["why_not"]) == (True, "")
    assert second["why_not"] == "its preset cannot end its thinking early"


def test_a_comparison_finds_its_request(register: UnderWay, clock: Clock) -> None:
    enter(register, "a").leave()
    enter(register, "b").leave()
    clock.now_s += 1
    register.compared("a", 640, True)
    register.compared("forgotten", 1, None)
    first, second = register.snapshot()["recent"]
    assert (first["unmodified_tokens"], first["agree"], first["changed_s"]) == (640, True, 1001.0)
    assert second["unmodified_tokens"] is None


def test_the_rate_is_that_of_the_last_minute(register: UnderWay, clock: Clock) -> None:
    old = enter(register, "old")
    clock.now_s += 10
    old.leave(Ending(tokens={"answer": 5000}))
    clock.now_s += 100
    entry = enter(register, "new")
    clock.now_s += 10
    entry.leave(Ending(tokens={"answer": 300}))
    running = enter(register, "running")
    clock.now_s += 5
    running.piece(Piece("answer", "x", 60))
    snapshot = register.snapshot()
    assert snapshot["tokens_per_s"] == pytest.approx((300 + 60) / 60, abs=0.01)
    assert snapshot["requests_per_s"] == pytest.approx(1 / 60, abs=1e-4)


def test_a_long_request_counts_in_the_last_minute_by_its_share() -> None:
    minute = LastMinute()
    minute.add(0.5, 600.5, 6000)
    assert minute.total(600.5) == pytest.approx(590, abs=20)
    assert minute.total(700) == 0
    assert LastMinute.share(0, 600) == 0.1


def test_an_amount_is_spread_over_its_seconds() -> None:
    minute = LastMinute()
    minute.add(10.5, 12.5, 20)
    minute.add(12.0, 12.0, 7)
    assert minute.total(12.5) == pytest.approx(27)
    assert minute.total(70.9) == pytest.approx(22)
    assert minute.total(71.0) == pytest.approx(12)
    assert minute.total(72.0) == 0


def test_snapshots_of_several_workers_add_up(clock: Clock) -> None:
    one, other = UnderWay(clock=clock, savings_state=lambda: {"cap": 1}), UnderWay(clock=clock)
    enter(one, "a").leave(Ending(tokens={"answer": 3}))
    clock.now_s += 1
    enter(other, "b").leave(Ending("error", {"answer": 4, "thinking": 1}, error="x"))
    enter(other, "c")
    clock.now_s += 1
    enter(one, "d")
    merged = merge([one.snapshot(), other.snapshot()])
    assert [item["id"] for item in merged["running"]] == ["c", "d"]
    assert [item["id"] for item in merged["recent"]] == ["a", "b"]
    assert merged["totals"]["cap"] == {
        "requests": 2,
        "errors": 1,
        "estimated": 0,
        "tokens": {"answer": 7, "thinking": 1},
    }
    assert (merged["workers"], merged["savings"]) == (2, [{"cap": 1}])
    assert one.snapshot()["totals"]["cap"]["requests"] == 1
    with pytest.raises(ValueError, match="no snapshot"):
        merge([])


def test_a_snapshot_is_json(register: UnderWay) -> None:
    enter(register, "a").leave()
    enter(register, "b")
    assert msgspec.json.decode(msgspec.json.encode(register.snapshot())) == register.snapshot()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder with a short path, as sockets need."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
async def three(folder: Path) -> AsyncIterator[list[Siblings]]:
    """Three workers; each has one request of its own under way, named by its number."""
    async with AsyncExitStack() as stack:
        workers = [Siblings(UnderWay(), folder, number) for number in range(3)]
        for number, worker in enumerate(workers):
            await worker.open()
            stack.push_async_callback(worker.close)
            enter(worker.under_way, str(number))
        yield workers


async def test_any_worker_shows_the_requests_of_all(three: list[Siblings]) -> None:
    for worker in three:
        snapshot = await worker.snapshot()
        assert sorted(item["id"] for item in snapshot["running"]) == ["0", "1", "2"]
        assert snapshot["workers"] == 3


async def test_answer_now_finds_the_worker_that_has_the_request(three: list[Siblings]) -> None:
    assert await three[0].answer_now("2")
    assert three[2].under_way.snapshot()["running"][0]["asked"]
    assert await three[0].answer_now("0")
    assert not await three[0].answer_now("9")


async def test_a_dead_sibling_and_one_that_hangs_are_left_out_in_time(three: list[Siblings], folder: Path) -> None:
    # A crash leaves the socket's file behind; a hanging worker accepts and says nothing.
    (folder / "worker-7.sock").touch()
    hanging = await asyncio.start_unix_server(_hang, folder / "worker-8.sock")
    garbage = await asyncio.start_unix_server(_write_garbage, folder / "worker-9.sock")
    began_s = time.monotonic()
    snapshot = await three[0].snapshot()
    assert time.monotonic() - began_s < PATIENCE_S + 0.5
    assert snapshot["workers"] == 3
    hanging.close()
    garbage.close()


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def _write_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"<html>")
    writer.close()


async def test_garbage_on_the_socket_harms_nobody(three: list[Siblings], folder: Path) -> None:
    for garbage in (b"", b"[1]\n", b"{", b"x" * 200_000 + b"\n"):
        reader, writer = await asyncio.open_unix_connection(folder / "worker-1.sock")
        writer.write(garbage)
        writer.write_eof()
        # A server that hangs up on what it has not read resets the connection.
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
    assert (await three[0].snapshot())["workers"] == 3


async def test_a_successor_takes_the_place_of_a_worker_that_crashed(folder: Path) -> None:
    (folder / "worker-0.sock").touch()
    successor = Siblings(UnderWay(), folder, 0)
    await successor.open()
    assert (await Siblings(UnderWay(), folder, 1).snapshot())["workers"] == 2
    await successor.close()
    assert list(folder.iterdir()) == []


async def test_one_worker_alone_has_no_socket() -> None:
    alone = Siblings(UnderWay())
    await alone.open()
    assert (await alone.snapshot())["workers"] == 1
    assert not await alone.answer_now("x")
    await alone.close()


async def test_a_folder_that_others_can_enter_is_refused(folder: Path) -> None:
    os.chmod(folder, 0o755)
    with pytest.raises(UsageError, match="open to other users: chmod 700"):
        await Siblings(UnderWay(), folder).open()
    with pytest.raises(UsageError, match="cannot be used: No such file"):
        await Siblings(UnderWay(), folder / "missing").open()
    deep = folder / ("d" * 100)
    deep.mkdir(mode=0o700)
    with pytest.raises(UsageError, match="is too long"):
        await Siblings(UnderWay(), deep).open()
