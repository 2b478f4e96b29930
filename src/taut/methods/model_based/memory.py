"""What training on length remembers from step to step, outside the rewards: the shortest right answers so far (HAPO),
and target lengths by difficulty (LASER-D). Both are saved to JSON, so that a training that resumes goes on the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from taut.errors import UsageError, one_line
from taut.rollouts import Group, Length, Targets

Kept = TypeVar("Kept")


class Memory(Protocol):
    """Watches the groups of every step and tells the next one what it has learnt."""

    def fill(self, group: Group) -> Group:
        """The group with what is remembered of its question put in."""
        ...

    def observe(self, groups: Iterable[Group]) -> None:
        """Take in the groups of a step, after they were rewarded."""
        ...

    def save(self, path: Path) -> None:
        """Write it all to a file. Raises `UsageError` where that fails."""
        ...


@dataclass(slots=True)
class History:
    """The shortest correct answer to each question so far; a question is known by its id."""

    of: Length = "total"
    """Tokens that count, as in the reward."""
    shortest: dict[str, int] = field(default_factory=dict)
    """Tokens by question."""

    def fill(self, group: Group) -> Group:
        """The group with `Group.shortest_so_far`. Raises `UsageError` for a group without an id."""
        return replace(group, shortest_so_far=self.shortest.get(_id_of(group)))

    def observe(self, groups: Iterable[Group]) -> None:
        """Take in the groups of a step, after they were rewarded."""
        for group in groups:
            best = min(group.correct_lengths(self.of), default=None)
            if best is not None:
                self.shortest[_id_of(group)] = min(best, self.shortest.get(_id_of(group), best))

    def save(self, path: Path) -> None:
        """Write it all to a file. Raises `UsageError` where that fails."""
        _save(self, path)

    @classmethod
    def load(cls, path: Path) -> History:
        """What was saved. Raises `UsageError` for a file that cannot be read."""
        return _load(path, cls)


@dataclass(slots=True)
class Monitor:
    """Target lengths by difficulty, from the lengths of the groups that were watched since the last change.

    As LASER-D's code does it: among all responses of the groups of one difficulty, the target is the least candidate
    length that so many of them stay within that, of the correct ones to be expected in a group of n at that difficulty
    (two thirds of n, a third of n, one; rounded down), at least one remains: a share of 1 / that number. It asks a set
    of 500 questions every 20 steps of 128; here the groups of training themselves are watched.
    A difficulty of which no group was seen keeps its target.
    """

    targets: Targets
    """To begin with, such as the limit three times."""
    step_tokens: int = 1024
    """Candidates are multiples of this; 1,024 in the code. Take about a sixteenth of the limit."""
    every_groups: int = 64
    """New targets after so many groups."""
    of: Length = "total"
    """Tokens that count, as in the reward."""
    seen_groups: int = 0
    """Since the last change."""
    group_size: int = 0
    """Rollouts of the largest of them."""
    lengths: dict[str, list[int]] = field(default_factory=dict)
    """Of the responses since the last change, by difficulty: ``easy``, ``medium``, ``hard``."""

    def __post_init__(self) -> None:
        """Reject values outside their range."""
        if self.step_tokens < 1 or self.every_groups < 1:
            raise UsageError(
                f"monitor: step_tokens is {self.step_tokens} and every_groups {self.every_groups}, "
                "both must be at least 1"
            )

    def fill(self, group: Group) -> Group:
        """The group with `Group.targets`."""
        return replace(group, targets=self.targets)

    def observe(self, groups: Iterable[Group]) -> None:
        """Take in the groups of a step, after they were rewarded; set new targets when enough were seen."""
        for group in groups:
            self.lengths.setdefault(_difficulty(group), []).extend(group.lengths(self.of))
            self.group_size = max(self.group_size, len(group.rollouts))
            self.seen_groups += 1
            if self.seen_groups >= self.every_groups:
                self._set_targets()

    def save(self, path: Path) -> None:
        """Write it all to a file. Raises `UsageError` where that fails."""
        _save(self, path)

    @classmethod
    def load(cls, path: Path) -> Monitor:
        """What was saved. Raises `UsageError` for a file that cannot be read."""
        return _load(path, cls)

    def _set_targets(self) -> None:
        expected = {"easy": self.group_size * 2 // 3, "medium": self.group_size // 3, "hard": 1}
        found = {name: self._target(self.lengths.get(name, []), count) for name, count in expected.items()}
        self.targets = replace(self.targets, **{name: target for name, target in found.items() if target is not None})
        self.seen_groups, self.group_size, self.lengths = 0, 0, {}

    def _target(self, lengths: list[int], expected_correct: int) -> int | None:
        """The least multiple of a step within which one in ``expected_correct`` of the lengths stays."""
        if not lengths:
            return None
        # The length that is just within: the ceil(n / expected)-th shortest.
        place = -(-len(lengths) // max(expected_correct, 1))
        least = sorted(lengths)[place - 1]
        return max(-(-least // self.step_tokens), 1) * self.step_tokens


def _difficulty(group: Group) -> str:
    return ("hard", "medium", "easy")[Targets(easy=2, medium=1, hard=0).of(group.accuracy)]


def _id_of(group: Group) -> str:
    if not group.question:
        raise UsageError("a history needs to know each question again, and a group has no question: give it an id")
    return group.question


def _save(memory: object, path: Path) -> None:
    """Written beside and moved into place: a kill in between leaves the old file whole."""
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_bytes(msgspec.json.encode(memory))
        os.replace(beside, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def _load(path: Path, kind: type[Kept]) -> Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no saved {kind.__name__}: {one_line(error)}") from None
