"""Upstreams that fail in every way: the client gets a well-formed error in its protocol, and nothing hangs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.engines.fake_upstream import DONE, MODEL, FakeUpstream, Reply, chat, event, raw, stream_of, usage
from tests.gateway.faulty import Name, Stand, standing
from tests.gateway.scripts import document, refused

WORDS = ["It ", "is ", "3."]
GOOD = stream_of(WORDS)
HALF = event(chat("is "))[:25]
WHOLE = document({"role": "assistant", "content": "It is 3."})
PAGE = b"<!doctype html><html><title>Welcome</title><body>hello</body></html>"
BOTH_FORMS = (True, False)
WAYS: list[tuple[Name, str]] = [
    ("chat", MODEL),
    ("completions", MODEL),
    ("chat", "direct"),
    ("completions", "direct"),
    ("responses", "direct"),
    ("messages", "direct"),
]
"""The first two pass through."""

FAULTS: dict[str, tuple[Reply, tuple[int, ...]]] = {
    "killed before headers": (Reply(then="slam"), (502,)),
    "killed after headers": (Reply(then="cut"), (502,)),
    "killed after headers of a document": (Reply(then="cut", content_type="application/json"), (502,)),
    "never a byte": (Reply(delay_s=3600), (504,)),
    "silent after headers": (Reply(then="hang"), (502, 504)),
    "a web page": (Reply([PAGE], content_type="text/html"), (502,)),
    "a web page as a stream": (Reply([PAGE]), (502,)),
    "events that are not JSON": (Reply([b"data: {nonsense}\n\n", DONE]), (502,)),
    "a document that is not JSON": (Reply([b"{nonsense"], content_type="application/json"), (502,)),
    "choices of a wrong type": (Reply([event({"choices": "none"}), DONE]), (502,)),
    "a list": (Reply([b"[1, 2, 3]"], content_type="application/json"), (502,)),
    "nothing at all": (Reply(), (502,)),
    "only the end mark": (Reply([DONE]), (502,)),
    "an error with status 200": (Reply([event({"error": {"message": "out of memory", "code": 500}})]), (502, 503)),
    "too busy": (Reply([b'{"error": {"message": "busy"}}'], 429, "application/json", {"Retry-After": "7"}), (429,)),
    "unavailable": (refused(503, "loading the model"), (503,)),
    "failed": (refused(500, "the kernel crashed"), (502, 503)),
    "failed with a page": (Reply([PAGE], 500, "text/html"), (502, 503)),
    "refused": (refused(400, "the prompt is too long"), (400,)),
    "wrong key": (refused(401, "bad key sk-secret-of-the-operator"), (502,)),
    "moved": (Reply(status=302, headers={"Location": "http://127.0.0.1:1/v1"}), (502,)),
    "moved to itself": (Reply(status=308, headers={"Location": "/v1/chat/completions"}), (502,)),
    "gzip that is none": (Reply([b"not gzip"], headers={"Content-Encoding": "gzip"}), (502,)),
}
"""Before anything has been written to the client: what the upstream does, and the status that the client gets."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stream", BOTH_FORMS)
async def test_a_fault_before_the_first_token_is_an_error_with_a_status(fault: str, stream: bool) -> None:
    reply, statuses = FAULTS[fault]
    # Short only where it is to run out: on a busy machine a broken connection may take longer to be seen.
    left_s = 0.3 if 504 in statuses else 10.0
    patience = {"timeout_s": left_s, "idle_timeout_s": left_s}
    async with standing(reply, engine=patience, upstream_timeout_s=left_s, upstream_idle_s=left_s) as stand:
        for way, got in (await stand.ask_all(WAYS, stream=stream)).items():
            assert got.problem, way
            assert got.status in statuses, (way, got)
            assert "sk-secret" not in got.problem


BROKEN: dict[str, Reply] = {
    "killed mid-event": Reply([GOOD[0], HALF], then="cut", pause_s=0.02),
    "killed mid-stream": Reply(GOOD[:2], then="cut", pause_s=0.02),
    "ended mid-stream": Reply(GOOD[:2]),
    "silent mid-stream": Reply(GOOD[:2], then="hang"),
    "silent mid-event": Reply([GOOD[0], HALF], then="hang"),
    "an event that is not JSON": Reply([GOOD[0], b"data: {oops\n\n", *GOOD[1:]], pause_s=0.02),
    "choices of a wrong type": Reply([GOOD[0], event({"choices": 3}), *GOOD[1:]], pause_s=0.02),
    "half a megabyte of comments, then silence": Reply([GOOD[0], *[b": still here\n\n" * 100] * 400], then="hang"),
    "10 MB without a line's end": Reply([GOOD[0], b"data: ", *[b"x" * 1_000_000] * 10], pause_s=0.001),
    "killed with a wrong length": Reply(GOOD[:2], headers={"Content-Length": "100000"}, then="cut", pause_s=0.02),
}
"""After the first token."""


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_fault_after_the_first_token_ends_the_stream_in_good_form(fault: str) -> None:
    async with standing(BROKEN[fault]) as stand:
        for way, got in (await stand.ask_all(WAYS, stream=True)).items():
            assert got.problem, way
            assert got.status == 200, (way, got)
            assert got.text.startswith("It "), (way, got)
            assert got.text != "It is 3.", way


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_reply_that_is_not_streamed_and_breaks_off_upstream_is_an_error_with_a_status(fault: str) -> None:
    async with standing(BROKEN[fault]) as stand:
        for way, got in (await stand.ask_all(WAYS, stream=False)).items():
            assert got.problem, way
            assert got.status in (502, 504), (way, got)


