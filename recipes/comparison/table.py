"""The comparison as a table and a picture: `python recipes/comparison/table.py build/comparison`.

Writes OUT/arms.md and OUT/arms.svg. Every arm is compared with the start question by question. Intervals are of
95 %, over questions: they say nothing about how another training would have turned out. For that there are seeds: with
two or more an arm has a row for all of them together and one for each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arms import ARMS, START, Kind
from run import is_finished

from taut.core import Trace
from taut.errors import TautError, UsageError
from taut.metrics import Estimate, pareto_front
from taut.metrics.comparison import compare, pairs_of, right
from taut.metrics.intervals import proportion, ratio_of_sums, sums_by_question
from taut.report.folder import read_run
from taut.report.picture import Point, picture
from taut.report.together import thought
from taut.tasks._tally import GRADES

Cell = tuple[str, str]
"""Heading and text."""
SEEDS_APART = 1000
"""Added to the seeds of answers for each training seed, so that answers of several trainings stay apart."""
HUES: Mapping[Kind, int] = {"as_it_is": 0, "sft": 1, "dpo": 2, "rl": 3}
LEAST_SAVED, MOST_LOST = 0.5, 0.01
"""The aim: of the thinking tokens, and of the accuracy."""
STYLE = """<style>
text{font:12px sans-serif;fill:#222}.tick,.title{fill:#555}.grid{stroke:#e4e4e4}.axis{stroke:#888}
.bar{opacity:.35;stroke-width:1.5}.leader{opacity:.5}.front{fill:none;stroke:#999;stroke-dasharray:4 3}
.baseline{stroke:#111}.dot.baseline,.name.baseline{fill:#111}
.hue0{stroke:#777}.dot.hue0,.name.hue0{fill:#777}.hue1{stroke:#1f6fb4}.dot.hue1,.name.hue1{fill:#1f6fb4}
.hue2{stroke:#7b3fa0}.dot.hue2,.name.hue2{fill:#7b3fa0}.hue3{stroke:#c8501e}.dot.hue3,.name.hue3{fill:#c8501e}
.name,.dot{stroke:none}</style><rect width="100%" height="100%" fill="#fff"/>"""


@dataclass(frozen=True, slots=True)
class Row:
    """One arm, under one training seed or all of them."""

    name: str
    kind: Kind
    answers: int
    accuracy: Mapping[str, Estimate | None]
    """By grade, and ``all``."""
    difference: Mapping[str, Estimate | None]
    """Accuracy less the start's, as a share, by grade and ``all``; empty for the start itself."""
    thinking: Estimate | None
    """Mean tokens of an answer."""
    tokens: Estimate | None
    """The same, with answers and probes."""
    thinking_ratio: Estimate | None
    """Over the start's."""
    tokens_ratio: Estimate | None
    cut: float
    """Share of answers that the ceiling cut."""


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the comparison")
    parser.add_argument(
        "--rates", action="store_true", help="of learning rates that were tried, on validation questions"
    )
    parser.add_argument("--against", default=START.name, help="compare with this arm instead of the start")
    given = parser.parse_args()
    out: Path = given.out
    name = "rates" if given.rates else "arms"
    try:
        found = rows(read(out / name), given.against)
    except TautError as error:
        print(f"comparison: {error}", file=sys.stderr)
        return 2
    text = table(found)
    if given.against != START.name:
        print(f"In the place of the start stands {given.against}.\n\n{text}")
        return 0
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    (out / f"{name}.svg").write_text(drawn(found), encoding="utf-8")
    print(text)
    return 0


Answers = dict[str, dict[int, list[Trace]]]
"""By arm and training seed (0 where nothing was trained)."""


def read(folder: Path) -> Answers:
    """All arms that were benched to the end, in the order of the table of arms."""
    runs = {(path.parts[-4], path.parts[-3]): path.parent for path in folder.glob("*/*/bench/manifest.json")}
    runs = {key: run for key, run in runs.items() if is_finished(run)}
    known = [arm.name for arm in ARMS]
    names = sorted({name for name, _ in runs}, key=lambda name: (_place(name, known), name))
    found: Answers = {name: {} for name in names}
    for (name, seed), run in sorted(runs.items()):
        found[name][0 if seed == "any" else int(seed.removeprefix("seed-"))] = read_run(run).traces
    if START.name not in found:
        raise UsageError(
            f"{folder} has no finished bench of the start: python recipes/comparison/run.py --only start …"
        )
    return found


def _place(name: str, known: Sequence[str]) -> int:
    base = name.partition("@")[0]
    return known.index(base) if base in known else len(known)


def rows(found: Answers, against: str = START.name) -> list[Row]:
    """A row for each arm, and for each of its training seeds where there are several.

    Raises `UsageError` where the arm to compare with was not benched, or under several seeds.
    """
    if len(found.get(against, {})) != 1:
        raise UsageError(f"{against} must be an arm that was benched under one seed; there are {', '.join(found)}")
    start = next(iter(found[against].values()))
    kinds = {arm.name: arm.kind for arm in ARMS}
    made = []
    for name, by_seed in found.items():
        kind = kinds.get(name.partition("@")[0], "rl")
        together = [_apart(trace, seed) for seed, own in by_seed.items() for trace in own]
        base = [_apart(trace, seed) for seed in by_seed for trace in start]
        is_base = name == against
        made.append(row(name, kind, together, base, is_base=is_base))
        if len(by_seed) > 1:
            made += [row(f"{name}, seed {seed}", kind, own, start) for seed, own in by_seed.items()]
    return made


def _apart(trace: Trace, seed: int) -> Trace:
    return replace(trace, seed=trace.seed + SEEDS_APART * seed)


def row(name: str, kind: Kind, own: Sequence[Trace], start: Sequence[Trace], *, is_base: bool = False) -> Row:
    """One arm's answers against the start's, or another's, to the same questions; of that itself no difference."""
    done = [trace for trace in own if trace.error is None]
    pairs = pairs_of(own, start)
    parts = {"all": done, **{grade: [t for t in done if t.task.metadata["difficulty"] == grade] for grade in GRADES}}
    compared = {} if is_base else {part: compare(traces, start) for part, traces in parts.items()}
    return Row(
        name,
        kind,
        len(done),
        {part: accuracy(traces) for part, traces in parts.items()},
        {part: one.accuracy_difference for part, one in compared.items()},
        ratio_of_sums(sums_by_question((trace.task.id, thought(trace), 1) for trace in done)),
        ratio_of_sums(sums_by_question((trace.task.id, trace.completion_tokens, 1) for trace in done)),
        None if is_base else ratio_of_sums(sums_by_question((a.task.id, thought(a), thought(b)) for a, b in pairs)),
        None if is_base else compared["all"].token_ratio,
        sum(trace.finish == "length" for trace in done) / max(len(done), 1),
    )


def accuracy(traces: Iterable[Trace]) -> Estimate | None:
    """Share of the scored answers that are right, with Wilson's interval."""
    scored = [trace for trace in traces if right(trace) is not None]
    return proportion(sums_by_question((trace.task.id, int(bool(right(trace))), 1) for trace in scored))


def table(found: Sequence[Row]) -> str:
    """Markdown: the table, and which arms reach the aim."""
    lines = [_cells(one) for one in found]
    heads = [head for head, _ in lines[0]]
    body = [heads, ["---"] + ["---:"] * (len(heads) - 1), *([text for _, text in line] for line in lines)]
    reached = [one.name for one in found if reaches(one)]
    aim = f"At least {LEAST_SAVED:.0%} of the thinking tokens gone at no more than {100 * MOST_LOST:.0f} point lost"
    text = "\n".join(f"| {' | '.join(line)} |" for line in body)
    return f"{text}\n\n{aim}: {', '.join(reached) or 'none'}.\n"


def reaches(one: Row) -> bool:
    """Whether the aim is reached, by the mean values."""
    ratio, difference = one.thinking_ratio, one.difference.get("all")
    return bool(ratio and difference and ratio.value <= 1 - LEAST_SAVED and difference.value >= -MOST_LOST)


def _cells(one: Row) -> list[Cell]:
    whole, times = "{:,.0f}".format, "{:.2f}".format
    return [
        ("arm", one.name),
        *((f"{part}, %", _shown(one.accuracy[part], _percent)) for part in (*GRADES, "all")),
        ("points to start", _shown(one.difference.get("all"), _points)),
        ("on hard ones", _shown(one.difference.get("hard"), _points)),
        ("thinking tokens", _shown(one.thinking, whole)),
        ("× start", _shown(one.thinking_ratio, times)),
        ("all tokens", _shown(one.tokens, whole)),
        ("× start ", _shown(one.tokens_ratio, times)),
        ("cut, %", f"{100 * one.cut:.1f}"),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _shown(estimate: Estimate | None, form: Callable[[float], str]) -> str:
    if estimate is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return form(estimate.value)
    return f"{form(estimate.value)} ({form(estimate.low)} to {form(estimate.high)})"


def drawn(found: Sequence[Row]) -> str:
    """Accuracy against all tokens as SVG, a mark for each arm, seeds together."""
    shown = [(one, one.tokens, one.accuracy["all"]) for one in found if ", seed " not in one.name]
    known = [(one, tokens, share) for one, tokens, share in shown if tokens is not None and share is not None]
    front = pareto_front([(tokens.value, share.value) for _, tokens, share in known])
    points = [
        Point(one.name, tokens, share, one.name == START.name, place in front, HUES[one.kind])
        for place, (one, tokens, share) in enumerate(known)
    ]
    head, _, rest = picture(points, 960, 640).partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg">{STYLE}{rest}'


if __name__ == "__main__":
    sys.exit(main())
