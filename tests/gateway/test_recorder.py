"""Traces of many workers in one file: whole lines, bounded size, no texts unless they are wanted, and no harm done."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from taut.core import Score, Task, Trace
from taut.errors import UsageError
from taut.gateway import recorder as recorder_module
from taut.gateway.recorder import Recorder
from taut.gateway.redacting import without_texts
from taut.metrics import summarize
from taut.traces import alone_in, encode, read, read_all
from tests.made_run import made_call, made_trace

NOTE = {"key": "alice", "protocol": "chat", "engine": "main", "thinking_budget_tokens": 512}
SECRET = "xylophone"


def asked(request_id: str, text: str = "What is 3 + 4?") -> Trace:
    trace = made_trace("concise", request_id)
    trace.task = Task(request_id, ({"role": "user", "content": text},))
    return trace


def open_recorder(folder: Path, *, store_prompts: bool = True, file_mb: int = 64, total_mb: int = 1024) -> Recorder:
    return Recorder(folder, store_prompts=store_prompts, file_mb=file_mb, total_mb=total_mb)


def wait_until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    patience = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < patience
        time.sleep(0.01)


def lines_of(folder: Path) -> list[Trace]:
    """All traces, rotated ones first."""
    return [trace for path in sorted(folder.glob("traces-*.jsonl")) for trace in read_all(path)] + [
        *read_all(folder / "traces.jsonl")
    ]


def secretive() -> Trace:
    """A trace with somebody's word in every place where a word can be."""
    call = made_call(10, 20)
    call.messages, call.thinking, call.answer = ({"role": "user", "content": SECRET},), SECRET, SECRET
    call.error, call.tool_calls = f"the server said {SECRET}", ({"function": {"name": SECRET}},)
    trace = asked("r1", SECRET)
    trace.task = Task("r1", trace.task.messages, SECRET, "exact", {"question": SECRET})
    trace.thinking = trace.answer = SECRET
    trace.tool_calls = ({"function": {"name": SECRET, "arguments": SECRET}},)
    trace.error, trace.error_kind = f"it said {SECRET}", "cut"
    trace.calls = [call]
    trace.decisions = [
        {"at_s": 1.5, "event": "extend", "text": f"Wait, {SECRET}", "thinking_tokens": 12},
        {"at_s": 2.5, "event": "stop", "why": f"the trial answer '{SECRET}' came twice", "seen": [SECRET, 3]},
    ]
    trace.score = Score(False, SECRET, f"{SECRET} is wrong")
    return trace


def test_a_trace_is_written_in_the_format_that_everything_reads(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path / "traces")
    recorder.append(asked("r1"), NOTE)
    recorder.close()
    (trace,) = read(tmp_path / "traces" / "traces.jsonl")
    assert trace.task.question == "What is 3 + 4?"
    assert trace.task.metadata == NOTE
    assert recorder.written == 1


def test_no_word_is_stored_unless_the_operator_wants_it(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path, store_prompts=False)
    recorder.append(secretive(), NOTE)
    recorder.close()
    assert SECRET not in (tmp_path / "traces.jsonl").read_text()


def test_without_texts_the_facts_stay() -> None:
    trace = without_texts(secretive(), NOTE)
    assert (trace.task.id, trace.task.messages) == ("r1", ())
    assert trace.task.metadata == {**NOTE, "texts": "not stored"}
    assert trace.tokens_by_role()["thinking"].reported == 10
    assert trace.error == "cut: its text is not stored"
    assert trace.decisions == [
        {"at_s": 1.5, "event": "extend", "text": "not stored", "thinking_tokens": 12},
        {"at_s": 2.5, "event": "stop", "why": "the trial answer '…' came twice", "seen": ["not stored", 3]},
    ]
    assert trace.calls[0].first_token_s == 0.5


def test_names_that_a_client_made_up_are_not_stored() -> None:
    note = {"budget": {"mechanism": "loop", "ignored": [f"reasoning.{SECRET}"]}, "long": SECRET * 50}
    metadata = without_texts(secretive(), note).task.metadata
    assert metadata["budget"] == {"mechanism": "loop", "ignored": ["not stored"]}
    assert metadata["long"] == "not stored"


def test_the_trace_itself_keeps_its_texts() -> None:
    trace = secretive()
    without_texts(trace, NOTE)
    assert encode(trace) == encode(secretive())