async def test_an_error_in_the_middle_of_a_stream_reaches_the_client_in_its_protocol() -> None:
    fault = Reply([GOOD[0], event({"error": {"message": "out of memory", "code": 500}}), DONE], pause_s=0.02)
    async with standing(fault) as stand:
        for protocol, model in WAYS:
            got = await stand.ask(protocol, model, stream=True)
            assert got.status == 200
            assert "out of memory" in got.problem


HARMLESS: dict[str, Reply] = {
    "never ends after the end mark": Reply(GOOD, then="hang"),
    "cuts after the end mark": Reply(GOOD, then="cut"),
    "garbage after the end mark": Reply([*GOOD, b"data: {oops\n\n"]),
    "silent instead of the end mark": Reply([*GOOD[:-2], DONE], then="hang"),
    "comments and empty lines between": Reply(
        [b": hello\n\n", *[part for one in GOOD for part in (one, b"\n: x\n\n")]]
    ),
    "carriage returns": Reply([one.replace(b"\n", b"\r\n") for one in GOOD]),
    "one byte at a time": Reply([bytes([byte]) for byte in b"".join(GOOD)]),
    "all at once": Reply([b"".join(GOOD)]),
    "no token counts": Reply([*map(event, map(chat, WORDS)), event(chat(finish="stop")), DONE]),
    "huge token counts": Reply([*GOOD[:-2], event(usage(10**400, -(10**400))), DONE]),
    "token counts of a wrong type": Reply([*GOOD[:-2], event({**usage(1, 1), "usage": "many"}), DONE]),
    "an end mark without a blank line": Reply([*GOOD[:-1], b"data: [DONE]"]),
}


@pytest.mark.parametrize("oddity", HARMLESS)
async def test_an_oddity_that_harms_nobody_gives_the_whole_answer(oddity: str) -> None:
    async with standing(HARMLESS[oddity]) as stand:
        for way, got in (await stand.ask_all(WAYS, stream=True)).items():
            assert (got.status, got.problem, got.text) == (200, "", "It is 3."), way


async def test_text_that_is_not_utf_8_reaches_the_client_as_text() -> None:
    broken = event(chat("caf?")).replace(b"?", b"\xe9")
    async with standing(Reply([broken, *GOOD])) as stand:
        for protocol, model in (("chat", MODEL), ("chat", "direct"), ("messages", "direct")):
            got = await stand.ask(protocol, model, stream=True)  # type: ignore[arg-type]
            assert got.text == "caf\ufffdIt is 3."


async def test_a_document_that_is_not_utf_8_reaches_the_client_as_text() -> None:
    body = json.dumps(json.loads(WHOLE.parts[0])).replace("It is", "It?is").encode().replace(b"?", b"\xe9")
    async with standing(Reply([body], content_type="application/json")) as stand:
        assert (await stand.ask("chat", MODEL, stream=False)).text == "It\ufffdis 3."


