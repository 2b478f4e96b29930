"""The transformers engine on a real model: SmolLM2-135M, in float32 on the CPU."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from taut.core import End, Kind, Piece, Prompt, Request, Sampling, Streamed, Turn
from taut.engines.transformers import TransformersEngine, open_engine
from taut.errors import EngineError, UsageError

pytestmark = [pytest.mark.transformers, pytest.mark.timeout(300)]

MAX_TOKENS = 16
QUESTIONS = ("What is 17 + 25?", "Name three colors.", "What is the capital of France?", "Say 😀 and 中文.")


@pytest.fixture(scope="module")
def engine(smollm2: Path) -> Iterator[TransformersEngine]:
    # On a machine that does other things too, torch's threads wait for each other longer than they work.
    pytest.importorskip("torch").set_num_threads(1)
    opened = asyncio.run(open_engine(str(smollm2), device="cpu", max_batch=4))
    yield opened
    asyncio.run(opened.close())


@pytest.fixture(scope="module")
def thinker(smollm2: Path) -> Iterator[TransformersEngine]:
    pytest.importorskip("torch")
    opened = asyncio.run(open_engine(str(smollm2.with_name("smollm2-think")), device="cpu"))
    yield opened
    asyncio.run(opened.close())


def asking(question: str, turn: Turn = Turn(), think: bool | None = None, **sampling: Any) -> Request:
    options = {"max_tokens": MAX_TOKENS, "temperature": 0.0, **sampling}
    return Request(Prompt(({"role": "user", "content": question},), turn, think), Sampling(**options))


async def everything(engine: TransformersEngine, request: Request) -> list[Streamed]:
    return [item async for item in engine.stream(request)]


def text(items: list[Streamed], kind: Kind = "answer") -> str:
    return "".join(item.text for item in items if isinstance(item, Piece) and item.kind == kind)


def end(items: list[Streamed]) -> End:
    assert isinstance(items[-1], End)
    return items[-1]


def by_generate(engine: TransformersEngine, question: str, prefix: str = "") -> str:
    """What transformers' own loop writes after the same prompt, up to the token that ends it."""
    return _by_generate(engine.loaded, question, prefix)


@functools.cache
def _by_generate(loaded: Any, question: str, prefix: str) -> str:
    import torch

    ids = loaded.encode(loaded.render(({"role": "user", "content": question},), {}) + prefix)
    given = torch.tensor([ids])
    with torch.inference_mode():
        output = loaded.model.generate(
            input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=MAX_TOKENS, do_sample=False
        )
    new = output[0, len(ids) :].tolist()
    return str(loaded.decode([number for number in new if number not in loaded.end_ids]))


@pytest.mark.parametrize("question", QUESTIONS)
async def test_greedy_text_is_that_of_generate(engine: TransformersEngine, question: str) -> None:
    assert text(await everything(engine, asking(question))) == by_generate(engine, question)


async def test_four_at_once_write_what_each_writes_alone(engine: TransformersEngine) -> None:
    # In float32 on the CPU the sums of a padded batch differ in their last bits only: no choice here is that close.
    alone = [text(await everything(engine, asking(question))) for question in QUESTIONS]
    together = await asyncio.gather(*(everything(engine, asking(question)) for question in QUESTIONS))
    assert [text(items) for items in together] == alone


async def test_a_call_that_joins_later_disturbs_nobody(engine: TransformersEngine) -> None:
    late: list[asyncio.Task[list[Streamed]]] = []
    first = []
    async with aclosing(_pieces(engine, asking(QUESTIONS[0]))) as pieces:
        async for piece in pieces:
            first.append(piece.text)
            if len(first) in (3, 6):
                late.append(asyncio.create_task(everything(engine, asking(QUESTIONS[len(late) + 1]))))
    assert "".join(first) == by_generate(engine, QUESTIONS[0])
    for question, task in zip(QUESTIONS[1:], late, strict=False):
        assert text(await task) == by_generate(engine, question)


async def _pieces(engine: TransformersEngine, request: Request) -> AsyncGenerator[Piece, None]:
    async for item in engine.stream(request):
        if isinstance(item, Piece):
            yield item


async def test_more_calls_than_fit_wait_for_room(engine: TransformersEngine) -> None:
    calls = [everything(engine, asking(QUESTIONS[index % 4], max_tokens=5)) for index in range(9)]
    assert [end(items).usage.completion.tokens for items in await asyncio.gather(*calls)] == [5] * 9