def test_metrics_read_traces_without_texts(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path, store_prompts=False)
    for index in range(6):
        recorder.append(asked(f"r{index}"), NOTE)
    failed = secretive()
    failed.task = Task("r6", failed.task.messages)
    recorder.append(failed, NOTE)
    recorder.close()
    summary = summarize(read(tmp_path / "traces.jsonl"), baseline="concise", presets=["concise"])
    found = summary.presets["concise"]
    assert (found.n, found.errors) == (7, 1)
    assert found.completion_tokens is not None
    assert found.completion_tokens.value == 100.0


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    open_recorder(tmp_path).close()
    assert (tmp_path / "traces.jsonl").stat().st_mode & 0o077 == 0


def test_a_full_file_is_renamed_and_the_oldest_are_deleted(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path, file_mb=1, total_mb=3)
    for index in range(60):
        recorder.append(asked(f"r{index:02}", "x" * 100_000), NOTE)
    recorder.close()
    rotated = sorted(tmp_path.glob("traces-*.jsonl"))
    assert len(rotated) == 2
    sizes = [path.stat().st_size for path in [*rotated, tmp_path / "traces.jsonl"]]
    assert max(sizes) <= 1_000_000
    assert sum(sizes) <= 3_000_000
    ids = [trace.task.id for trace in lines_of(tmp_path)]
    assert ids == [f"r{index:02}" for index in range(60 - len(ids), 60)]


def test_only_own_files_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "traces-of-mine.jsonl").write_bytes(b"{}\n" * 2_000_000)
    recorder = open_recorder(tmp_path, file_mb=1, total_mb=2)
    for index in range(30):
        recorder.append(asked(f"r{index}", "x" * 100_000), NOTE)
    recorder.close()
    assert (tmp_path / "traces-of-mine.jsonl").exists()


def test_a_line_longer_than_a_file_gets_one_of_its_own(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path, file_mb=1)
    for index in range(3):
        recorder.append(asked(f"r{index}", "x" * 2_000_000), NOTE)
    recorder.close()
    assert [trace.task.id for trace in lines_of(tmp_path)] == ["r0", "r1", "r2"]


WORKER = """
import sys
from pathlib import Path
from taut.gateway.recorder import Recorder
from tests.gateway.test_recorder import NOTE, asked
recorder = Recorder(Path(sys.argv[1]), store_prompts=True, file_mb=1, total_mb=1000)
for index in range(int(sys.argv[3])):
    recorder.append(asked(f"{sys.argv[2]}/{index}", "x" * 3000), NOTE)
recorder.close()
"""


def start_worker(folder: Path, name: str, traces: int) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), name, str(traces)], cwd=root, stdout=subprocess.PIPE, text=True
    )


def test_four_workers_lose_and_mix_nothing_while_they_rotate(tmp_path: Path) -> None:
    workers = [start_worker(tmp_path, name, 500) for name in "abcd"]
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0
    assert len(list(tmp_path.glob("traces-*.jsonl"))) >= 5
    ids = [trace.task.id for trace in lines_of(tmp_path)]
    assert sorted(ids) == sorted(f"{name}/{index}" for name in "abcd" for index in range(500))
    # Each worker's own lines keep their order.
    for name in "abcd":
        own = [int(found.partition("/")[2]) for found in ids if found.startswith(name)]
        assert own == list(range(500))


def test_a_killed_worker_leaves_whole_lines_for_the_others(tmp_path: Path) -> None:
    worker = start_worker(tmp_path, "a", 100_000)
    path = tmp_path / "traces.jsonl"
    wait_until(lambda: path.exists() and path.stat().st_size > 0, 60)
    worker.send_signal(signal.SIGKILL)
    worker.communicate(timeout=30)
    recorder = open_recorder(tmp_path)
    recorder.append(asked("after"), NOTE)
    recorder.close()
    ids = [trace.task.id for trace in lines_of(tmp_path)]
    assert ids == [*(f"a/{index}" for index in range(len(ids) - 1)), "after"]


def test_an_unfinished_line_is_cut_by_the_next_writer(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_bytes(encode(asked("r1")) + encode(asked("r2"))[:50])
    recorder = open_recorder(tmp_path)
    recorder.append(asked("r3"), NOTE)
    recorder.close()
    assert [trace.task.id for trace in lines_of(tmp_path)] == ["r1", "r3"]


def test_a_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    recorder = open_recorder(folder)
    recorder.append(asked("r1"), NOTE)
    wait_until(lambda: recorder.written == 1)
    shutil.rmtree(folder)
    recorder.append(asked("r2"), NOTE)
    recorder.close()
    assert [trace.task.id for trace in lines_of(folder)] == ["r2"]


def test_a_disk_that_fails_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recorder_module, "RETRY_S", 0.01)
    folder, aside = tmp_path / "traces", tmp_path / "aside"
    failed: list[int] = []
    lost: list[int] = []
    recorder = Recorder(folder, store_prompts=True, file_mb=1, total_mb=2, failed=failed.append, lost=lost.append)
    folder.rename(aside)
    folder.write_text("in the way")
    recorder.append(asked("r1"), NOTE)
    wait_until(lambda: len(failed) >= 3)
    folder.unlink()
    wait_until(lambda: recorder.written == 1)
    recorder.append(asked("r2"), NOTE)
    recorder.close()
    assert [trace.task.id for trace in lines_of(folder)] == ["r1", "r2"]
    assert lost == []
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("taut serve: cannot write traces into ")
    assert said[1].endswith("again")


