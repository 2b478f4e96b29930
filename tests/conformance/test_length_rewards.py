"""One suite over every length reward: what each must do with any group, and the claims that it makes itself."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import pickle
import random
import re
import typing
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taut import plugins
from taut.methods.model_based.advantages import NAMES as ADVANTAGES
from taut.methods.model_based.advantages import advantages
from taut.rollouts import (
    BOUNDED,
    CLAIMS,
    NEEDS,
    RIGHT_ABOVE_WRONG,
    SHORTER_IS_BETTER,
    Group,
    LengthReward,
    Reference,
    Rollout,
    Targets,
)
from taut.train.rewards import GROUP, open_reward

NAMES = sorted(plugins.entries(GROUP))
SMALL = 1e-9
"""Rounding of sums and products."""

every_reward = pytest.mark.parametrize("name", NAMES)
some_examples = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
any_seed = given(st.integers(0, 2**32 - 1))


def random_group(seed: int, reward: LengthReward, least: int = 0) -> Group:
    """Groups of all kinds: alone, all right, none right, of one length, empty responses, all cut, repeating."""
    draw = random.Random(seed)
    count = max(draw.choice((0, 1, 2, 4, 8, 16)), least)
    has_ids = "token_ids" in reward.needs
    scale = draw.choice((0, 1, 10, 400, 400 if has_ids else 30_000))
    share = draw.choice((0.0, 0.2, 0.5, 0.9, 1.0))
    is_flat, all_cut = draw.random() < 0.2, draw.random() < 0.1
    flat = draw.randint(0, scale)
    rollouts = []
    for _ in range(count):
        total = flat if is_flat else draw.randint(0, scale)
        thought = draw.random() < 0.7
        words = draw.choice((1, 2, 1000))
        ids = tuple(draw.randrange(words) for _ in range(total)) if has_ids else ()
        rollouts.append(
            Rollout(
                thinking_tokens=draw.randint(0, total) if thought else 0,
                total_tokens=total,
                correct=draw.random() < share,
                finished=not all_cut and draw.random() < 0.9,
                thought=thought,
                token_ids=ids,
            )
        )
    return Group(
        tuple(rollouts),
        f"q{seed}",
        wanted_tokens=draw.randint(0, scale + 1),
        limit_tokens=max(scale, 1),
        reference=Reference(draw.uniform(0, scale), draw.random()),
        shortest_so_far=draw.choice((None, draw.randint(0, scale))),
        targets=Targets(draw.randint(0, scale), draw.randint(0, scale), draw.randint(0, scale)),
    )


@every_reward
def test_it_is_a_frozen_dataclass_of_parameters_with_defaults(name: str) -> None:
    reward = open_reward(name)
    assert isinstance(reward, LengthReward)
    assert pickle.loads(pickle.dumps(reward)) == reward
    assert hash(reward) == hash(open_reward(name))
    for item in dataclasses.fields(typing.cast(typing.Any, reward)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(reward, item.name, getattr(reward, item.name))


@every_reward
def test_what_it_says_of_itself_is_known(name: str) -> None:
    reward = open_reward(name)
    assert reward.needs <= set(NEEDS)
    assert reward.claims <= set(CLAIMS)
    assert reward.advantage in ADVANTAGES
    assert reward.bounds[0] < reward.bounds[1]
    assert (BOUNDED in reward.claims) == all(map(math.isfinite, reward.bounds))


@every_reward
def test_its_docstring_names_the_paper_and_every_parameter_has_a_meaning_or_a_plain_name(name: str) -> None:
    text = inspect.getdoc(plugins.find(GROUP, name).load()) or ""
    assert re.search(r"arXiv:\d{4}\.\d{5}", text.partition("\n")[0]), "the first line names the paper"
    assert "``" in text, "the formula is there"


@every_reward
@some_examples
@any_seed
def test_there_is_one_finite_number_per_rollout_within_its_bounds(name: str, seed: int) -> None:
    reward, group = open_reward(name), random_group(seed, open_reward(name))
    rewards = reward(group)
    assert isinstance(rewards, tuple)
    assert len(rewards) == len(group.rollouts)
    least, most = reward.bounds
    for number in rewards:
        assert isinstance(number, float)
        assert math.isfinite(number)
        assert least - SMALL <= number <= most + SMALL


@every_reward
@some_examples
@any_seed
def test_the_order_of_the_rollouts_changes_no_reward(name: str, seed: int) -> None:
    reward, group = open_reward(name), random_group(seed, open_reward(name))
    order = list(range(len(group.rollouts)))
    random.Random(seed).shuffle(order)
    shuffled = replace(group, rollouts=tuple(group.rollouts[place] for place in order))
    rewards = reward(group)
    assert reward(shuffled) == pytest.approx([rewards[place] for place in order], abs=SMALL)


@every_reward
@some_examples
@any_seed
def test_it_changes_nothing_and_remembers_nothing(name: str, seed: int) -> None:
    reward, group = open_reward(name), random_group(seed, open_reward(name))
    before = pickle.dumps((reward, group))
    first = reward(group)
    reward(random_group(seed + 1, reward))
    assert reward(group) == first
    assert pickle.dumps((reward, group)) == before


@every_reward
@some_examples
@any_seed
def test_one_that_reads_no_group_says_the_same_of_a_rollout_alone(name: str, seed: int) -> None:
    reward, group = open_reward(name), random_group(seed, open_reward(name))
    if reward.reads_group:
        return
    alone = [reward(replace(group, rollouts=(rollout,)))[0] for rollout in group.rollouts]
    assert list(reward(group)) == alone


@every_reward
def test_one_that_reads_the_group_does_so(name: str) -> None:
    reward = open_reward(name)
    differs = False
    for seed in range(100):
        group = random_group(seed, reward, least=4)
        alone = tuple(reward(replace(group, rollouts=(rollout,)))[0] for rollout in group.rollouts)
        differs = differs or reward(group) != pytest.approx(alone, abs=SMALL)
    assert differs == reward.reads_group


@every_reward
@some_examples
@any_seed
def test_among_correct_answers_shorter_is_never_worse_where_it_claims_so(name: str, seed: int) -> None:
    reward = open_reward(name)
    if SHORTER_IS_BETTER not in reward.claims:
        return
    group = random_group(seed, reward, least=2)
    # A response that was cut is no shorter answer: it is none.
    whole = replace(group, rollouts=tuple(replace(rollout, finished=True) for rollout in group.rollouts))
    pairs = zip(whole.rollouts, reward(whole), strict=True)
    right = sorted((rollout.total_tokens, -number) for rollout, number in pairs if rollout.correct)
    worths = [-number for _, number in right]
    assert all(later <= earlier + SMALL for earlier, later in itertools.pairwise(worths))


@every_reward
@some_examples
@any_seed
def test_a_correct_answer_is_never_below_a_wrong_one_where_it_claims_so(name: str, seed: int) -> None:
    reward = open_reward(name)
    if RIGHT_ABOVE_WRONG not in reward.claims:
        return
    group = random_group(seed, reward, least=2)
    pairs = list(zip(group.rollouts, reward(group), strict=True))
    right = [number for rollout, number in pairs if rollout.correct]
    wrong = [number for rollout, number in pairs if not rollout.correct]
    assert min(right, default=math.inf) >= max(wrong, default=-math.inf) - SMALL


@every_reward
def test_a_claim_that_it_does_not_make_fails_somewhere(name: str) -> None:
    """A promise that holds everywhere should be made: callers choose by it."""
    reward = open_reward(name)

    def groups() -> Iterator[Group]:
        return (random_group(seed, reward, least=4) for seed in range(4000))

    if RIGHT_ABOVE_WRONG not in reward.claims and name != "alp":  # alp's price of 1e-7 shows above ten million tokens
        assert any(_right_below_wrong(reward, group) for group in groups())
    if SHORTER_IS_BETTER not in reward.claims:
        assert any(_longer_is_better(reward, group) for group in groups())


def _right_below_wrong(reward: LengthReward, group: Group) -> bool:
    pairs = list(zip(group.rollouts, reward(group), strict=True))
    right = [number for rollout, number in pairs if rollout.correct]
    wrong = [number for rollout, number in pairs if not rollout.correct]
    return min(right, default=math.inf) < max(wrong, default=-math.inf) - SMALL


def _longer_is_better(reward: LengthReward, group: Group) -> bool:
    pairs = [pair for pair in zip(group.rollouts, reward(group), strict=True) if pair[0].correct]
    return any(
        long.total_tokens > short.total_tokens and above > below + SMALL
        for long, above in pairs
        for short, below in pairs
    )


@every_reward
@some_examples
@any_seed
def test_its_papers_advantages_are_finite(name: str, seed: int) -> None:
    reward = open_reward(name)
    groups = [random_group(seed, reward), random_group(seed + 1, reward)]
    made = advantages(reward.advantage, [reward(group) for group in groups], [group.accuracy for group in groups])
    assert [len(row) for row in made] == [len(group.rollouts) for group in groups]
    assert all(map(math.isfinite, (number for row in made for number in row)))
