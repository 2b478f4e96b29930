"""The ledger: limits per key and for all, over several processes, and what a crash leaves."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taut.errors import UsageError
from taut.gateway.keys import Key
from taut.gateway.ledger import Ledger, Use
from taut.gateway.nouns import Problem

ALICE = Key("alice", b"a", requests_at_once=2)
BOB = Key("bob", b"b")
NAMES = ("alice", "bob")


class Clock:
    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def refusal(ledger: Ledger, key: Key | None) -> Problem:
    with pytest.raises(Problem) as caught:
        ledger.admit(key)
    assert caught.value.status == 429
    return caught.value


def test_a_request_is_under_way_until_its_admission_is_closed() -> None:
    ledger = Ledger(NAMES, requests_at_once=10)
    with ledger.admit(BOB) as admission:
        assert ledger.use(BOB).under_way == ledger.use().under_way == 1
        assert ledger.use(ALICE).under_way == 0
    assert ledger.use(BOB).under_way == ledger.use().under_way == 0
    admission.close()
    assert ledger.use().under_way == 0


def test_a_request_that_fails_is_no_longer_under_way() -> None:
    ledger = Ledger(NAMES, requests_at_once=10)
    with pytest.raises(KeyError), ledger.admit(BOB):
        raise KeyError("x")
    assert ledger.use(BOB) == Use(under_way=0, requests=1, tokens=0)


def test_a_key_has_so_many_requests_at_once() -> None:
    ledger = Ledger(NAMES, requests_at_once=10)
    first, _ = ledger.admit(ALICE), ledger.admit(ALICE)
    problem = refusal(ledger, ALICE)
    assert (problem.code, problem.retry_after_s) == ("rate_limit_error", 1.0)
    assert "requests_at_once" in str(problem)
    assert "'alice'" in str(problem)
    with ledger.admit(BOB):
        first.close()
    assert ledger.admit(ALICE)


def test_all_together_have_so_many_requests_at_once() -> None:
    ledger = Ledger(NAMES, requests_at_once=3)
    first, _, _ = ledger.admit(ALICE), ledger.admit(BOB), ledger.admit(None)
    for key in (ALICE, BOB, None):
        problem = refusal(ledger, key)
        assert (problem.code, problem.retry_after_s) == ("overloaded_error", 1.0)
    first.close()
    assert ledger.admit(None)


def test_a_refused_request_counts_for_nothing() -> None:
    ledger = Ledger(NAMES, requests_at_once=1)
    with ledger.admit(BOB):
        for _ in range(5):
            refusal(ledger, BOB)
        assert ledger.use(BOB) == Use(under_way=1, requests=1, tokens=0)


def test_requests_per_minute_come_back_when_the_minute_is_over() -> None:
    clock = Clock(1000.0)
    ledger = Ledger(NAMES, requests_at_once=100, clock=clock)
    key = Key("alice", b"", requests_per_minute=3)
    for _ in range(2):
        ledger.admit(key).close()
    clock.now_s = 1010.0
    ledger.admit(key).close()
    clock.now_s = 1012.0
    problem = refusal(ledger, key)
    assert "requests_per_minute" in str(problem)
    # The two of the bucket 1000…1005 leave the 65 seconds at 1065.
    assert problem.retry_after_s == 53.0
    assert str(problem).endswith("try again in 53 s")
    clock.now_s = 1064.9
    assert refusal(ledger, key).retry_after_s == 1.0
    clock.now_s = 1065.0
    for _ in range(2):
        ledger.admit(key).close()
    # The one of 1010 is still there, and leaves at 1075.
    assert refusal(ledger, key).retry_after_s == 10.0
    clock.now_s = 1075.0
    ledger.admit(key).close()


def test_no_sixty_seconds_hold_more_requests_than_the_limit() -> None:
    clock = Clock(0.0)
    ledger = Ledger(NAMES, requests_at_once=100, clock=clock)
    key = Key("alice", b"", requests_per_minute=5)
    admitted: list[float] = []
    for step in range(3000):
        clock.now_s = step / 10
        try:
            ledger.admit(key).close()
        except Problem:
            continue
        admitted.append(clock.now_s)
    # One burst of five as each window of 65 s begins: 0, 65, 130, 195 and 260 s.
    assert len(admitted) == 25
    assert all(later - earlier > 60 for earlier, later in zip(admitted, admitted[5:], strict=False))


def test_tokens_are_let_in_while_the_sum_of_the_minute_is_below_the_limit() -> None:
    clock = Clock(1000.0)
    ledger = Ledger(NAMES, requests_at_once=100, clock=clock)
    key = Key("alice", b"", tokens_per_minute=100)
    with ledger.admit(key) as admission:
        admission.spend(60)
        admission.spend(39)
    with ledger.admit(key) as admission:
        admission.spend(500)
    assert ledger.use(key).tokens == 599
    problem = refusal(ledger, key)
    assert "tokens_per_minute" in str(problem)
    assert "599 of its 100 tokens" in str(problem)
    assert problem.retry_after_s == 65.0
    clock.now_s = 1065.0
    assert ledger.admit(key)


def test_tokens_of_an_estimate_can_be_taken_back() -> None:
    ledger = Ledger(NAMES, requests_at_once=100)
    with ledger.admit(BOB) as admission:
        admission.spend(100)
        admission.spend(-40)
    assert ledger.use(BOB).tokens == ledger.use().tokens == 60


def test_tokens_spent_while_streaming_count_before_the_end() -> None:
    ledger = Ledger(NAMES, requests_at_once=100)
    key = Key("alice", b"", tokens_per_minute=10)
    with ledger.admit(key) as admission:
        admission.spend(10)
        refusal(ledger, key)


def test_what_is_used_without_a_key_counts_for_all() -> None:
    ledger = Ledger((), requests_at_once=2)
    with ledger.admit(None) as admission:
        admission.spend(7)
        assert ledger.use() == Use(under_way=1, requests=1, tokens=7)


def test_a_thousand_admissions_leave_nothing_under_way() -> None:
    ledger = Ledger(NAMES, requests_at_once=1000)
    open_ones = [ledger.admit(BOB) for _ in range(1000)]
    assert refusal(ledger, BOB).code == "overloaded_error"
    for admission in open_ones:
        admission.spend(3)
        admission.close()
    assert ledger.use(BOB) == ledger.use() == Use(under_way=0, requests=1000, tokens=3000)


def test_workers_see_what_the_others_have_under_way(tmp_path: Path) -> None:
    first, second = (
        Ledger(NAMES, requests_at_once=3, worker=worker, workers=2, path=tmp_path / "ledger") for worker in (0, 1)
    )
    first.admit(ALICE)
    admission = second.admit(ALICE)
    assert "requests_at_once" in str(refusal(first, ALICE))
    assert "requests_at_once" in str(refusal(second, ALICE))
    first.admit(BOB)
    assert refusal(second, BOB).code == "overloaded_error"
    admission.spend(11)
    admission.close()
    assert first.use() == second.use() == Use(under_way=2, requests=3, tokens=11)
    assert first.admit(ALICE)


def test_minutes_are_summed_over_workers(tmp_path: Path) -> None:
    clock = Clock(1000.0)
    first, second = (
        Ledger(NAMES, requests_at_once=99, worker=worker, workers=2, path=tmp_path / "ledger", clock=clock)
        for worker in (0, 1)
    )
    key = Key("alice", b"", requests_per_minute=4)
    first.admit(key).close()
    second.admit(key).close()
    clock.now_s = 1020.0
    first.admit(key).close()
    second.admit(key).close()
    # Two of them, one of each worker, leave at 1065.
    assert refusal(first, key).retry_after_s == refusal(second, key).retry_after_s == 45.0


CHILD = """
import os, sys
from pathlib import Path
from taut.gateway.keys import Key
from taut.gateway.ledger import Ledger
ledger = Ledger(("alice", "bob"), requests_at_once=5000, worker=1, workers=2, path=Path(sys.argv[1]))
key = Key("alice", b"a", requests_at_once=2)
bob = Key("bob", b"b")
sys.stdin.readline()
for _ in range(1000):
    with ledger.admit(bob) as admission:
        admission.spend(2)
