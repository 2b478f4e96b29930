"""From rewards to advantages, as the papers do it: what a response is pushed by, beside the others of its group.

A trainer has its own way; TRL's is ``group_normalised`` with 1e-4 for the epsilon, ``mean_centred`` with
``scale_rewards="none"``. Where a paper's differs, the reward says so (`LengthReward.advantage`), and `advantages`
makes it from the rewards of a whole step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from taut.errors import UsageError, nearest
from taut.rollouts import AdvantageName

EPSILON = 1e-6
"""Added to deviations, so that equal rewards give 0."""

Rewards = Sequence[float]
Advantages = tuple[float, ...]


def group_normalised(rewards: Rewards) -> Advantages:
    """``(r - mean) / (std + 1e-6)``, the deviation divided by n - 1 (GRPO, arXiv:2402.03300); 0 for a lone rollout."""
    centred = mean_centred(rewards)
    scale = _deviation(centred) + EPSILON
    return tuple(value / scale for value in centred)


def mean_centred(rewards: Rewards) -> Advantages:
    """``r - mean`` (Dr. GRPO, arXiv:2503.20783): no division that makes much of small differences."""
    centre = math.fsum(rewards) / max(len(rewards), 1)
    return tuple(reward - centre for reward in rewards)


def leave_one_out(rewards: Rewards) -> Advantages:
    """``r - mean of the others`` (RLOO, arXiv:2402.14740); 0 for a lone rollout."""
    others = len(rewards) - 1
    if others < 1:
        return (0.0,) * len(rewards)
    total = math.fsum(rewards)
    return tuple(reward - (total - reward) / others for reward in rewards)


def direct(rewards: Rewards) -> Advantages:
    """The rewards themselves (AdaptThink): the start model's accuracy is already taken off."""
    return tuple(map(float, rewards))


def difficulty_weight(
    accuracy: float, *, least: float = 0.4, most: float = 1.5, middle: float = 0.75, steepness: float = 10.0
) -> float:
    """``least + (most - least) / (1 + exp(steepness * (accuracy - middle)))``: much for the hard.

    From GRPO-LEAD (arXiv:2504.09696), constants of its official code.
    """
    return least + (most - least) / (1 + math.exp(steepness * (accuracy - middle)))


def difficulty_weighted(rewards: Rewards, accuracy: float) -> Advantages:
    """Normalised by group; then what is above 0 times the weight at the group's accuracy, the rest times the weight at
    1 - accuracy: a right answer to a hard question and a wrong one to an easy question count most (GRPO-LEAD).
    """
    up, down = difficulty_weight(accuracy), difficulty_weight(1 - accuracy)
    return tuple(value * (up if value > 0 else down) for value in group_normalised(rewards))


def set_standardised(rewards: Sequence[Rewards]) -> list[Advantages]:
    """``(r - mean) / (std + 1e-6)`` over all groups at once (O1-Pruner does it over its data set)."""
    flat = group_normalised([reward for group in rewards for reward in group])
    places = [0, *itertools.accumulate(map(len, rewards))]
    return [flat[start:end] for start, end in itertools.pairwise(places)]


def control_token_weights(response_tokens: int, control_weight: float = 0.001) -> tuple[float, float]:
    """Weights in the loss of the first token and of each token behind it (Thinkless, DeGRPO, arXiv:2505.13379).

    The first chooses between thinking and not; what is behind it shares one unit, so that its length does not count.
    The paper takes the mean over each response, as here; its code takes it over the batch.
    """
    return control_weight, 1 / max(response_tokens - 1, 1)


OF_A_GROUP: Mapping[str, Callable[[Rewards], Advantages]] = {
    "group_normalised": group_normalised,
    "mean_centred": mean_centred,
    "leave_one_out": leave_one_out,
    "direct": direct,
}
NAMES = (*OF_A_GROUP, "difficulty_weighted", "set_standardised")


def advantages(name: AdvantageName, rewards: Sequence[Rewards], accuracies: Sequence[float]) -> list[Advantages]:
    """Advantages of all groups of a step; ``accuracies`` are the groups' shares of correct rollouts.

    Raises `UsageError` for an unknown name.
    """
    if name not in NAMES:
        raise UsageError(f"there is no advantage named {name!r}{nearest(name, NAMES)}; known: {', '.join(NAMES)}")
    if name == "set_standardised":
        return set_standardised(rewards)
    if name == "difficulty_weighted":
        return [difficulty_weighted(group, accuracy) for group, accuracy in zip(rewards, accuracies, strict=True)]
    return [OF_A_GROUP[name](group) for group in rewards]


def _deviation(centred: Advantages) -> float:
    return math.sqrt(math.fsum(value**2 for value in centred) / max(len(centred) - 1, 1))
