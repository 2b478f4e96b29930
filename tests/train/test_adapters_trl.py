"""A length reward as TRL calls it: the flat batch, the columns of the data set, and what goes to the log."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from taut.errors import UsageError
from taut.methods.model_based.memory import History, Monitor
from taut.train.adapters.trl import TrlReward, trl_reward
from tests.train.letters import END, Letters

TOKENIZER = Letters()
RIGHT, WRONG = "<think>ab</think>4", "<think>abcdef</think>5"
"""18 and 22 tokens; the answer begins behind 17 and 21 of them."""


def called(reward: TrlReward, prompts: Sequence[Any], texts: Sequence[str], **columns: Any) -> list[float | None]:
    """As `GRPOTrainer._calculate_rewards` calls it: everything by name."""
    return reward(
        prompts=prompts,
        completions=[[{"role": "assistant", "content": text.replace(END, "")}] for text in texts],
        completion_ids=[list(TOKENIZER.ids(text)) for text in texts],
        trainer_state=object(),
        log_extra=columns.pop("log_extra", None),
        log_metric=columns.pop("log_metric", None),
        **columns,
    )


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_flat_batch_is_rewarded_group_by_group() -> None:
    # shortest_better: question one: 18 (right) and 22 (wrong): S = 18: 2 and -0.004;  question two: 22 is right: 2
    reward = trl_reward("shorter_better", tokenizer=TOKENIZER, verifier="number")
    prompts = [asked("2+2")] * 2 + [asked("2+3")] * 2
    found = called(reward, prompts, [RIGHT, WRONG, WRONG, RIGHT], answer=["4", "4", "5", "5"])
    assert found == pytest.approx([2.0, -0.004, 2.0, -0.004])


def test_neighbours_with_another_prompt_or_other_columns_are_another_group() -> None:
    reward = trl_reward("shorter_better", tokenizer=TOKENIZER, verifier="number")
    # 22 tokens are wrong in both groups; alone in its group, S is its own length
    assert called(reward, [asked("2+2"), asked("2 + 2")], [RIGHT, WRONG], answer=["4", "4"]) == [2.0, 0.0]
    assert called(reward, [asked("2+2")] * 2, [RIGHT, WRONG], answer=["4", "4"], id=["a", "b"]) == [2.0, 0.0]


def test_the_length_of_the_thinking_alone_can_count() -> None:
    # tokens up to where the answer begins: 17
    reward = trl_reward("plain(alpha=0.01,of=thinking)", tokenizer=TOKENIZER, verifier="number")
    assert called(reward, [asked("2+2")], [RIGHT], answer=["4"]) == pytest.approx([1 - 0.17])


def test_without_a_tokenizer_thinking_is_counted_by_its_share_of_the_letters() -> None:
    # 18 tokens, 2 letters of thinking and 1 of answer: 12
    reward = trl_reward("plain(alpha=0.01,of=thinking)", verifier="number")
    assert called(reward, [asked("2+2")], [RIGHT], answer=["4"]) == pytest.approx([1 - 0.12])


def test_text_prompts_and_completions_work_and_a_thought_may_begin_in_the_prompt() -> None:
    reward = trl_reward("plain(alpha=0.01)", tokenizer=TOKENIZER, verifier="number")
    texts = ["ab</think>4", "ab</think>5"]
    ids = [list(TOKENIZER.ids(text)) for text in texts]
    found = reward(prompts=["2+2<think>\n"] * 2, completions=texts, completion_ids=ids, answer=["4", "4"])
    assert found == pytest.approx([1 - 0.11, -0.11])


def test_a_thought_that_is_cut_is_no_answer_though_it_holds_the_right_one() -> None:
    reward = trl_reward("think_prune", tokenizer=TOKENIZER, verifier="number", limit_tokens=18)
    assert called(reward, [asked("2+2")] * 2, ["<think>it is 4", RIGHT], answer=["4"] * 2) == [0.0, 0.0]
    assert called(reward, [asked("2+2")], [RIGHT[:-1] + "4" + END], answer=["4"], limit_tokens=[30]) == [1.0]


def test_what_does_not_end_with_the_end_token_was_cut() -> None:
    logged: dict[str, float] = {}
    reward = trl_reward("arora_zanette", tokenizer=TOKENIZER, verifier="number", limit_tokens=30)
    # alone among the right: 1 - 0.1 / 2;  the other was cut: 0
    found = called(reward, [asked("2+2")] * 2, [RIGHT + END, RIGHT], answer=["4"] * 2, log_metric=logged.__setitem__)
    assert found == pytest.approx([0.95, 0.0])
    assert logged["taut/cut"] == 0.5


def test_accuracy_lengths_and_what_could_not_be_judged_go_to_the_log() -> None:
    logged: dict[str, float] = {}
    rows: dict[str, list[Any]] = {}
    reward = trl_reward("plain", tokenizer=TOKENIZER, verifier="number")
    found = called(
        reward,
        [asked("2+2")] * 3,
        [RIGHT + END, WRONG + END, WRONG + END],
        answer=["4", "4", None],
        log_metric=logged.__setitem__,
        log_extra=rows.__setitem__,
    )
    assert found[2] is None, "no reference: not scored, never wrong"
    assert logged == {
        "taut/not_judged": pytest.approx(1 / 3),
        "taut/accuracy": 0.5,
        "taut/tokens": (19 + 23) / 2,
        "taut/thinking_tokens": (17 + 21) / 2,
        "taut/cut": 0.0,
    }
    assert rows == {"correct": [True, False, None], "thinking_tokens": [17, 21, None]}


def test_what_cannot_be_judged_does_not_stand_in_its_group() -> None:
    # the verifier of reasoning_gym cannot tell without metadata; the rows' own verifier wins over the default
    reward = trl_reward("kimi", tokenizer=TOKENIZER, verifier="number")
    columns = {"answer": ["4"] * 2, "verifier": ["reasoning_gym"] * 2, "metadata": ["{}"] * 2}
    assert called(reward, [asked("2+2")] * 2, [RIGHT, WRONG], **columns) == [None, None]


def test_columns_tell_the_wanted_length_and_the_start_model() -> None:
    wanted = trl_reward("l1_exact(alpha=0.01)", tokenizer=TOKENIZER, verifier="number")
    # |20 - 18| * 0.01
    assert called(wanted, [asked("2+2")], [RIGHT], answer=["4"], wanted_tokens=[20]) == pytest.approx([0.98])
    pruner = trl_reward("o1_pruner", tokenizer=TOKENIZER, verifier="number")
    # 36/18 - 1 + 2 * (1 - 0.5)
    columns = {"answer": ["4"], "reference_tokens": [36], "reference_accuracy": [0.5]}
    assert called(pruner, [asked("2+2")], [RIGHT], **columns) == pytest.approx([2.0])


def test_a_history_is_kept_between_calls_and_held_out_rows_leave_no_trace() -> None:
    reward = trl_reward("hapo", tokenizer=TOKENIZER, verifier="number")
    row = {"answer": ["4"], "id": ["q"]}
    assert called(reward, [asked("2+2")], [RIGHT], **row, held_out=[True]) == [1.0]
    assert called(reward, [asked("2+2")], [RIGHT], **row, held_out=[False]) == [1.0]
    # h = 18: L = 18: cos(pi / 2) = 0
    assert called(reward, [asked("2+2")], [RIGHT], **row) == pytest.approx([1.0])
    (history,) = reward.memories
    assert isinstance(history, History)
    assert history.shortest == {"q": 18}
    longer = RIGHT.replace("ab", "ab" + "c" * 18)
    # L = 36: cos(pi) = -1 -> -0.7
    assert called(reward, [asked("2+2")], [longer], **row) == pytest.approx([0.3])


def test_target_lengths_begin_at_the_limit() -> None:
    reward = trl_reward("laser_d", tokenizer=TOKENIZER, verifier="number", limit_tokens=64)
    (monitor,) = reward.memories
    assert isinstance(monitor, Monitor)
    assert (monitor.targets.easy, monitor.step_tokens) == (64, 4)
    assert called(reward, [asked("2+2")], [RIGHT], answer=["4"]) == [1.5]
    with pytest.raises(UsageError, match="give limit_tokens"):
        trl_reward("laser_d")


def test_a_group_that_is_spread_over_devices_is_refused_where_the_group_is_read() -> None:
    three = ([asked("2+2")] * 3, [RIGHT] * 3)
    with pytest.raises(UsageError, match="brought 3 responses to one question, and a group has 2"):
        called(trl_reward("kimi", tokenizer=TOKENIZER, group_size=2), *three, answer=["4"] * 3)
    assert len(called(trl_reward("plain", tokenizer=TOKENIZER, group_size=2), *three, answer=["4"] * 3)) == 3


def test_two_groups_of_the_same_question_side_by_side_are_two_groups() -> None:
    reward = trl_reward("shorter_better(alpha=0,beta=1)", tokenizer=TOKENIZER, verifier="number", group_size=1)
    assert called(reward, [asked("2+2")] * 2, [RIGHT, WRONG], answer=["4"] * 2) == [0.0, 0.0]


def test_thoughts_in_a_field_of_their_own_count_as_thinking() -> None:
    reward = trl_reward("plain(alpha=0.01,of=thinking)", verifier="number")
    completion = [{"role": "assistant", "content": "4", "reasoning_content": "abc"}]
    # no tokenizer: 8 tokens, three letters of thinking and one of answer: 6
    found = reward(prompts=["2+2"], completions=[completion], completion_ids=[[1] * 8], answer=["4"])
    assert found == pytest.approx([1 - 0.06])


def test_a_response_without_thinking_is_seen_as_such() -> None:
    reward = trl_reward("thinkless", tokenizer=TOKENIZER, verifier="number")
    found = called(reward, [asked("2+2")] * 3, [RIGHT, "4", "</think>4"], answer=["4"] * 3)
    assert found == [0.5, 1.0, 1.0]


def test_a_data_set_without_answers_is_told() -> None:
    with pytest.raises(UsageError, match="no column answer"):
        called(trl_reward("plain"), [asked("2+2")], [RIGHT])


def test_it_has_a_name_for_the_log_and_pickles() -> None:
    reward = trl_reward("l1_max(alpha=0.001)", tokenizer=TOKENIZER)
    assert getattr(reward, "__name__", None) == "l1_max"
    assert pickle.loads(pickle.dumps(reward)).reward == reward.reward


def test_trl_itself_calls_it_so() -> None:
    """The trainer's own code with a stand-in for the trainer: no model, no training."""
    torch = pytest.importorskip("torch")
    grpo = pytest.importorskip("trl.trainer.grpo_trainer")
    utils = pytest.importorskip("trl.trainer.utils")
    reward = trl_reward("kimi(weight=1,wrong_reward=0)", tokenizer=TOKENIZER, verifier="number", group_size=2)
    assert utils.get_callable_name(reward) == "kimi"
    assert not utils.is_async_callable(reward)

    class Trainer:
        accelerator = SimpleNamespace(device=torch.device("cpu"), is_main_process=True)
        reward_funcs = (reward,)
        reward_processing_classes = (None,)
        reward_func_names = ("kimi",)
        state = SimpleNamespace(global_step=0)
        args = SimpleNamespace(report_to=[])
        environments = None

        def __init__(self) -> None:
            self.log_extra: dict[str, Any] = {}

        def _log_completion_extra(self, column: str, values: list[Any]) -> None:
            self.log_extra[column] = values

        def _log_metric(self, name: str, value: float) -> None:
            self.log_extra[name] = value

    prompts = [asked("2+2")] * 2
    texts = [RIGHT, WRONG]
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    inputs = [{"prompt": prompt, "answer": "4"} for prompt in prompts]
    ids = [list(TOKENIZER.ids(text)) for text in texts]
    trainer = Trainer()
    calculate = grpo.GRPOTrainer._calculate_rewards
    grpo_gather, grpo.gather = grpo.gather, lambda tensor: tensor
    try:
        found = calculate(trainer, inputs, prompts, completions, ids)
    finally:
        grpo.gather = grpo_gather
    # right, the shortest: 1 + 0.5;  wrong, the longest: 0 - 0.5
    assert found.tolist() == [[1.5], [-0.5]]
    assert trainer.log_extra["correct"] == [True, False]
