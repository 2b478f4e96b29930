"""An answer that is to have a form: the thinking is free of it, and the answer is a call of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from taut.core import Request, Sampling, Trace
from taut.engines.fake import FakeEngine, Scripted, replay_script
from taut.methods.output_based.stop_rules.budget_forcing import BudgetForcing
from taut.methods.output_based.thinking import Thinking
from taut.run import Preset, run
from tests.conftest import sum_task

FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "sum", "schema": {"type": "object"}}}}
THOUGHT = "one two three four"
ANSWER = '{"sum": 3}'


async def think(extra: Mapping[str, Any], cap_tokens: int | None, *said: Scripted) -> tuple[Trace, list[Request]]:
    asked: list[Request] = []
    script = replay_script(said)

    def listen(request: Request) -> Scripted:
        asked.append(request)
        return script(request)

    method = Thinking(BudgetForcing(max_thinking_tokens=cap_tokens))
    sampling = Sampling(extra=extra)
    trace = await run(Preset("test", method), sum_task(), {"main": FakeEngine(listen)}, sampling=sampling)
    assert trace.error is None
    return trace, asked


@pytest.mark.parametrize("cap_tokens", [None, 50, 5, 2])
async def test_only_the_answer_is_asked_for_in_the_form(cap_tokens: int | None) -> None:
    trace, asked = await think({**FORM, "colour": "blue"}, cap_tokens, Scripted(THOUGHT, ANSWER))
    assert [dict(request.sampling.extra) for request in asked] == [{"colour": "blue"}, {**FORM, "colour": "blue"}]
    assert [request.prompt.turn.closed for request in asked] == [False, True]
    assert asked[1].prompt.turn.answer == ""
    assert trace.answer == ANSWER


async def test_the_answer_that_the_thinking_call_had_begun_is_paid_for_and_thrown_away() -> None:
    trace, _ = await think(FORM, 50, Scripted(THOUGHT, ANSWER))
    tokens = {role: tally.total for role, tally in trace.tokens_by_role().items() if tally.total}
    assert tokens == {"thinking": 4, "answer": 2, "discarded": 1}
    assert trace.thinking.strip() == THOUGHT


async def test_an_empty_answer_in_a_form_is_asked_for_again_without_a_beginning() -> None:
    trace, asked = await think(FORM, 2, *[Scripted(THOUGHT, "")] * 2, Scripted(THOUGHT, ANSWER))
    assert [decision["event"] for decision in trace.decisions] == ["stop", "insist"]
    assert asked[-1].prompt.turn.answer == ""
    assert trace.answer == ANSWER


@pytest.mark.parametrize("extra", [{}, {"response_format": {"type": "text"}}, {"response_format": None}])
async def test_without_a_form_one_call_is_enough(extra: dict[str, Any]) -> None:
    trace, asked = await think(extra, 50, Scripted(THOUGHT, ANSWER))
    assert len(asked) == 1
    assert trace.answer == ANSWER