async def test_a_hundred_thousand_tiny_chunks_arrive() -> None:
    count = 100_000
    many = Reply([event(chat("a"))] * 100 + [b"".join([event(chat("b"))] * 10)] * ((count - 100) // 10) + GOOD[-2:])
    many = Reply([*many.parts[:-2], event(chat(finish="stop")), *GOOD[-2:]])
    async with standing(many) as stand:
        for model in (MODEL, "direct"):
            got = await stand.ask("chat", model, stream=True)
            assert got.problem == ""
            assert len(got.text) == count


async def test_an_answer_of_ten_megabytes_in_one_document_passes() -> None:
    body = document({"role": "assistant", "content": "x" * 10_000_000})
    async with standing(body) as stand:
        assert len((await stand.ask("chat", MODEL, stream=False)).text) == 10_000_000


@pytest.mark.parametrize("stream", BOTH_FORMS)
async def test_a_server_that_is_gone_is_an_error_with_a_status(stream: bool) -> None:
    async with standing(Reply(GOOD)) as stand:
        await stop(stand.server)
        for way, got in (await stand.ask_all(WAYS, stream=stream)).items():
            assert got.status == 502, way
            assert "no server answers" in got.problem, way


async def stop(server: FakeUpstream) -> None:
    await server.__aexit__(None, None, None)


async def test_the_wait_that_a_busy_server_asks_for_is_handed_on() -> None:
    busy = Reply([b'{"error": {"message": "busy"}}'], 429, "application/json", {"Retry-After": "7"})
    async with standing(busy) as stand:
        passed = await stand.ask("chat", MODEL, stream=True)
        preset = await stand.ask("messages", "direct", stream=True)
    assert (passed.status, passed.headers["retry-after"]) == (429, "7")
    assert preset.status == 429
    assert int(preset.headers["retry-after"]) >= 1


def traced(path: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "traces.jsonl").read_text().splitlines()]


async def test_a_failed_reply_is_traced_as_failed_with_the_tokens_that_came(tmp_path: Any) -> None:
    async with standing(BROKEN["killed mid-stream"], traces=tmp_path) as stand:
        for model in (MODEL, "direct"):
            await stand.ask("chat", model, stream=True)
    for trace in traced(tmp_path):
        assert trace["finish"] == "error"
        assert trace["error_kind"] == "cut"
        assert trace["calls"][0]["usage"]["completion"]["tokens"] > 0


@pytest.mark.parametrize("stream", BOTH_FORMS)
@pytest.mark.parametrize("protocol", ["chat", "messages", "responses"])
async def test_a_fault_in_the_second_call_is_told_and_the_first_is_counted(
    protocol: Name, stream: bool, tmp_path: Any
) -> None:
    thinking = Reply(stream_of(["<think>", "so ", "so ", "so "], kind="vllm", finish="length"))
    second = Reply([event(raw("It "))], then="cut", pause_s=0.05)
    engine = {"dialect": "qwen3"}
    async with standing(thinking, second, kind="vllm", engine=engine, traces=tmp_path) as stand:
        got = await stand.ask(protocol, "direct", stream=stream, thinking_token_budget=4)
        assert got.problem
        assert got.status == (200 if stream else 502)
        if stream:
            assert got.receipt["calls"] == 2
            assert got.receipt["tokens"]["thinking"] == 4
    (trace,) = traced(tmp_path)
    assert [call["finish"] for call in trace["calls"]] == ["length", "error"]


@pytest.mark.parametrize("stream", BOTH_FORMS)
async def test_one_failed_candidate_of_several_is_a_failed_reply(stream: bool) -> None:
    async with standing(Reply(GOOD), refused(500), Reply(GOOD)) as stand:
        got = await stand.ask("chat", "direct", stream=stream, n=3)
        assert "not today" in got.problem
        assert got.status == (200 if stream else 502)


async def test_one_candidate_that_is_over_does_not_make_a_reply_whole_that_breaks_off_in_another() -> None:
    def told(index: int, text: str, finish: str | None = None) -> bytes:
        chunk = chat(text, finish=finish)
        return event({**chunk, "choices": [{**chunk["choices"][0], "index": index}]})

    both = [told(0, "a"), told(1, "b"), told(0, "c", "stop")]
    async with standing(Reply(both, then="cut", pause_s=0.02), Reply([*both, told(1, "d", "stop")])) as stand:
        assert (await stand.ask("chat", MODEL, stream=True, n=2)).problem
        assert await unfinished(stand) == ""


async def unfinished(stand: Stand) -> str:
    """The problem of a stream that ends without an end mark, though all of it is there."""
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "1 + 2?"}], "n": 2}
    async with stand.http.post(f"{stand.url}/v1/chat/completions", json=body) as reply:
        data = await reply.read()
    return "" if b'"error"' not in data else data.decode()


async def test_a_call_that_is_tried_again_is_one_good_reply() -> None:
    engine = {"max_retries": 2}
    async with standing(Reply(then="slam"), refused(503), Reply(GOOD), engine=engine) as stand:
        got = await stand.ask("messages", "direct", stream=True)
        assert (got.problem, got.text) == ("", "It is 3.")


async def test_a_gateway_serves_on_after_every_fault() -> None:
    faults = [reply for reply, _ in FAULTS.values() if reply.then != "hang" and not reply.delay_s]
    async with standing(*faults, *BROKEN.values(), Reply(GOOD)) as stand:
        for number in range(len(faults) + len(BROKEN)):
            protocol, model = WAYS[number % len(WAYS)]
            assert (await stand.ask(protocol, model, stream=True)).problem
        for protocol, model in WAYS:
            got = await stand.ask(protocol, model, stream=True)
            assert (got.problem, got.text) == ("", "It is 3.")
