"""Answers drawn in a batch that rows leave when they are done are those that the model would write alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.train.made import tiny_llama

pytestmark = pytest.mark.transformers

PROMPTS = [[5, 9, 3], [7], [4, 8, 8, 6, 2, 5], [3, 3]]
ENDS = (1, 2)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_llama(12, num_key_value_heads=2, initializer_range=0.5)


def alone(model: Any, prompt: list[int], most: int) -> list[int]:
    """The likeliest answer, every token computed from the whole text."""
    import torch

    text = list(prompt)
    for _ in range(most):
        with torch.no_grad():
            text.append(int(model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1].argmax()))
        if text[-1] in ENDS:
            break
    return text[len(prompt) :]


def test_the_likeliest_answers_are_those_of_each_prompt_alone(model: Any) -> None:
    from taut.train.sampling import ROOM_TOKENS, sample

    # Longer than the room that is made at a time, so that it grows.
    most = ROOM_TOKENS + 40
    found = sample(model, PROMPTS, ENDS, most, temperature=0)
    assert found == [alone(model, prompt, most) for prompt in PROMPTS]


def test_an_answer_ends_with_its_end_or_at_the_ceiling(model: Any) -> None:
    import torch

    from taut.train.sampling import sample

    torch.manual_seed(1)
    found = sample(model, PROMPTS * 8, ENDS, 20, temperature=1.0)
    assert all(len(ids) == 20 or ids[-1] in ENDS for ids in found)
    assert not any(set(ids[:-1]) & set(ENDS) for ids in found)
    assert len({len(ids) for ids in found}) > 3


def test_tokens_are_drawn_as_often_as_the_model_says(model: Any) -> None:
    import torch

    from taut.train.sampling import sample

    torch.manual_seed(2)
    drawn = [ids[0] for ids in sample(model, [[5, 9, 3]] * 4000, ENDS, 1, temperature=0.7)]
    with torch.no_grad():
        wanted = torch.softmax(model(input_ids=torch.tensor([[5, 9, 3]])).logits[0, -1] / 0.7, dim=-1)
    shares = torch.bincount(torch.tensor(drawn), minlength=12) / 4000
    # Four standard deviations of a share of one half.
    assert (shares - wanted).abs().max() < 0.032


def test_only_the_likeliest_are_drawn_where_their_share_is_limited(model: Any) -> None:
    import torch

    from taut.train.sampling import sample

    with torch.no_grad():
        likeliest = int(model(input_ids=torch.tensor([[5, 9, 3]])).logits[0, -1].argmax())
    drawn = sample(model, [[5, 9, 3]] * 50, ENDS, 1, temperature=1.0, top_p=1e-6)
    assert {ids[0] for ids in drawn} == {likeliest}


@pytest.mark.parametrize("together", [1, 2, 4])
def test_with_numbers_of_its_own_an_answer_does_not_depend_on_what_is_drawn_beside_it(
    model: Any, together: int
) -> None:
    from taut.train.sampling import chances, sample

    seeds = [11, 12, 13, 14]
    whole = sample(model, PROMPTS, ENDS, 30, 1.0, by=chances(seeds, 30))
    parts = range(0, len(PROMPTS), together)
    apart = [
        ids
        for at in parts
        for ids in sample(model, PROMPTS[at : at + together], ENDS, 30, 1.0, by=chances(seeds[at : at + together], 30))
    ]
    assert apart == whole
    assert len({tuple(ids) for ids in whole}) > 1


def test_numbers_are_turned_into_tokens_by_their_shares() -> None:
    import torch

    from taut.train.sampling import _place_of

    shares = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]])
    numbers = [0.0, 0.2499, 0.25, 0.9, 0.99999994]
    assert [int(_place_of(torch.tensor([number]), shares)[0]) for number in numbers] == [1, 1, 3, 3, 3]
    uneven = torch.rand(1, 1000, generator=torch.Generator().manual_seed(0))
    uneven[0, -1] = 0
    assert int(_place_of(torch.tensor([0.99999994]), uneven / uneven.sum())[0]) < 999


def test_what_is_padding_in_every_row_is_left_out_of_the_loss() -> None:
    import torch

    from taut.train.trainers import trimmed

    inputs = {
        "prompt_ids": torch.tensor([[0, 0, 5], [0, 6, 7]]),
        "prompt_mask": torch.tensor([[0, 0, 1], [0, 1, 1]]),
        "completion_ids": torch.tensor([[3, 4, 0, 0], [3, 0, 0, 0]]),
        "completion_mask": torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0]]),
        "advantages": torch.tensor([1.0, -1.0]),
        "num_items_in_batch": torch.tensor(3),
    }
    found = trimmed(inputs)
    assert found["prompt_ids"].tolist() == [[0, 5], [6, 7]]
    assert found["completion_ids"].tolist() == [[3, 4], [3, 0]]
    assert found["completion_mask"].tolist() == [[1, 1], [1, 0]]
    assert found["advantages"].tolist() == [1.0, -1.0]


def parts_of_two() -> list[dict[str, Any]]:
    """Lengths 3, 1, 2, 1 in two parts; advantages say which rollout is which."""
    import torch

    return [
        {
            "completion_mask": torch.tensor([[1, 1, 1], [1, 0, 0]]),
            "advantages": torch.tensor([10.0, 20.0]),
            "images": ["a", "b"],
            "num_items_in_batch": torch.tensor(7),
            "ref_per_token_logps": None,
        },
        {
            "completion_mask": torch.tensor([[1, 1, 0], [1, 0, 0]]),
            "advantages": torch.tensor([30.0, 40.0]),
            "images": ["c", "d"],
            "num_items_in_batch": torch.tensor(7),
            "ref_per_token_logps": None,
        },
    ]


def test_rollouts_of_like_length_share_a_part_and_none_is_lost() -> None:
    from taut.train.trainers import by_length

    found = by_length(parts_of_two())
    assert [part["completion_mask"].sum(dim=1).tolist() for part in found] == [[1, 1], [2, 3]]
    assert [part["advantages"].tolist() for part in found] == [[20.0, 40.0], [30.0, 10.0]]
    assert [part["images"] for part in found] == [["b", "d"], ["c", "a"]]
    assert all(part["num_items_in_batch"].item() == 7 and part["ref_per_token_logps"] is None for part in found)
