"""A model as the judge of rounds: what it is asked, what is made of its reply, and that nothing is asked twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from taut.audit import Loaded, Round, report
from taut.audit.judge import FILE, MAX_PROMPT_CHARS, judge_rounds, rounds_in, task_of
from taut.engines.fake import FakeEngine, Scripted
from taut.errors import EngineError
from taut.traces import read
from tests.audit.made import THINKING, made_thought

REPLY = """Here it is:
```json
{"solutions": [{"first": 1, "answer": "18", "approach": 1}, {"first": 4, "answer": 18, "approach": 1},
 {"first": 6, "answer": "18", "approach": 2}]}
```"""
CHECK, OTHER = THINKING.index("Wait"), THINKING.index("Alternatively")
ROUNDS = [Round(0, CHECK, "18", True), Round(CHECK, OTHER, "18", False), Round(OTHER, len(THINKING), "18", True)]


def judge(reply: str = REPLY, error: EngineError | None = None) -> FakeEngine:
    return FakeEngine(lambda request: Scripted(answer=reply, error=error))


async def test_rounds_and_approaches_come_from_the_reply_and_its_cost_is_counted(tmp_path: Path) -> None:
    rounds, judging = await judge_rounds([made_thought()], judge(), tmp_path, 2)
    assert rounds == {"eggs": ROUNDS}
    assert (judging.judged, judging.failed) == (1, 0)
    assert judging.completion_tokens > 0
    (trace,) = read(tmp_path / FILE)
    assert [call.role for call in trace.calls] == ["score"]


async def test_an_audit_that_was_interrupted_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    first, second = made_thought(), made_thought(id="other", question="Another question?")
    await judge_rounds([first], judge(), tmp_path, 2)
    engine = judge()
    rounds, judging = await judge_rounds([first, second], engine, tmp_path, 2)
    assert len(engine.requests) == 1
    assert set(rounds) == {"eggs", "other"}
    assert judging.judged == 2


async def test_a_reply_that_cannot_be_used_leaves_the_words_to_tell(tmp_path: Path) -> None:
    rounds, judging = await judge_rounds([made_thought()], judge("I would rather not."), tmp_path, 2)
    assert rounds == {}
    assert (judging.judged, judging.failed) == (0, 1)
    found = report(Loaded((made_thought(),), 0, ()), "eggs", rounds, judging)
    assert found.audits[0].rounds_source == "words"
    assert "Its reply could not be used for 1 trace" in found.notes[-1]


async def test_a_judge_that_never_replies_is_one_error_and_is_asked_again_later(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no reply to any of 1 traces, the first: down"):
        await judge_rounds([made_thought()], judge(error=EngineError("down")), tmp_path, 2)
    rounds, _ = await judge_rounds([made_thought()], judge(), tmp_path, 2)
    assert rounds == {"eggs": ROUNDS}


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "{}",
        '{"solutions": []}',
        '{"solutions": [{"first": 0}]}',
        '{"solutions": [{"first": 1}, {"first": 99}]}',
        '{"solutions": [{"first": 2}, {"first": 1}]}',
        '{"solutions": "many"}',
    ],
)
def test_impossible_divisions_are_not_used(reply: str) -> None:
    assert rounds_in(reply, made_thought()) == []


def test_a_long_trace_is_abridged_to_fit() -> None:
    thought = made_thought(thinking="\n\n".join("A step of the work. " * 50 for _ in range(500)))
    assert len(task_of(thought).messages[0]["content"]) < 2 * MAX_PROMPT_CHARS
