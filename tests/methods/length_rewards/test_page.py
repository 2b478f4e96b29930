"""docs/length-rewards.md tells of the rewards what they say of themselves, and its code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taut import plugins
from taut.rollouts import BOUNDED, RIGHT_ABOVE_WRONG, SHORTER_IS_BETTER
from taut.train.rewards import GROUP, open_reward

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "length-rewards.md").read_text(encoding="utf-8")
SHORT = {"bounded": BOUNDED, "shorter": SHORTER_IS_BETTER, "right": RIGHT_ABOVE_WRONG}


def rows(title: str) -> dict[str, list[str]]:
    """The table of a section, by name: its other cells."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found = {}
    for line in section.splitlines():
        names, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`(\w+)`", names) if line.startswith("| `") else ():
            found[name] = cells
    return found


def words(cell: str) -> set[str]:
    return set(filter(None, cell.split(", ")))


def test_both_tables_have_every_reward() -> None:
    assert set(rows("The rewards")) == set(plugins.entries(GROUP))
    assert set(rows("Papers, constants, and what could be checked")) == set(plugins.entries(GROUP))


@pytest.mark.parametrize("name", sorted(plugins.entries(GROUP)))
def test_a_row_says_what_the_reward_says_of_itself(name: str) -> None:
    reward, (_, needs, advantage, holds) = open_reward(name), rows("The rewards")[name]
    assert words(needs) == reward.needs
    assert advantage == reward.advantage
    assert {SHORT[word] for word in words(holds)} == reward.claims


@pytest.mark.parametrize("name", sorted(plugins.entries(GROUP)))
def test_the_paper_is_that_of_the_file(name: str) -> None:
    paper = rows("Papers, constants, and what could be checked")[name][0]
    number = paper.partition("]")[0].strip("[")
    assert f"arXiv:{number}" in plugins.find(GROUP, name).source()


def test_what_reads_the_group_stands_with_verls_advantage_estimator() -> None:
    section = PAGE.partition("\n## In verl\n")[2].partition("\n## ")[0]
    managers, estimators = (
        re.findall(r"^# (.+)$", section, re.MULTILINE)[0],
        re.findall(r"^# (.+): my_", section, re.M)[0],
    )
    for name in plugins.entries(GROUP):
        is_estimator = name in re.findall(r"\w+", estimators)
        assert is_estimator == open_reward(name).reads_group
        assert is_estimator != (name in re.findall(r"\w+", managers))


def test_the_example_runs() -> None:
    (code,) = re.findall(r"^```python\n(from taut.rollouts.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    scope: dict[str, object] = {}
    exec(code.replace("reward(group) ", "found = reward(group) "), scope)
    # lengths 100, 500, 90: lam of 100 = 0.5 - 10/410;  of 500 = -0.5;  wrong, 90: min(0, 0.5)
    assert scope["found"] == pytest.approx((1 + 0.4 * (0.5 - 10 / 410), 0.8, -0.5))