async def test_leaving_the_stream_takes_the_row_out_of_the_batch(engine: TransformersEngine) -> None:
    endless = asking(QUESTIONS[0], max_tokens=2000, extra={"ignore_eos": True})
    async with aclosing(engine.stream(endless)) as items:  # type: ignore[type-var]
        seen = 0
        async for item in items:
            seen += isinstance(item, Piece)
            if seen == 3:
                break
        assert engine.worker.rows_under_way == 1
    async with asyncio.timeout(30):
        while engine.worker.rows_under_way:
            await asyncio.sleep(0.01)


async def test_one_seed_gives_one_text_and_another_seed_another(engine: TransformersEngine) -> None:
    texts = [text(await everything(engine, asking(QUESTIONS[1], temperature=1.0, seed=seed))) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


async def test_drawing_in_one_row_leaves_a_greedy_row_alone(engine: TransformersEngine) -> None:
    greedy, drawn = await asyncio.gather(
        everything(engine, asking(QUESTIONS[0])),
        everything(engine, asking(QUESTIONS[0], temperature=1.5, seed=3, top_k=50, top_p=0.9, min_p=0.01)),
    )
    assert text(greedy) == by_generate(engine, QUESTIONS[0]) != text(drawn)


async def test_drawing_from_the_best_token_alone_is_greedy(engine: TransformersEngine) -> None:
    items = await everything(engine, asking(QUESTIONS[0], temperature=1.0, top_k=1, seed=5))
    assert text(items) == by_generate(engine, QUESTIONS[0])


async def test_the_text_ends_before_a_stop_string_that_spans_tokens(engine: TransformersEngine) -> None:
    whole = by_generate(engine, QUESTIONS[0])
    assert "5 = 3" in whole
    items = await everything(engine, asking(QUESTIONS[0], stop=("5 = 3", "never")))
    assert text(items) == whole.partition("5 = 3")[0]
    assert end(items).finish == "stop"


async def test_the_tokens_of_the_pieces_add_up_to_the_reported_ones(engine: TransformersEngine) -> None:
    items = await everything(engine, asking(QUESTIONS[3], stop=("zzz",), max_tokens=30))
    usage = end(items).usage
    assert usage.completion.source == usage.prompt.source == "reported"
    assert sum(item.tokens for item in items if isinstance(item, Piece)) == usage.completion.tokens
    assert end(items).model == "smollm2"


async def test_the_ceiling_cuts_after_exactly_that_many_tokens(engine: TransformersEngine) -> None:
    last = end(await everything(engine, asking(QUESTIONS[1], max_tokens=7)))
    assert (last.finish, last.usage.completion.tokens) == ("length", 7)


async def test_logprobs_are_those_of_the_model(engine: TransformersEngine) -> None:
    import torch

    request = asking(QUESTIONS[0], max_tokens=4)
    items = await everything(engine, Request(request.prompt, request.sampling, top_logprobs=3))
    found = [entry for item in items if isinstance(item, Piece) for entry in item.logprobs]
    loaded = engine.loaded
    ids = loaded.encode(loaded.render(request.prompt.messages, {}))
    with torch.inference_mode():
        logits = loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].float()
    values, numbers = torch.log_softmax(logits, -1).topk(3)
    assert [entry.text for entry in found] == ["1", "7", " +", " "]
    assert [name for name, _ in found[0].top] == [loaded.decode([number]) for number in numbers.tolist()]
    assert [value for _, value in found[0].top] == pytest.approx(values.tolist(), abs=1e-4)
    assert all(entry.logprob == entry.top[0][1] for entry in found)


async def test_a_turn_that_is_given_is_continued_and_not_repeated(engine: TransformersEngine) -> None:
    items = await everything(engine, asking(QUESTIONS[0], Turn(closed=True, answer="17 + 25 =")))
    written = text(items)
    assert not written.startswith("17 + 25")
    assert any(digit in written for digit in "0123456789")


async def test_thinking_comes_first_where_the_template_opens_it(thinker: TransformersEngine) -> None:
    assert thinker.dialect.thinks
    items = await everything(thinker, asking(QUESTIONS[0]))
    assert text(items, "thinking") == by_generate(thinker, QUESTIONS[0])
    assert text(items) == ""
    assert end(items).usage.thinking.tokens == end(items).usage.completion.tokens


