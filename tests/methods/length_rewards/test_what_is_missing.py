"""A reward that lacks what it needs, and parameters and rollouts that cannot be: one sentence each."""

from __future__ import annotations

import pytest

from taut.errors import UsageError
from taut.rollouts import Group, Reference, Rollout
from taut.train.rewards import open_reward
from tests.methods.length_rewards.made import made


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "o1_pruner",
            "o1_pruner needs reference statistics (mean tokens and accuracy of the start model per question)",
        ),
        ("adapt_think", "and question q7 has none: sample the start model several times on every question first"),
        ("l1_exact", "l1_exact needs the length that the prompt asked for, and question q7 has none"),
        ("l1_max", "give each question its wanted_tokens"),
        ("dast", "dast needs the ceiling of a response in tokens, and question q7 has none: give limit_tokens"),
        ("think_prune", "think_prune needs the ceiling"),
        ("dapo_overlong", "dapo_overlong needs the ceiling"),
        ("cosine", "cosine needs the ceiling"),
        ("laser_d", "laser_d needs target lengths by difficulty, and question q7 has none: let a Monitor watch"),
    ],
)
def test_what_a_reward_lacks_is_told_with_the_question_and_what_to_do(name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_reward(name)(made("100+ 200-"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_token_ids_that_do_not_fit_the_length_are_told() -> None:
    with pytest.raises(UsageError, match="rollout 1 of question q7 has 100 tokens but 0 token ids: give token_ids"):
        open_reward("cosine")(made("100+", limit_tokens=1000))


def test_a_group_without_an_id_is_told_as_a_question() -> None:
    with pytest.raises(UsageError, match="and a question has none"):
        open_reward("dast")(Group((Rollout(0, 1, True),)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("l1_mux", "there is no length reward named 'l1_mux' (did you mean 'l1_max'?)"),
        ("l1_max(alfa=1)", "reward: unknown parameter 'alfa' (did you mean 'alpha'?); known: alpha, delta, form, of"),
        ("l1_max(form=papr)", "reward: form = 'papr' (did you mean 'paper'?); known: paper, code"),
        ("plain(of=answer)", "known: total, thinking"),
        ("plain(alpha=many)", "reward: alpha = 'many' is not right"),
        ("plain(alpha=-1)", "plain: alpha is -1.0, it must be a finite number of at least 0"),
        ("plain(alpha=nan)", "plain: alpha is nan"),
        ("plain(alpha=inf)", "plain: alpha is inf"),
        ("plain(alpha=1,alpha=2)", "'alpha' is given twice"),
        ("arora_zanette(alpha=1.5)", "arora_zanette: alpha is 1.5, it must be between 0 and 1"),
        ("laser(target_tokens=0)", "laser: target_tokens is 0, it must be a finite number above 0"),
        ("laser(wrong_reward=2)", "none may be above the one before it"),
        ("cosine(repetition_ngram_tokens=0)", "repetition_ngram_tokens is 0, it must be at least 1"),
        ("think_prune(round_limit_tokens=0)", "round_limit_tokens is 0, it must be at least 1"),
    ],
)
def test_a_reward_that_cannot_be_is_told_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_reward(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reward_is_written_like_a_stop_rule_and_takes_a_tables_keys_too() -> None:
    assert open_reward("l1_max(alpha=0.001,form=code)") == open_reward(
        "l1_max", parameters={"alpha": 0.001, "form": "code"}
    )
    assert open_reward("l1_max:alpha=0.001") == open_reward("l1_max(alpha=0.001)")


@pytest.mark.parametrize(("thinking", "total"), [(5, 4), (-1, 4)])
def test_a_rollout_cannot_think_more_than_it_writes(thinking: int, total: int) -> None:
    with pytest.raises(UsageError, match="thinking is a part of the response"):
        Rollout(thinking, total, True)


@pytest.mark.parametrize(("tokens", "accuracy"), [(-1, 0.5), (100, 1.5), (float("nan"), 0.5)])
def test_reference_statistics_that_no_sample_gives_are_refused(tokens: float, accuracy: float) -> None:
    with pytest.raises(UsageError, match="a reference has mean_tokens"):
        Reference(tokens, accuracy)


def test_a_limit_of_no_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match="limit_tokens of question q7 is 0, it must be above 0"):
        open_reward("dast")(made("1+", limit_tokens=0))
