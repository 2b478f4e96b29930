"""The sweep: its order, its bound, and that a run stopped in any way goes on with nothing lost and nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taut.bench import Plan, sweep
from taut.cli import main
from taut.config import Config
from taut.core import Piece, Request, Sampling, Score, Streamed, Trace
from taut.engines.fake import FakeEngine, Scripted, thinker
from taut.errors import EngineError, UsageError
from taut.traces import key_of, read, read_all
from tests.conftest import sum_task
from tests.engines.fake_upstream import FakeUpstream, Reply, stream_of

PRESETS = ("direct", "budget_forcing:max_thinking_tokens=9", "tale")
REPORT_FILES = ("summary.json", "report.md", "report.html")


def plan(count: int = 4, presets: tuple[str, ...] = PRESETS, **options: Any) -> Plan:
    settings: dict[str, Any] = {"sampling": Sampling(max_tokens=400, temperature=1.0), "concurrency": 1, **options}
    return Plan([Config().preset(text) for text in presets], [sum_task(i) for i in range(count)], **settings)


async def swept(path: Path, work: Plan, engine: FakeEngine | None = None) -> list[Trace]:
    seen: list[Trace] = []
    await sweep(work, {"main": engine or FakeEngine()}, path, seen.append)
    return seen


class Crowd(FakeEngine):
    """Counts how many streams are open at once."""

    now = 0
    most = 0

    async def stream(self, request: Request) -> AsyncIterator[Streamed]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            async for item in super().stream(request):
                yield item
        finally:
            self.now -= 1


async def test_every_question_is_asked_of_all_presets_before_the_next_the_baseline_first(tmp_path: Path) -> None:
    seen = await swept(tmp_path / "t.jsonl", plan(3))
    assert [(trace.task.id, trace.preset) for trace in seen] == [
        (f"sum/{index}", preset) for index in range(3) for preset in PRESETS
    ]
    assert [key_of(trace) for trace in read(tmp_path / "t.jsonl")] == [key_of(trace) for trace in seen]


@pytest.mark.parametrize("bound", [1, 3, 8])
async def test_the_bound_on_questions_at_once_is_kept_and_used(tmp_path: Path, bound: int) -> None:
    engine = Crowd(token_s=0.0005)
    seen = await swept(tmp_path / "t.jsonl", plan(6, concurrency=bound), engine)
    assert len(seen) == 18
    assert (engine.most, engine.now) == (bound, 0)


async def test_a_bound_above_the_number_of_questions_is_no_fault(tmp_path: Path) -> None:
    assert len(await swept(tmp_path / "t.jsonl", plan(1, ("direct",), concurrency=50))) == 1


async def test_answers_are_verified_and_failures_are_not_scored(tmp_path: Path) -> None:
    def script(request: Request) -> Scripted:
        if "1 + 2" in str(request.prompt.messages):
            return Scripted(error=EngineError("too long", kind="refused"))
        return thinker(request)

    failed, judged = await swept(tmp_path / "t.jsonl", plan(2, ("direct",)), FakeEngine(script))
    assert (failed.error, failed.error_kind) == ("too long", "refused")
    assert failed.score is not None
    assert failed.score.value is None
    assert judged.score is not None
    assert judged.score.value is not None


async def test_one_seed_gives_the_same_questions_and_answers_in_two_runs(tmp_path: Path) -> None:
    def content(trace: Trace) -> tuple[Any, ...]:
        return trace.task, trace.preset, trace.thinking, trace.answer, trace.completion_tokens, trace.score

    first = await swept(tmp_path / "a.jsonl", plan(5, seed=3))
    second = await swept(tmp_path / "b.jsonl", plan(5, seed=3, concurrency=7))
    other = await swept(tmp_path / "c.jsonl", plan(5, seed=4))
    assert {key_of(t): content(t) for t in first} == {key_of(t): content(t) for t in second}
    assert [t.thinking for t in first] != [t.thinking for t in other]


async def test_rollouts_are_further_answers_under_further_seeds(tmp_path: Path) -> None:
    seen = await swept(tmp_path / "t.jsonl", plan(2, ("direct",), seed=10, rollouts=3))
    assert [(trace.task.id, trace.seed) for trace in seen] == [
        (f"sum/{index}", seed) for seed in (10, 11, 12) for index in (0, 1)
    ]
    drawn = {call.seed for trace in seen for call in trace.calls}
    assert len(drawn) == 6


async def test_a_finished_run_asks_nothing_again(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    await swept(path, plan())
    before = path.read_bytes()
    engine = FakeEngine()
    seen = await swept(path, plan(), engine)
    assert engine.requests == []
    assert len(seen) == 12
    assert path.read_bytes() == before


async def test_failed_questions_are_asked_again_and_the_failure_stays_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    broken = {"sum/1", "sum/3"}

    def script(request: Request) -> Scripted:
        index = {f"What is {i + 1} + {i + 2}?": f"sum/{i}" for i in range(4)}
        turn = thinker(request)
        if index[request.prompt.messages[-1]["content"]] in broken:
            return Scripted(turn.thinking, turn.answer, EngineError("broke", kind="cut"), error_after_tokens=3)
        return turn

    await swept(path, plan(4, ("direct",)), FakeEngine(script))
    before = path.read_bytes()
    broken.clear()
    engine = FakeEngine(script)
    await swept(path, plan(4, ("direct",)), engine)
    assert len(engine.requests) == 2
    assert path.read_bytes().startswith(before)
    assert [trace.error for trace in read(path)] == [None] * 4
    # The failed tries were paid for: their lines stay.
    assert Counter(trace.task.id for trace in read_all(path)) == {"sum/0": 1, "sum/1": 2, "sum/2": 1, "sum/3": 2}


async def test_a_server_that_is_gone_stops_the_sweep_and_keeps_what_was_done(tmp_path: Path) -> None:
    path, asked = tmp_path / "t.jsonl", 0

    def script(request: Request) -> Scripted:
        nonlocal asked
        asked += 1
        return thinker(request) if asked <= 3 else Scripted(error=EngineError("down", kind="unreachable"))

    with pytest.raises(EngineError, match="the last 4 questions all failed, the latest with: down"):
        await swept(path, plan(50, ("direct",)), FakeEngine(script))
    assert [trace.error for trace in read(path)] == [None] * 3 + ["down"] * 4
    await swept(path, plan(50, ("direct",)))
    assert [trace.error for trace in read(path)] == [None] * 50


async def test_a_cancelled_sweep_leaves_whole_lines_and_no_stream_open(tmp_path: Path) -> None:
    path, engine = tmp_path / "t.jsonl", Crowd(token_s=0.002)
    done = asyncio.Event()
    work = asyncio.ensure_future(sweep(plan(20, concurrency=4), {"main": engine}, path, lambda trace: done.set()))
    await asyncio.wait_for(done.wait(), 20)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert engine.now == 0
    assert len(read(path)) >= 1
    assert path.read_bytes().endswith(b"\n")


async def test_an_engine_that_lacks_what_a_preset_needs_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    engine = FakeEngine(offers=frozenset())
    with pytest.raises(UsageError, match="needs prefill"):
        await swept(tmp_path / "t.jsonl", plan(), engine)
    assert engine.requests == []
    assert not (tmp_path / "t.jsonl").exists()


# The rest goes through the command, most of it in a process of its own that can be killed.

COUNT = 10
SLOW = """
[engines.slow]
kind = "fake"
token_s = 0.005
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with questions and a slow engine."""
    lines = [{"question": f"What is {i} + {i + 1}?", "answer": str(2 * i + 1)} for i in range(COUNT)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (tmp_path / "taut.toml").write_text(SLOW, encoding="utf-8")
    return tmp_path


def arguments(*more: str, engine: str = "slow") -> list[str]:
    settings = ["bench", "--engine", engine, "--task", "questions.jsonl", "--limit", str(COUNT), "--out", "run"]
    return [*settings, "--preset", "direct", "--preset", "concise", "--temperature", "1", *more]


def started(folder: Path, *more: str, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "taut.cli", *arguments(*more)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, complaint = process.communicate(timeout=90)
    return process.returncode, output, complaint


@contextlib.contextmanager
def running(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    process = started(folder, *more)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for_lines(folder: Path, count: int) -> None:
    path, patience = folder / "run" / "traces.jsonl", time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < patience, "the sweep does not get on"
        time.sleep(0.01)


def wait_for_file(path: Path) -> None:
    patience = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < patience, "the sweep does not begin"
        time.sleep(0.01)


def whole_lines(folder: Path) -> bytes:
    content = (folder / "run" / "traces.jsonl").read_bytes()
    return content[: content.rfind(b"\n") + 1]


def assert_complete(folder: Path) -> None:
    """Every question once for each preset, none failed."""
    traces = list(read_all(folder / "run" / "traces.jsonl"))
    expected = {(preset, f"questions/{i}", 0) for preset in ("direct", "concise") for i in range(COUNT)}
    assert Counter(key_of(trace) for trace in traces) == dict.fromkeys(expected, 1)
    assert [trace.error for trace in traces] == [None] * len(expected)
    for name in REPORT_FILES:
        assert (folder / "run" / name).stat().st_size > 0


def test_a_run_killed_three_times_goes_on_with_nothing_lost_and_nothing_twice(folder: Path) -> None:
    earlier = b""
    for count in (2, 6, 11):
        with running(folder, "--resume") as process:
            wait_for_lines(folder, count)
            process.kill()
            process.wait()
        assert process.returncode == -signal.SIGKILL
        assert whole_lines(folder).startswith(earlier)
        earlier = whole_lines(folder)
    # What a kill in the middle of a write leaves.
    with (folder / "run" / "traces.jsonl").open("ab") as file:
        file.write(earlier.split(b"\n")[0][:57])
    code, _, complaint = finished(started(folder, "--resume"))
    assert (code, "Traceback" in complaint) == (0, False)
    assert whole_lines(folder).startswith(earlier)
    assert_complete(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_a_report_and_goes_on(folder: Path, number: signal.Signals) -> None:
    with running(folder) as process:
        wait_for_lines(folder, 4)
        process.send_signal(number)
        code, _, complaint = finished(process)
    assert code == 130
    assert "Traceback" not in complaint
    assert "--resume" in complaint
    for name in REPORT_FILES:
        assert (folder / "run" / name).stat().st_size > 0
    manifest = json.loads((folder / "run" / "manifest.json").read_bytes())
    assert manifest["interrupted"] is True
    earlier = whole_lines(folder)
    code, _, complaint = finished(started(folder, "--resume"))
    assert (code, "Traceback" in complaint) == (0, False)
    assert whole_lines(folder).startswith(earlier)
    assert_complete(folder)
    assert json.loads((folder / "run" / "manifest.json").read_bytes())["interrupted"] is False


def test_a_run_interrupted_before_its_first_answer_is_no_fault(folder: Path) -> None:
    (folder / "taut.toml").write_text(SLOW.replace("0.005", "5"), encoding="utf-8")
    with running(folder) as process:
        wait_for_file(folder / "run" / "traces.jsonl")
        process.send_signal(signal.SIGINT)
        code, _, complaint = finished(process)
    assert (code, "Traceback" in complaint) == (130, False)
    assert whole_lines(folder) == b""
    (folder / "taut.toml").write_text(SLOW, encoding="utf-8")
    assert finished(started(folder, "--resume"))[0] == 0
    assert_complete(folder)


def test_two_runs_at_once_in_one_folder_are_refused(folder: Path) -> None:
    (folder / "taut.toml").write_text(SLOW.replace("0.005", "5"), encoding="utf-8")
    with running(folder) as process:
        wait_for_file(folder / "run" / "traces.jsonl")
        code, _, complaint = finished(started(folder, "--resume"))
        assert process.poll() is None
    assert code == 2
    assert "another process is writing" in one_sentence(complaint)


def one_sentence(complaint: str) -> str:
    """The last line of stderr, which must be the only one that is no progress."""
    lines = [line for line in complaint.splitlines() if line.startswith("taut: ")]
    assert len(lines) == 1
    assert "Traceback" not in complaint
    return lines[0]


def test_a_file_size_limit_is_told_in_one_sentence_and_the_run_goes_on_later(folder: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))

    code, _, complaint = finished(started(folder, before=limit))
    assert code == 2
    assert "traces.jsonl" in one_sentence(complaint)
    earlier = (folder / "run" / "traces.jsonl").read_bytes()
    assert earlier.endswith(b"\n")
    assert 0 < len(read(folder / "run" / "traces.jsonl")) < 2 * COUNT
    code, _, complaint = finished(started(folder, "--resume"))
    assert (code, "Traceback" in complaint) == (0, False)
    assert whole_lines(folder).startswith(earlier)
    assert_complete(folder)


@pytest.fixture
def tiny_disk(folder: Path) -> Iterator[Path]:
    """A file system of 16 KiB in the place of the run's folder."""
    place = folder / "run"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_told_in_one_sentence_and_the_run_goes_on_later(folder: Path, tiny_disk: Path) -> None:
    code, _, complaint = finished(started(folder))
    assert code == 2
    assert "No space left" in one_sentence(complaint)
    earlier = (tiny_disk / "traces.jsonl").read_bytes()
    assert earlier.endswith(b"\n")
    json.loads((tiny_disk / "manifest.json").read_bytes())
    subprocess.run(["mount", "-o", "remount,size=64m", str(tiny_disk)], check=True)
    code, _, complaint = finished(started(folder, "--resume"))
    assert (code, "Traceback" in complaint) == (0, False)
    assert whole_lines(folder).startswith(earlier)
    assert_complete(folder)


