"""The estimating call of TALE."""

from __future__ import annotations

from taut.core import Sampling
from taut.engines.fake import FakeEngine, Scripted
from taut.methods.prompt_based.tale import Tale
from taut.run import Preset, run
from tests.conftest import sum_task

TOOLS = [{"type": "function", "function": {"name": "look"}}]
FORM = {"type": "json_object"}


async def test_the_estimate_is_asked_for_without_the_tools_the_form_and_the_stop_strings_of_the_answer() -> None:
    engine = FakeEngine(lambda _: Scripted(answer="[[50]]"))
    fields = {"tools": TOOLS, "tool_choice": "required", "response_format": FORM, "user": "u"}
    sampling = Sampling(stop=("[",), temperature=1.0, extra=fields)
    trace = await run(Preset("tale", Tale()), sum_task(), {"main": engine}, sampling=sampling)
    estimate, answer = (request.sampling for request in engine.requests)
    assert (estimate.extra, estimate.stop, estimate.temperature) == ({"user": "u"}, (), 0.0)
    assert (answer.extra, answer.stop, answer.temperature) == (fields, ("[",), 1.0)
    assert trace.decisions[0]["tokens"] == 50
