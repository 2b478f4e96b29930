"""What Tally's checks are worth, from a run folder of ``taut bench``: `python recipes/tally/examine.py RUN …`.

A thought of Tally concludes (`thoughts.CONCLUSIONS`), and then checks. So the first conclusion, held against the
reference and against the answer that was given in the end, tells what the checks caught and what they spoiled. Only
answers of the preset ``direct`` are looked at; one line per grade, and one per family of it.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from thoughts import CONCLUSIONS

from taut.core import Trace
from taut.traces import read_all

CONCLUSION = re.compile("|".join(re.escape(text).replace(r"\{\}\.", r"(-?\d+(?:\.\d+)?)") for text in CONCLUSIONS))
SORTS = ("right", "first right", "caught", "spoiled", "no conclusion")


def sorts_of(trace: Trace) -> set[str]:
    """Which of `SORTS` a scored trace is."""
    is_right = bool(trace.score and trace.score.value)
    sorts = {"right"} if is_right else set()
    found = CONCLUSION.search(trace.thinking)
    if found is None:
        return sorts | {"no conclusion"}
    is_right_at_first = float(next(filter(None, found.groups()))) == float(trace.task.reference)
    if is_right_at_first:
        sorts.add("first right")
    if is_right != is_right_at_first:
        sorts.add("caught" if is_right else "spoiled")
    return sorts


def counts(traces: Iterable[Trace]) -> dict[str, Counter[str]]:
    """By grade, and by family within it, how many traces are of each sort, and how many there are."""
    found: dict[str, Counter[str]] = {}
    for trace in traces:
        grade, family = trace.task.metadata["difficulty"], trace.task.metadata["family"]
        for part in (f"{grade}", f"{grade} {family}"):
            found.setdefault(part, Counter()).update(["answers", *sorts_of(trace)])
    return dict(sorted(found.items()))


def main() -> None:
    """Read the command line and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+", help="run folders of taut bench --task tally")
    for run in parser.parse_args().run:
        if not (run / "traces.jsonl").is_file():
            parser.error(f"{run} is no run folder of taut bench: it has no traces.jsonl")
        traces = [t for t in read_all(run / "traces.jsonl") if t.preset == "direct" and t.score is not None]
        for part, count in counts(traces).items():
            shares = "  ".join(f"{sort} {count[sort] / count['answers']:6.1%}" for sort in SORTS)
            print(f"{part:20}  {count['answers']:4} answers  {shares}")


if __name__ == "__main__":
    main()