async def test_a_server_that_dies_in_the_middle_is_told_in_one_sentence_and_the_run_goes_on_later(
    folder: Path,
) -> None:
    reply = Reply(stream_of(["The ", "answer ", "is ", "3."]), pause_s=0.01)

    def write(url: str) -> None:
        text = f'[engines.slow]\nkind = "openai"\nurl = "{url}"\nmax_retries = 0\nname = "upstream"\n'
        (folder / "taut.toml").write_text(text, encoding="utf-8")

    async with FakeUpstream([reply]) as server:
        write(server.url)
        process = await asyncio.to_thread(started, folder)
        await asyncio.to_thread(wait_for_lines, folder, 3)
    code, _, complaint = await asyncio.to_thread(finished, process)
    assert code == 2
    assert "the last 4 questions all failed" in one_sentence(complaint)
    earlier = whole_lines(folder)
    async with FakeUpstream([reply]) as server:
        write(server.url)
        code, _, complaint = await asyncio.to_thread(finished, started(folder, "--resume"))
    assert (code, "Traceback" in complaint) == (0, False)
    assert whole_lines(folder).startswith(earlier)
    traces = read(folder / "run" / "traces.jsonl")
    assert [trace.error for trace in traces] == [None] * 2 * COUNT
    # Asked twice are only those that had failed.
    answered = Counter(key_of(t) for t in read_all(folder / "run" / "traces.jsonl") if t.error is None)
    assert set(answered.values()) == {1}


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def complaint_of(capsys: pytest.CaptureFixture[str], *more: str) -> str:
    capsys.readouterr()
    assert main(arguments(*more, engine="fake")) == 2
    return one_sentence(capsys.readouterr().err)


