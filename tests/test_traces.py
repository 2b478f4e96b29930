"""traces.jsonl: append-only, whole lines, the last of a key counts, and a killed writer harms nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from taut.core import Call, Count, Score, Task, Trace, Usage
from taut.errors import UsageError
from taut.traces import Writer, alone_in, encode, finite, read, read_all
from tests.conftest import sum_task


def trace(index: int = 0, answer: str = "3") -> Trace:
    call = Call("generate", "main", usage=Usage(Count(5, "reported"), Count(2, "counted"), Count(1, "estimated")))
    return Trace(sum_task(index), "direct", answer=answer, calls=[call], score=Score(True, "3"), decisions=[{"a": 1}])


def test_a_trace_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    with Writer(path) as writer:
        writer.append(trace())
        writer.append(trace(1, "ünïcode\n\u2028"))
    assert read(path) == [trace(), trace(1, "ünïcode\n\u2028")]


def test_a_cut_last_line_is_passed_over_and_then_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(encode(trace()) + encode(trace(1))[:40])
    assert len(read(path)) == 1
    with Writer(path) as writer:
        writer.append(trace(2))
    assert [t.task.id for t in read(path)] == ["sum/0", "sum/2"]


def test_a_file_that_is_one_cut_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(b"x" * 200_000)
    with Writer(path):
        pass
    assert path.read_bytes() == b""


def test_the_last_trace_of_a_question_counts_and_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    with Writer(path) as writer:
        for text in ("old", "new"):
            writer.append(trace(answer=text))
    assert [t.answer for t in read(path)] == ["new"]
    assert [t.answer for t in read_all(path)] == ["old", "new"]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(encode(trace()) + b'{"task": 3}\n')
    with pytest.raises(UsageError, match="line 2, is not a trace"):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*nothing\.jsonl"):
        read(tmp_path / "nothing.jsonl")


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "traces.jsonl"
    writer = Writer(path)
    writer.append(trace())
    before = path.read_bytes()
    import os

    real = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) > 10:
            return real(file, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", lambda file, data: full(file, data[:20]))
    with pytest.raises(OSError, match="No space left"):
        writer.append(Trace(Task("x", ()), "p"))
    monkeypatch.undo()
    assert path.read_bytes() == before


def test_what_json_cannot_hold_becomes_none() -> None:
    assert finite({"a": float("nan"), "b": [1.5, float("inf")]}) == {"a": None, "b": [1.5, None]}


def test_half_a_character_does_not_lose_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    with Writer(path) as writer:
        writer.append(trace(answer="so \ud83d"))
    assert [t.answer for t in read(path)] == ["so \ufffd"]


def test_only_one_process_works_in_a_folder(tmp_path: Path) -> None:
    with alone_in(tmp_path / "run"), pytest.raises(UsageError, match="another process"), alone_in(tmp_path / "run"):
        pass
    with alone_in(tmp_path / "run"):
        pass
