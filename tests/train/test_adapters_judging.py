"""From a response to a rollout: the tags of any dialect, special tokens, and where the answer begins."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from taut.core import Task
from taut.dialects import FAMILIES, by_name
from taut.errors import UsageError
from taut.rollouts import Rollout
from taut.train.adapters._judging import Judge, Response
from taut.train.adapters.trl import trl_reward
from tests.train.letters import END, Letters

FOUR = Task("sum", (), "4", "number")


class WithSpecials(Letters):
    """Tags are special tokens here, as in many real vocabularies."""

    def __init__(self, *specials: str) -> None:
        self.all_special_tokens = (END, *specials)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        text = super().decode(token_ids, skip_special_tokens=skip_special_tokens)
        for special in self.all_special_tokens if skip_special_tokens else ():
            text = text.replace(special, "")
        return text


def judged(text: str, dialect: str = "think_tags", tokenizer: Letters | None = None) -> Rollout:
    tokenizer = tokenizer or Letters()
    found = Judge(by_name(dialect), tokenizer).rollout(Response("", tokenizer.ids(text)), FOUR)
    assert found is not None
    return found


@pytest.mark.parametrize("name", [name for name, dialect in FAMILIES.items() if dialect.thinks])
def test_thinking_is_told_from_the_answer_in_every_dialect(name: str) -> None:
    dialect = by_name(name)
    opening = "" if dialect.template_opens else dialect.open
    before = f"{opening}2 and 2{dialect.close}"
    tokenizer = WithSpecials(*dialect.open_tags[:1], *dialect.close_tags[:1])
    found = judged(before + "4", name, tokenizer)
    assert found.correct
    assert found.thought
    expected = len(tokenizer.ids(before))
    assert (found.thinking_tokens, found.total_tokens) == (expected, expected + 1)


def test_special_tokens_that_are_no_tags_are_no_part_of_the_answer() -> None:
    assert judged("<think>a</think>4" + END).correct
    assert judged("<think>a</think>4<|pad|><|pad|>", tokenizer=WithSpecials("<|pad|>")).correct


def test_a_thought_that_is_closed_but_was_never_opened_was_opened_by_the_prompt() -> None:
    found = judged("5 no, so</think>4")
    assert found.correct
    assert found.thinking_tokens == len("5 no, so</think>")


def test_an_answer_alone_has_no_thinking() -> None:
    for text in ("4", "</think>4", "<think>\n\n</think>\n\n4"):
        found = judged(text)
        assert found.correct
        assert (found.thought, found.thinking_tokens) == (False, 0)


def test_a_thought_that_does_not_end_is_all_thinking_and_wrong() -> None:
    found = judged("<think>it is 4")
    assert not found.correct
    assert found.thinking_tokens == found.total_tokens == len("<think>it is 4")


def test_a_model_without_tags_is_never_taken_for_one_that_left_thinking_out() -> None:
    found = judged("2 and 2 is 4", "plain")
    assert (found.correct, found.thought, found.thinking_tokens) == (True, True, 0)


def test_a_reward_of_the_thinkings_length_is_refused_for_a_model_without_tags() -> None:
    with pytest.raises(UsageError, match="'plain' has no tags that mark it: take of=total"):
        trl_reward("laser(of=thinking)", dialect="plain")


def test_what_cannot_be_counted_is_told() -> None:
    with pytest.raises(UsageError, match="came without its tokens: give a tokenizer"):
        Judge().rollout(Response("4"), FOUR)


def test_an_empty_response_is_wrong_and_has_no_length() -> None:
    found = Judge().rollout(Response(""), FOUR)
    assert found == Rollout(0, 0, False, thought=False)