def test_a_folder_with_a_run_is_not_written_into_without_resume(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(engine="fake")) == 0
    before = whole_lines(inside)
    assert "already holds a run: go on with it by --resume" in complaint_of(capsys)
    assert whole_lines(inside) == before


@pytest.mark.parametrize(
    ("more", "difference"),
    [
        (("--seed", "1"), "seed was 0 and is 1"),
        (("--max-tokens", "7"), "max_tokens was 1024 and is 7"),
        (("--temperature", "0.5"), "temperature was 1.0 and is 0.5"),
        (("--rollouts", "2"), "rollouts was 1 and is 2"),
        (("--limit", "3"), "questions was 10 and is 3"),
        (("--preset", "tale"), "presets.tale is new"),
        (("--baseline", "concise"), "baseline was direct and is concise"),
    ],
)
def test_a_run_of_another_configuration_is_refused_naming_the_difference(
    inside: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], difference: str
) -> None:
    assert main(arguments(engine="fake")) == 0
    before = whole_lines(inside)
    complaint = complaint_of(capsys, "--resume", *more)
    assert "a run of another configuration" in complaint
    assert difference in complaint
    assert whole_lines(inside) == before


def test_changed_questions_are_another_configuration(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(engine="fake")) == 0
    path = inside / "questions.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("What is 0 + 1", "What is 1 + 0"), encoding="utf-8")
    assert "questions_digest was" in complaint_of(capsys, "--resume")