def test_what_cannot_be_written_at_the_end_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "RETRY_S", 0.01)
    folder = tmp_path / "traces"
    lost: list[int] = []
    recorder = Recorder(folder, store_prompts=True, file_mb=1, total_mb=2, lost=lost.append)
    shutil.rmtree(folder)
    folder.write_text("in the way")
    for index in range(3):
        recorder.append(asked(f"r{index}"), NOTE)
    recorder.close()
    recorder.append(asked("late"), NOTE)
    assert sum(lost) == 4


def test_memory_is_bounded_while_the_disk_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "WAITING_BYTES", 100_000)
    folder = tmp_path / "traces"
    lost: list[int] = []
    recorder = Recorder(folder, store_prompts=True, file_mb=1, total_mb=2, lost=lost.append)
    shutil.rmtree(folder)
    folder.write_text("in the way")
    for index in range(20):
        recorder.append(asked(f"r{index}", "x" * 10_000), NOTE)
    assert sum(lost) >= 10
    recorder.close()
    assert sum(lost) == 20


def test_a_full_disk_takes_back_the_half_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "RETRY_S", 0.01)
    room = [200]
    write = os.write

    def scarce(file: int, data: bytes) -> int:
        if len(data) < 1000:
            return write(file, data)
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        taken, room[0] = write(file, data[: room[0]]), 0
        return taken

    failed: list[int] = []
    recorder = Recorder(tmp_path, store_prompts=True, file_mb=1, total_mb=2, failed=failed.append)
    monkeypatch.setattr(os, "write", scarce)
    recorder.append(asked("r1", "x" * 5000), NOTE)
    wait_until(lambda: len(failed) > 1)
    assert (tmp_path / "traces.jsonl").stat().st_size == 0
    monkeypatch.setattr(os, "write", write)
    recorder.close()
    assert [trace.task.id for trace in lines_of(tmp_path)] == ["r1"]


def test_a_message_that_json_cannot_hold_harms_nothing(tmp_path: Path) -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    lost: list[int] = []
    recorder = Recorder(tmp_path, store_prompts=True, file_mb=1, total_mb=2, lost=lost.append)
    trace = asked("deep")
    trace.task = Task("deep", ({"role": "user", "content": deep},))
    recorder.append(trace, NOTE)
    recorder.append(asked("half \ud83d a character", "\ud83d"), NOTE)
    recorder.close()
    assert lost == [1]
    assert len(read(tmp_path / "traces.jsonl")) == 1


async def test_the_event_loop_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path)
    # Another process holds the lock, say one that was stopped in the middle of a line.
    with (tmp_path / ".append").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        began = time.perf_counter()
        for index in range(100):
            recorder.append(asked(f"r{index}"), NOTE)
        assert time.perf_counter() - began < 1
        assert recorder.written == 0
    await asyncio.to_thread(recorder.close)
    assert recorder.written == 100


def test_a_bench_refuses_the_folder_of_a_running_gateway(tmp_path: Path) -> None:
    first, second = open_recorder(tmp_path), open_recorder(tmp_path)
    first.close()
    with pytest.raises(UsageError, match="another process"), alone_in(tmp_path):
        pass
    second.close()
    with alone_in(tmp_path):
        pass


def test_a_gateway_refuses_the_folder_of_a_bench(tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(UsageError, match="taut bench is running in"):
        open_recorder(tmp_path)
    (tmp_path / "manifest.json").write_bytes(msgspec.json.encode({}))
    with pytest.raises(UsageError, match="is a run folder of taut bench"):
        open_recorder(tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is a file, not a folder: give --traces a folder"):
        open_recorder(tmp_path / "file")


def test_a_recorder_that_is_closed_leaves_no_open_file(tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not list open files")
    before = count()
    for _ in range(3):
        recorder = open_recorder(tmp_path)
        recorder.append(asked("r"), NOTE)
        recorder.close()
    with contextlib.suppress(UsageError), alone_in(tmp_path):
        open_recorder(tmp_path)
    assert count() == before
