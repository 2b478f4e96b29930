"""What is remembered between steps: the shortest right answers, and target lengths by difficulty."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from taut.errors import UsageError
from taut.methods.model_based.length_rewards.hapo import Hapo
from taut.methods.model_based.memory import History, Monitor
from taut.rollouts import Targets
from tests.methods.length_rewards.made import made


def test_a_history_keeps_the_shortest_right_answer_to_each_question() -> None:
    history = History()
    history.observe([made("300+ 200+ 100-"), replace(made("50+"), question="q8")])
    history.observe([made("250+ 90-")])
    assert history.shortest == {"q7": 200, "q8": 50}
    assert history.fill(made("1+")).shortest_so_far == 200
    assert history.fill(replace(made("1+"), question="new")).shortest_so_far is None


def test_a_question_that_nobody_solved_stays_new() -> None:
    history = History()
    history.observe([made("300- 200-")])
    assert history.fill(made("1+")).shortest_so_far is None


def test_a_history_can_count_the_thinking_alone() -> None:
    history = History(of="thinking")
    history.observe([made("300+")])
    assert history.shortest == {"q7": 150}


def test_a_group_without_an_id_cannot_be_remembered() -> None:
    with pytest.raises(UsageError, match="give it an id"):
        History().fill(replace(made("1+"), question=""))


def test_the_first_step_of_hapo_is_plain_correctness_and_the_second_is_not() -> None:
    history = History()
    first = history.fill(made("300+ 600+ 100-"))
    assert Hapo()(first) == (1.0, 1.0, 0.0)
    history.observe([first])
    # h = 300: 300 is worth 1 + 0, 600 is worth 1 - 0.7
    assert Hapo()(history.fill(made("300+ 600+"))) == pytest.approx((1.0, 0.3))


def test_a_training_that_resumes_goes_on_with_the_same_history(tmp_path: Path) -> None:
    history = History()
    history.observe([made("300+")])
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json") == history


def test_a_monitor_sets_targets_by_difficulty() -> None:
    # groups of 8. Easy (6 of 8): two thirds of 8 is 5 expected: the ceil(8 / 5) = 2nd shortest of 8: 200 -> 256
    # medium (3 of 8): a third is 2: the 4th shortest: 400 -> 512;  hard (1 of 8): 1: the 8th: 800 -> 896
    monitor = Monitor(Targets(4096, 4096, 4096), step_tokens=128, every_groups=3)
    lengths = [100, 200, 300, 400, 500, 600, 700, 800]
    for right in (6, 3, 1):
        signs = "+" * right + "-" * (8 - right)
        monitor.observe([made(" ".join(f"{n}{sign}" for n, sign in zip(lengths, signs, strict=True)))])
    assert monitor.targets == Targets(256, 512, 896)
    assert (monitor.seen_groups, monitor.lengths) == (0, {})


def test_a_difficulty_that_was_not_seen_keeps_its_target() -> None:
    monitor = Monitor(Targets(1000, 2000, 3000), step_tokens=100, every_groups=1)
    monitor.observe([made("150+ 250+")])
    # easy: two thirds of 2 is 1: all must fit: 250 -> 300
    assert monitor.targets == Targets(300, 2000, 3000)
    assert monitor.fill(made("1+")).targets == Targets(300, 2000, 3000)


def test_targets_stand_until_enough_groups_were_seen() -> None:
    monitor = Monitor(Targets(1000, 1000, 1000), step_tokens=100, every_groups=2)
    monitor.observe([made("150+ 250+")])
    assert monitor.targets.easy == 1000
    monitor.observe([made("150+ 350+")])
    assert monitor.targets.easy == 400


def test_responses_of_no_tokens_still_leave_a_target() -> None:
    monitor = Monitor(Targets(1000, 1000, 1000), step_tokens=100, every_groups=1)
    monitor.observe([made("0+ 0+")])
    assert monitor.targets.easy == 100


def test_a_training_that_resumes_goes_on_with_the_same_monitor(tmp_path: Path) -> None:
    monitor = Monitor(Targets(1000, 1000, 1000), step_tokens=100, every_groups=2)
    monitor.observe([made("150+ 250+")])
    monitor.save(tmp_path / "monitor.json")
    again = Monitor.load(tmp_path / "monitor.json")
    assert again == monitor
    again.observe([made("150+ 350+")])
    assert again.targets.easy == 400


def test_a_file_that_is_none_of_a_history_is_named(tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text('{"shortest": 3}', encoding="utf-8")
    with pytest.raises(UsageError, match=r"history\.json is no saved History"):
        History.load(tmp_path / "history.json")
    with pytest.raises(UsageError, match="cannot read"):
        History.load(tmp_path / "absent.json")
    with pytest.raises(UsageError, match="cannot write"):
        History().save(tmp_path / "no_such_folder" / "history.json")


def test_a_monitor_without_steps_is_refused() -> None:
    with pytest.raises(UsageError, match="step_tokens is 0"):
        Monitor(Targets(1, 1, 1), step_tokens=0)