def test_another_number_at_once_is_no_other_configuration(inside: Path) -> None:
    assert main(arguments(engine="fake")) == 0
    assert main(arguments("--resume", "--concurrency", "9", engine="fake")) == 0
    assert_complete(inside)


def test_one_seed_chooses_the_same_questions_in_two_runs(inside: Path) -> None:
    chosen = {}
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        assert main(arguments("--out", name, "--seed", seed, "--limit", "4", engine="fake")) == 0
        chosen[name] = [(trace.task.id, trace.preset, trace.answer) for trace in read(inside / name / "traces.jsonl")]
    assert sorted(chosen["a"]) == sorted(chosen["b"])
    assert {task for task, _, _ in chosen["a"]} != {task for task, _, _ in chosen["c"]}


def test_the_summary_counts_every_preset_and_the_manifest_says_what_it_was(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments("--rollouts", "2", engine="fake")) == 0
    manifest = json.loads((inside / "run" / "manifest.json").read_bytes())
    assert manifest["presets"] == ["direct", "concise"]
    assert manifest["seeds"] == [0, 1]
    assert manifest["engine"]["model"] == "fake-thinker"
    assert manifest["finished_at"] is not None
    assert "run" in capsys.readouterr().out
    assert len(read(inside / "run" / "traces.jsonl")) == 4 * COUNT