ledger.admit(key), ledger.admit(bob).spend(50)
print("ready", flush=True)
sys.stdin.readline()
os._exit(9)
"""


def test_two_processes_share_a_ledger_and_a_crash_leaves_nothing_under_way(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(NAMES, requests_at_once=5000, worker=0, workers=2, path=path)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdin
        assert child.stdout
        # Both count at the same time, each in rows of its own: nothing gets lost.
        child.stdin.write("go\n")
        child.stdin.flush()
        for _ in range(1000):
            with ledger.admit(BOB) as admission:
                admission.spend(1)
        assert child.stdout.readline() == "ready\n"
        assert ledger.use(BOB) == Use(under_way=1, requests=2001, tokens=3050)
        ledger.admit(ALICE)
        refusal(ledger, ALICE)
        child.stdin.write("die\n")
    assert child.returncode == 9
    assert ledger.use(ALICE).under_way == 2
    successor = Ledger(NAMES, requests_at_once=5000, worker=1, workers=2, path=path)
    # What the dead one had spent stays spent.
    assert successor.use(BOB) == ledger.use(BOB) == Use(under_way=0, requests=2001, tokens=3050)
    assert ledger.use(ALICE).under_way == 1
    assert successor.admit(ALICE)


def test_workers_that_start_at_the_same_moment_make_one_file(tmp_path: Path) -> None:
    def join(worker: int) -> Ledger:
        return Ledger(NAMES, requests_at_once=99, worker=worker, workers=8, path=tmp_path / "ledger")

    with ThreadPoolExecutor(8) as threads:
        ledgers = [*threads.map(join, range(8))]
    for ledger in ledgers:
        ledger.admit(BOB)
    assert {ledger.use(BOB).under_way for ledger in ledgers} == {8}


def test_a_dead_worker_can_be_forgotten_before_its_successor_comes(tmp_path: Path) -> None:
    first, second = (
        Ledger(NAMES, requests_at_once=9, worker=worker, workers=2, path=tmp_path / "ledger") for worker in (0, 1)
    )
    second.admit(BOB)
    first.admit(BOB)
    first.forget(1)
    assert first.use(BOB).under_way == 1


@pytest.mark.parametrize(("names", "workers"), [(("alice",), 2), (("bob", "alice"), 2), (NAMES, 3), (NAMES, 1)])
def test_a_file_of_other_keys_or_workers_is_refused(tmp_path: Path, names: tuple[str, ...], workers: int) -> None:
    Ledger(NAMES, requests_at_once=9, workers=2, path=tmp_path / "ledger")
    with pytest.raises(UsageError, match="start with a new file"):
        Ledger(names, requests_at_once=9, workers=workers, path=tmp_path / "ledger")


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    Ledger(NAMES, requests_at_once=9, path=tmp_path / "ledger")
    assert (tmp_path / "ledger").stat().st_mode & 0o777 == 0o600


def test_a_file_from_before_a_restart_of_the_machine_holds_nothing_of_this_minute(tmp_path: Path) -> None:
    before = Ledger(NAMES, requests_at_once=9, path=tmp_path / "ledger", clock=Clock(90_000.0))
    before.admit(BOB)
    after = Ledger(NAMES, requests_at_once=9, path=tmp_path / "ledger", clock=Clock(100.0))
    assert after.use(BOB) == Use(under_way=0, requests=0, tokens=0)


@pytest.mark.parametrize(("worker", "workers"), [(1, 1), (-1, 2), (2, 2)])
def test_there_is_no_worker_beyond_the_last(worker: int, workers: int) -> None:
    with pytest.raises(ValueError, match="no worker"):
        Ledger(NAMES, requests_at_once=9, worker=worker, workers=workers)
