"""Groups as one writes them on paper: ``100+ 300-`` is a correct response of 100 tokens and a wrong one of 300."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from taut.rollouts import Group, Rollout


def made(text: str, **known: Any) -> Group:
    """``+`` correct, ``-`` wrong; ``!`` behind it: cut at the limit, ``n``: no thinking. Half of the tokens think."""
    return Group(tuple(map(rollout, text.split())), "q7", **known)


def rollout(text: str) -> Rollout:
    """One response, ``100+``."""
    found = re.fullmatch(r"(\d+)([+-])(!?)(n?)", text)
    assert found, text
    tokens, sign, cut, blank = found.groups()
    return Rollout(0 if blank else int(tokens) // 2, int(tokens), sign == "+", not cut, not blank)


def with_ids(group: Group, *ids: tuple[int, ...]) -> Group:
    """The same group with these tokens."""
    return replace(
        group,
        rollouts=tuple(replace(item, token_ids=own) for item, own in zip(group.rollouts, ids, strict=True)),
    )