async def test_found_traces_are_told_apart_from_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    await swept(path, plan(2))
    new: list[Trace] = []
    found: list[Trace] = []
    await sweep(plan(3), {"main": FakeEngine()}, path, new.append, found.append)
    assert (len(found), len(new)) == (6, 3)


async def test_an_answer_that_waits_to_be_judged_is_kept_when_the_sweep_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow_score(answer: str, task: object) -> Score:
        loop.call_soon_threadsafe(judging.set)
        time.sleep(0.2)
        return Score(True, "3")

    monkeypatch.setattr("taut.bench.score", slow_score)
    path = tmp_path / "t.jsonl"
    work = asyncio.create_task(swept(path, plan(2, ("direct",))))
    await judging.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert [trace.score for trace in read(path)] == [Score(True, "3")]


def test_a_run_whose_questions_all_failed_says_so_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def nothing(request: Request) -> AsyncIterator[Streamed]:
        if request.prompt.messages:
            raise EngineError("the stream broke off", kind="cut")
        yield Piece("answer", "")

    monkeypatch.setattr(FakeEngine, "stream", lambda self, request: nothing(request))
    (tmp_path / "q.jsonl").write_text('{"question": "1 + 2", "answer": 3}\n', encoding="utf-8")
    out = str(tmp_path / "run")
    assert (
        main(["bench", "--engine", "fake", "--task", str(tmp_path / "q.jsonl"), "--preset", "direct", "--out", out])
        == 2
    )
    assert "all 1 questions failed, the first with: the stream broke off" in capsys.readouterr().err


def test_a_run_judged_by_another_verifier_is_another_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "q.jsonl").write_text('{"question": "1 + 2", "answer": 3}\n', encoding="utf-8")
    begin = ["bench", "--engine", "fake", "--task", str(tmp_path / "q.jsonl"), "--preset", "direct"]
    begin += ["--out", str(tmp_path / "run")]
    assert main([*begin, "--verifier", "number"]) == 0
    assert main([*begin, "--verifier", "exact", "--resume"]) == 2
    assert "questions_digest was" in capsys.readouterr().err