async def test_after_a_closed_thought_comes_the_answer(thinker: TransformersEngine) -> None:
    items = await everything(thinker, asking(QUESTIONS[0], Turn(thinking="Let me add.", closed=True)))
    assert text(items)
    assert text(items, "thinking") == ""


async def test_an_open_thought_goes_on(thinker: TransformersEngine) -> None:
    items = await everything(thinker, asking(QUESTIONS[0], Turn(thinking="Okay, 17 and")))
    assert text(items, "thinking") == by_generate(thinker, QUESTIONS[0], "Okay, 17 and")


async def test_thinking_that_is_switched_off_leaves_an_answer(thinker: TransformersEngine) -> None:
    assert "thinking_switch" in thinker.offers
    items = await everything(thinker, asking(QUESTIONS[0], think=False))
    assert text(items)
    assert text(items, "thinking") == ""


async def test_the_deadline_ends_a_call(engine: TransformersEngine) -> None:
    request = asking(QUESTIONS[0], max_tokens=4000, extra={"ignore_eos": True})
    with pytest.raises(EngineError, match="deadline") as caught:
        await everything(engine, Request(request.prompt, request.sampling, deadline_s=0.2))
    assert caught.value.kind == "timeout"


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (asking("x", extra={"ignore_eo": True}), "did you mean 'ignore_eos'"),
        (asking("x", max_tokens=0), "at least 1"),
        (asking("word " * 9000), "the model has room for 8192"),
        (Request(asking("x").prompt, thinking_budget_tokens=5), "no thinking budget"),
        (Request(Prompt(({"role": "user", "content": [{"type": "image_url"}]},))), "cannot be given to transformers:"),
    ],
)
async def test_what_cannot_be_done_is_refused_in_one_sentence(
    engine: TransformersEngine, request_: Request, words: str
) -> None:
    with pytest.raises(EngineError) as caught:
        await everything(engine, request_)
    assert words in str(caught.value)
    assert caught.value.kind == "refused"


async def test_a_model_that_fails_fails_its_calls_and_then_goes_on(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no such thing")

    with monkeypatch.context() as patch:
        patch.setattr(engine.loaded.model, "forward", broken)
        with pytest.raises(EngineError, match="the model failed: no such thing"):
            await everything(engine, asking(QUESTIONS[0]))
    assert text(await everything(engine, asking(QUESTIONS[0]))) == by_generate(engine, QUESTIONS[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float23"}, "did you mean 'float32'"),
        ({"device": "abacus"}, "torch has no device 'abacus'"),
        ({"dialect": "qwen"}, "qwen3"),
        ({"max_batch": 0}, "at least 1"),
    ],
)
async def test_a_bad_option_is_named(smollm2: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        await open_engine(str(smollm2), **options)


async def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot load"):
        await open_engine(str(tmp_path), local_files_only=True)


async def test_an_adapter_that_names_no_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": None}))
    with pytest.raises(UsageError, match="does not name a base model"):
        await open_engine(str(tmp_path))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks for it by the old name
async def test_an_adapter_changes_what_the_model_writes(smollm2: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    import torch
    import transformers

    base = transformers.AutoModelForCausalLM.from_pretrained(smollm2, dtype="float32")
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(base, config).save_pretrained(tmp_path)
    engine = await open_engine(str(tmp_path), device="cpu")
    written = text(await everything(engine, asking(QUESTIONS[0])))
    assert written == by_generate(engine, QUESTIONS[0])
    assert engine.identity["base"] == str(smollm2)
    await engine.close()


async def test_a_model_with_a_sliding_window_is_batched_rightly(smollm2: Path, tmp_path: Path) -> None:
    import torch
    import transformers

    torch.manual_seed(1)
    config = transformers.MistralConfig(
        vocab_size=49152, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=6, max_position_embeddings=512, eos_token_id=2,
    )  # fmt: skip
    transformers.MistralForCausalLM(config).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(smollm2).save_pretrained(tmp_path)
    engine = await open_engine(str(tmp_path), device="cpu")
    together = await asyncio.gather(*(everything(engine, asking(question)) for question in QUESTIONS))
    assert [text(items) for items in together] == [by_generate(engine, question) for question in QUESTIONS]
    await engine.close()


async def test_a_closed_engine_refuses_calls(smollm2: Path, tmp_path: Path) -> None:
    engine = await open_engine(str(smollm2), device="cpu")
    await engine.close()
    with pytest.raises(EngineError, match="closed"):
        await everything(engine, asking(QUESTIONS[0]))
