"""Length rewards as OpenRLHF calls them: one response at a time, and in an executor where a group meets."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from taut.errors import UsageError
from taut.train.adapters.openrlhf import agent_executor, reward_function
from tests.train.letters import END, Letters

pytest.importorskip("torch")

TOKENIZER = Letters()
RIGHT, WRONG = "<think>ab</think>4", "<think>abcdef</think>5"
"""18 and 22 tokens; 19 and 23 with the one that ends them."""
PROMPT = "<|user|>2+2<|assistant|>"


def test_the_reward_function_counts_the_response_behind_the_prompt() -> None:
    reward_func = reward_function("plain(alpha=0.01)", tokenizer=TOKENIZER, verifier="number")
    # OpenRLHF calls it by place, with lists of one
    found = reward_func([PROMPT + RIGHT + END], [PROMPT], ["4"])
    assert found["rewards"].tolist() == pytest.approx([1 - 0.19])
    assert found["scores"].tolist() == [1.0]
    assert {key: value.tolist() for key, value in found["extra_logs"].items()} == {
        "judged": [1.0],
        "correct": [1.0],
        "total_tokens": [19.0],
        "thinking_tokens": [17.0],
    }


def test_what_does_not_end_with_the_end_token_was_cut() -> None:
    reward_func = reward_function("think_prune", tokenizer=TOKENIZER, verifier="number", limit_tokens=100)
    queries = [PROMPT + RIGHT + END, PROMPT + RIGHT]
    assert reward_func(queries, [PROMPT] * 2, ["4"] * 2)["rewards"].tolist() == [1.0, 0.0]


def test_a_thought_may_begin_in_the_prompt() -> None:
    reward_func = reward_function("thinkless", tokenizer=TOKENIZER, verifier="number")
    prompt = PROMPT + "<think>\n"
    assert reward_func([prompt + "ab</think>4"], [prompt], ["4"])["rewards"].tolist() == [0.5]
    assert reward_func([prompt + "it is 4"], [prompt], ["4"])["rewards"].tolist() == [-1.0], "still thinking: no answer"


def test_a_label_may_be_an_object_with_what_else_is_known() -> None:
    reward_func = reward_function("l1_exact(alpha=0.01)", tokenizer=TOKENIZER)
    label = json.dumps({"answer": "4", "verifier": "number", "wanted_tokens": 9})
    # |9 - 19| * 0.01
    assert reward_func([PROMPT + RIGHT + END], [PROMPT], [label])["rewards"].tolist() == pytest.approx([0.9])
    pruner = reward_function("o1_pruner", tokenizer=TOKENIZER, verifier="number")
    label = json.dumps({"answer": "4", "reference_tokens": 38, "reference_accuracy": 0.5})
    # 38/19 - 1 + 2 * 0.5
    assert pruner([PROMPT + RIGHT + END], [PROMPT], [label])["rewards"].tolist() == pytest.approx([2.0])


def test_a_reference_that_is_itself_an_object_is_left_whole() -> None:
    reward_func = reward_function("laser", tokenizer=TOKENIZER, verifier="json")
    query = PROMPT + '<think>a</think>{"x": 1}' + END
    assert reward_func([query], [PROMPT], ['{"x": 1}'])["rewards"].tolist() == [1.5]


def test_a_query_without_its_prompt_is_told() -> None:
    reward_func = reward_function("plain", tokenizer=TOKENIZER)
    with pytest.raises(UsageError, match="does not hold its prompt"):
        reward_func([RIGHT], [PROMPT], ["4"])


def test_a_reward_of_the_group_is_refused_where_one_response_is_shown() -> None:
    with pytest.raises(UsageError, match="use agent_executor instead"):
        reward_function("kimi", tokenizer=TOKENIZER)


class SingleTurn:
    """In the place of OpenRLHF's `SingleTurnAgentExecutor`: the engine's replies come in any order."""

    def __init__(self, remote_rm_url: str | None = None) -> None:
        self.remote_rm_url = remote_rm_url

    async def execute(
        self,
        prompt: str,
        label: str,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        llm_engine: Any,
        images: Any = None,
    ) -> dict[str, Any]:
        reply = llm_engine.replies.pop(0)
        await asyncio.sleep(reply.after_s)
        if reply.text is None:
            raise RuntimeError("the engine is gone")
        before, own = TOKENIZER.ids(prompt), TOKENIZER.ids(reply.text)
        return {
            "prompt": prompt,
            "observation_tokens": [*before, *own],
            "action_ranges": [(len(before), len(before) + len(own))],
            "truncated": reply.cut,
            "reward": None,
        }


def reply(text: str | None, after_s: float = 0.0, cut: bool = False) -> SimpleNamespace:
    return SimpleNamespace(text=text, after_s=after_s, cut=cut)


def executed(executor: Any, engine: Any, prompt: str = PROMPT, label: str = "4") -> Any:
    return executor.execute(prompt, label, None, 100, TOKENIZER, engine, images=None)


async def test_responses_to_one_question_wait_for_each_other() -> None:
    executor = agent_executor(SingleTurn, "shorter_better", verifier="number")()
    engine = SimpleNamespace(replies=[reply(RIGHT + END, 0.02), reply(WRONG + END), reply(RIGHT + "4" + END, 0.01)])
    # S = 19: 2;  wrong, 23: -0.004;  44 for an answer is wrong, 20: -0.001
    found = await asyncio.gather(*(executed(executor, engine) for _ in range(3)))
    assert [output["reward"] for output in found] == pytest.approx([2.0, -0.004, -0.001])
    assert [output["scores"] for output in found] == [1.0, 0.0, 0.0]
    assert found[0]["extra_logs"]["thinking_tokens"] == 17.0


async def test_other_questions_are_other_groups_and_wait_for_nobody() -> None:
    executor = agent_executor(SingleTurn, "shorter_better", verifier="number")()
    engine = SimpleNamespace(replies=[reply(RIGHT + END), reply(WRONG + END, 0.02)])
    first, second = await asyncio.gather(executed(executor, engine), executed(executor, engine, "other<|assistant|>"))
    assert (first["reward"], second["reward"]) == (2.0, 0.0)


async def test_a_response_that_fails_keeps_nobody_waiting() -> None:
    executor = agent_executor(SingleTurn, "shorter_better", verifier="number")()
    engine = SimpleNamespace(replies=[reply(RIGHT + END), reply(None, 0.01)])
    found = await asyncio.gather(executed(executor, engine), executed(executor, engine), return_exceptions=True)
    assert isinstance(found[0], dict)
    assert found[0]["reward"] == 2.0
    assert isinstance(found[1], RuntimeError)


async def test_a_reward_that_lacks_something_is_told_to_all_who_wait() -> None:
    executor = agent_executor(SingleTurn, "dast", verifier="number")()
    engine = SimpleNamespace(replies=[reply(RIGHT + END), reply(WRONG + END, 0.01)])
    found = await asyncio.gather(executed(executor, engine), executed(executor, engine), return_exceptions=True)
    assert [type(error) for error in found] == [UsageError, UsageError]
    assert "give limit_tokens" in str(found[0])


async def test_what_the_engine_says_was_cut_is_cut() -> None:
    executor = agent_executor(SingleTurn, "arora_zanette", verifier="number")()
    engine = SimpleNamespace(replies=[reply(RIGHT + END), reply(RIGHT + END, cut=True)])
    found = await asyncio.gather(executed(executor, engine), executed(executor, engine))
    assert [output["reward"] for output in found] == pytest.approx([0.95, 0.0])


async def test_a_history_is_kept_from_one_meeting_to_the_next() -> None:
    executor = agent_executor(SingleTurn, "hapo", verifier="number")()
    longer = RIGHT.replace("ab", "ab" + "c" * 19)
    engine = SimpleNamespace(replies=[reply(RIGHT + END), reply(longer + END)])
    assert (await executed(executor, engine))["reward"] == 1.0
    assert (await executed(executor, engine))["reward"] == pytest.approx(0.3)
