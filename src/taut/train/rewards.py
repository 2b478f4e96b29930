"""A length reward by its name and parameters, as recipes and adapters have it: ``l1_max(alpha=0.001)``."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from taut.config import build_entry
from taut.rollouts import LengthReward

GROUP = "length rewards"
"""In ``taut list``."""


def open_reward(text: str, where: str = "reward", parameters: Mapping[str, Any] = {}) -> LengthReward:
    """The reward that ``text`` names; ``parameters`` are more of them, such as the keys of a TOML table.

    Raises `UsageError`, beginning with ``where``, for an unknown name or parameter, naming the nearest known one.
    """
    return typing.cast(LengthReward, build_entry(GROUP, text, where, parameters))
