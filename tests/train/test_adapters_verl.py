"""Length rewards as verl calls them. Its DataProto is stood in for by an object of the same shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from taut import verify
from taut.core import Score, Task
from taut.errors import UsageError
from taut.train.adapters.verl import VerlAdvantage, VerlBatchRewardManager, VerlRewardManager, compute_score
from tests.train.letters import Letters

torch = pytest.importorskip("torch")

TOKENIZER = Letters()
PROMPT_TOKENS = 3
RIGHT, WRONG = "<think>ab</think>4", "<think>abcdef</think>5"
"""18 and 22 tokens."""


class Data:
    """Rows of tensors and rows of anything else, as verl hands them over."""

    def __init__(self, batch: Mapping[str, Any], rest: Mapping[str, Sequence[Any]]) -> None:
        self.batch, self.non_tensor_batch = batch, rest

    def __len__(self) -> int:
        return len(self.batch["responses"])

    def __getitem__(self, row: int) -> SimpleNamespace:
        return SimpleNamespace(
            batch={key: value[row] for key, value in self.batch.items()},
            non_tensor_batch={key: value[row] for key, value in self.non_tensor_batch.items()},
        )


def data_of(texts: Sequence[str], answers: Sequence[Any], uids: Sequence[str], **extra: Any) -> Data:
    """Responses padded on the right to the longest, behind a prompt of three tokens."""
    rows = [TOKENIZER.ids(text) for text in texts]
    width = max(map(len, rows))
    batch = {
        "prompts": torch.ones(len(rows), PROMPT_TOKENS, dtype=torch.long),
        "responses": torch.tensor([[*row, *[0] * (width - len(row))] for row in rows]),
        "attention_mask": torch.tensor([[1] * (PROMPT_TOKENS + len(row)) + [0] * (width - len(row)) for row in rows]),
    }
    rest: dict[str, Sequence[Any]] = {
        "uid": list(uids),
        "data_source": ["made"] * len(rows),
        "reward_model": [{"ground_truth": answer, "style": "rule"} for answer in answers],
        "extra_info": [{**extra} for _ in rows],
    }
    return Data(batch, rest)


def config(**options: Any) -> SimpleNamespace:
    return SimpleNamespace(reward={"reward_kwargs": {"taut": options}, "num_workers": options.pop("workers", 8)})


def manager(**options: Any) -> VerlRewardManager:
    return VerlRewardManager(
        config=config(**options),
        tokenizer=TOKENIZER,
        compute_score=None,
        reward_router_address=None,
        reward_model_tokenizer=None,
    )


def test_the_custom_reward_function_judges_what_stands_behind_the_thinking() -> None:
    known: dict[str, Any] = {"data_source": "made", "ground_truth": "4", "extra_info": {"index": 3}}
    assert compute_score(solution_str=RIGHT, verifier="number", **known) == {"score": 1.0, "acc": 1.0, "judged": 1.0}
    assert compute_score(solution_str="<think>it is 4", verifier="number", **known)["score"] == 0.0
    assert (
        compute_score(solution_str="ab</think>4", verifier="number", reward_router_address="x", **known)["acc"] == 1.0
    )


def test_the_custom_reward_function_says_what_it_could_not_judge() -> None:
    assert compute_score("made", RIGHT, None) == {"score": 0.0, "acc": 0.0, "judged": 0.0}
    assert compute_score("made", RIGHT, "4", {"verifier": "number"})["score"] == 1.0


async def test_a_reward_of_one_response_is_a_reward_manager() -> None:
    found = await manager(reward="l1_exact(alpha=0.01)", verifier="number").run_single(
        data_of([RIGHT], ["4"], ["u"], wanted_tokens=20)
    )
    # 1 - 0.01 * |20 - 18|
    assert found["reward_score"] == pytest.approx(0.98)
    assert found["reward_extra_info"] == {"judged": 1.0, "acc": 1.0, "thinking_tokens": 17.0, "total_tokens": 18.0}


async def test_padding_counts_no_tokens() -> None:
    batch = data_of([RIGHT, WRONG], ["4", "4"], ["u", "u"])
    one = Data({key: value[:1] for key, value in batch.batch.items()}, batch.non_tensor_batch)
    found = await manager(reward="plain(alpha=0.01)", verifier="number").run_single(one)
    assert found["reward_extra_info"]["total_tokens"] == 18.0


async def test_the_start_models_statistics_come_with_the_question() -> None:
    # 36/18 - 1 + 2 * (1 - 0.5)
    data = data_of([RIGHT], ["4"], ["u"], reference_tokens=36, reference_accuracy=0.5)
    found = await manager(reward="o1_pruner", verifier="number").run_single(data)
    assert found["reward_score"] == pytest.approx(2.0)


async def test_a_history_needs_one_worker_and_is_kept_there() -> None:
    with pytest.raises(UsageError, match=r"verl has 8 reward workers that share nothing: set reward\.num_workers=1"):
        manager(reward="hapo")
    one = manager(reward="hapo", verifier="number", workers=1)
    data = data_of([RIGHT], ["4"], ["u"], index=5)
    assert (await one.run_single(data))["reward_score"] == 1.0
    longer = data_of([RIGHT.replace("ab", "ab" + "c" * 18)], ["4"], ["another"], index=5)
    assert (await one.run_single(longer))["reward_score"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reward": "kimi"}, "register it as an advantage estimator"),
        ({}, "the option reward is missing"),
        ({"reward": "plain", "verifer": "number"}, "did you mean 'verifier'?"),
        ({"reward": "plane"}, "did you mean 'plain'?"),
    ],
)
def test_options_that_do_not_fit_are_told_when_verl_starts(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        manager(**options)
    assert said in str(caught.value)


def test_scores_stand_at_the_last_token_of_each_response() -> None:
    tensor = VerlRewardManager.assemble_rm_scores(data_of([RIGHT, WRONG], ["4", "4"], ["u", "u"]), [0.5, -1.0])
    assert tensor.shape == (2, 22)
    assert tensor[0, 17] == 0.5
    assert tensor[1, 21] == -1.0
    assert tensor.count_nonzero() == 2


def masked(*lengths: int) -> Any:
    return torch.tensor([[1] * length + [0] * (max(lengths) - length) for length in lengths])


def scores(mask: Any, *values: float) -> Any:
    tensor = torch.zeros(mask.shape)
    for row, value in enumerate(values):
        tensor[row, int(mask[row].sum()) - 1] = value
    return tensor


def test_a_reward_of_the_group_is_an_advantage_estimator() -> None:
    # two questions, rows mixed: u: 2 (right), 6 (right), 4 (wrong); v: 3 (right)
    # arora_zanette: u: mean 4, deviation 2: z -1, 1: 1 - 0.1 * 0.268941 = 0.973106, 1 - 0.1 * 0.731059 = 0.926894, 0
    # leave one out: 0.973106 - 0.463447 = 0.509659;  0.926894 - 0.486553 = 0.440341;  0 - 0.95 = -0.95;  v: 0
    mask = masked(2, 3, 6, 4)
    found, returns = VerlAdvantage("arora_zanette")(
        token_level_rewards=scores(mask, 1, 1, 1, 0),
        response_mask=mask,
        index=["u", "v", "u", "u"],
        config={"whatever": 1},
    )
    assert found.shape == mask.shape
    assert found[:, 0].tolist() == pytest.approx([0.509659, 0.0, 0.440341, -0.95], abs=1e-5)
    assert torch.equal(found != 0, mask.bool() & (found[:, :1] != 0)), "nothing stands on padding"
    assert torch.equal(found, returns)


def test_an_advantage_estimator_watches_target_lengths() -> None:
    estimator = VerlAdvantage("laser_d", limit_tokens=64)
    mask = masked(2, 64)
    found, _ = estimator(token_level_rewards=scores(mask, 1, 1), response_mask=mask, index=["u", "u"])
    # both inside the target of 64: equal rewards
    assert found.abs().max() == 0


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("l1_max", "see no wanted_tokens"),
        ("kimi(of=thinking)", "see no thinking tokens"),
        ("hapo", "see no history"),
    ],
)
def test_an_advantage_estimator_refuses_what_it_cannot_see(reward: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        VerlAdvantage(reward)


def test_older_verl_hands_over_the_whole_batch() -> None:
    older = VerlBatchRewardManager(
        TOKENIZER, 1, compute_score=None, reward_fn_key="data_source", reward="shorter_better", verifier="number"
    )
    # u: 18 (right), 22 (wrong): 2, -0.004;  v: 22 alone and right: 2;  w: cannot be judged, alone: 0
    data = data_of([RIGHT, WRONG, WRONG, RIGHT], ["4", "4", "5", None], ["u", "u", "v", "w"])
    found = older(data, return_dict=True)
    assert found["reward_tensor"].sum(-1).tolist() == pytest.approx([2.0, -0.004, 2.0, 0.0])
    assert found["reward_extra_info"]["judged"] == [1.0, 1.0, 1.0, 0.0]
    assert older(data).shape == (4, 22)


def test_what_cannot_be_judged_gets_the_mean_of_its_group_there(monkeypatch: pytest.MonkeyPatch) -> None:
    real = verify.score

    def score(answer: str, task: Task) -> Score:
        return Score(None, why="the checking library ran out of time") if "?" in answer else real(answer, task)

    monkeypatch.setattr(verify, "score", score)
    older = VerlBatchRewardManager(TOKENIZER, reward="shorter_better", verifier="number")
    found = older(data_of([RIGHT, WRONG, RIGHT + "?"], ["4"] * 3, ["u"] * 3))
    # (2 - 0.004) / 2
    assert found.sum(-1).tolist() == pytest.approx([2.0, -0.004, 0.998])
