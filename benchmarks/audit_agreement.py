"""How well the audit's words agree with labelled traces: behaviours, solution rounds, and where the answer stands.

``python benchmarks/audit_agreement.py --data FOLDER``, with the sets traces_r1_annotated, traces_solution_split,
traces_gemma4_deciles and traces_r1_aime25 in FOLDER. Word lists were chosen on one half of the questions of the first
set (by a hash of the question); both halves are reported, and the other one counts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import statistics
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
from _common import machine, print_table, write_result
from scipy.stats import spearmanr

from taut.audit import ReadOptions, Thought, audit, load, report
from taut.audit.answers import final_of
from taut.audit.measures import segment
from taut.audit.places import statements
from taut.audit.rounds import find_rounds
from taut.audit.segments import Labelled, label_sentences
from taut.audit.text import lowered, sentences
from taut.metrics.intervals import Sums, proportion

PART = re.compile(r'\["([a-z-]+)"\](.*?)\["end-section"\]', re.DOTALL)
CLASSES = {"uncertainty-estimation": "reflection", "backtracking": "reflection", "initializing": "reading"}
"""What the annotators' labels are compared as; all others are work."""
SIMPLE_LISTS = {
    "DEER: wait, alternatively": r"(?:but |so |hmm,? )?(?:wait|alternatively)\b",
    "Dynasor: wait, hold, but, okay, no, hmm": r"(?:wait|hold|but|okay|no|hmm)\b",
}
"""Plain lists from papers, at the start of a sentence, for comparison."""
Row = dict[str, Any]
Read = tuple[str, Sequence[str], Sequence[str]]
"""A trace's question, and the labelled and the told class of each of its sentences."""


def half(question: str) -> int:
    """0: word lists were chosen on these; 1: they were not looked at."""
    return int(hashlib.sha256(question.encode()).hexdigest(), 16) % 2


def rows(data: Path, name: str) -> list[Row]:
    """A data set."""
    return parquet.read_table(data / name).to_pylist()


def own_classes(thinking: str) -> list[str]:
    """What the audit makes of each sentence."""
    return [_class(item) for item in label_sentences(lowered(thinking), sentences(thinking))]


def _class(item: Labelled) -> str:
    if item.cue in ("checking", "approach"):
        return "reflection"
    return "reading" if item.label == "reading" else "work"


def listed_classes(pattern: str) -> Callable[[str], list[str]]:
    """A plain list of words as a reader of sentences."""
    found = re.compile(pattern)

    def classes(thinking: str) -> list[str]:
        low = lowered(thinking)
        return ["reflection" if found.match(low, each.start, each.end) else "work" for each in sentences(thinking)]

    return classes


def labelled_traces(data: Path, told: Callable[[str], list[str]]) -> Iterator[Read]:
    """Every thinking model's trace, sentence by sentence; sentences before the first label are left out."""
    for row in rows(data, "traces_r1_annotated/traces.parquet"):
        if not row["thinking"]:
            continue
        thinking = row["response"].removeprefix("<think>").partition("</think>")[0]
        starts, labels = _labelled_spans(thinking, row["annotated"])
        kept = [
            (CLASSES.get(labels[index], "work"), own)
            for sentence, own in zip(sentences(thinking), told(thinking), strict=True)
            if (index := bisect_right(starts, sentence.start + 2) - 1) >= 0
        ]
        if kept:
            yield row["question"], [gold for gold, _ in kept], [own for _, own in kept]


def _labelled_spans(thinking: str, annotated: str) -> tuple[list[int], list[str]]:
    """Where the annotators' parts begin in the text itself: they were copied by a model, with small changes."""
    starts, labels, position = [], [], 0
    for label, part in PART.findall(annotated):
        place = thinking.find(part.strip()[:40], position) if part.strip() else -1
        if place >= 0:
            starts.append(place)
            labels.append(label)
            position = place + len(part.strip())
    return starts, labels


def agreement(found: Sequence[Read], name: str) -> Row:
    """Precision, recall, F1 and Cohen's kappa of one class over all sentences."""
    pairs = Counter(
        (gold == name, own == name) for _, golds, owns in found for gold, own in zip(golds, owns, strict=True)
    )
    both, told, labelled = (
        pairs[True, True],
        pairs[False, True] + pairs[True, True],
        pairs[True, False] + pairs[True, True],
    )
    total = pairs.total()
    chance = (told * labelled + (total - told) * (total - labelled)) / total**2
    observed = (both + pairs[False, False]) / total
    return {
        "sentences": total,
        "labelled": labelled,
        "told": told,
        **_scores(both / told if told else 0.0, both / labelled),
        "kappa": round((observed - chance) / (1 - chance), 3),
    }


def _scores(precision: float, recall: float) -> Row:
    both = precision + recall
    f1 = 2 * precision * recall / both if both else 0.0
    return {"precision": round(precision, 3), "recall": round(recall, 3), "f1": round(f1, 3)}


def boundaries(found: Sequence[Read], tolerance: int = 1) -> Row:
    """Changes of class, matched one to one within ``tolerance`` sentences; and what evenly spread ones would get."""
    hits = told = labelled = even_hits = 0
    for _, golds, owns in found:
        gold, own = _changes(golds), _changes(owns)
        even = [round((each + 0.5) * len(golds) / len(own)) for each in range(len(own))]
        hits, even_hits = hits + _matched(gold, own, tolerance), even_hits + _matched(gold, even, tolerance)
        told, labelled = told + len(own), labelled + len(gold)
    return {
        "labelled": labelled,
        "told": told,
        **_scores(hits / told, hits / labelled),
        "f1_of_evenly_spread": _scores(even_hits / told, even_hits / labelled)["f1"],
    }


def _changes(classes: Sequence[str]) -> list[int]:
    return [index for index in range(1, len(classes)) if classes[index] != classes[index - 1]]


def _matched(gold: Sequence[int], own: Sequence[int], tolerance: int) -> int:
    """Pairs within reach, each place used once, in order."""
    hits = index = 0
    for place in gold:
        while index < len(own) and own[index] < place - tolerance:
            index += 1
        if index < len(own) and own[index] <= place + tolerance:
            hits, index = hits + 1, index + 1
    return hits


def reflections_per_trace(found: Sequence[Read]) -> Row:
    """Runs of reflection in each trace, as labelled and as told."""
    gold = [_runs(golds) for _, golds, _ in found]
    own = [_runs(owns) for _, _, owns in found]
    return {
        "traces": len(gold),
        "labelled_mean": round(statistics.mean(gold), 2),
        "told_mean": round(statistics.mean(own), 2),
        "rank_correlation": round(float(spearmanr(gold, own).statistic), 3),
    }


def _runs(classes: Sequence[str]) -> int:
    return sum(each == "reflection" and before != each for before, each in zip(["", *classes], classes, strict=False))


def behaviours(data: Path) -> Row:
    """Both halves, the audit's lists and the plain ones."""
    figures: Row = {}
    found = list(labelled_traces(data, own_classes))
    for name, wanted in (("chosen on", 0), ("not looked at", 1)):
        part = [each for each in found if half(each[0]) == wanted]
        figures[name] = {
            "questions": len({question for question, _, _ in part}),
            "traces": len(part),
            "reflection": agreement(part, "reflection"),
            "reading": agreement(part, "reading"),
            "boundaries": boundaries(part),
            "per_trace": reflections_per_trace(part),
        }
    figures["plain lists on the half not looked at"] = {
        name: agreement([e for e in labelled_traces(data, listed_classes(p)) if half(e[0]) == 1], "reflection")
        for name, p in SIMPLE_LISTS.items()
    }
    return figures


def solution_rounds(data: Path) -> list[Row]:
    """The five traces that were split into solutions, beside the audit's rounds."""
    return [_split(row) for row in rows(data, "traces_solution_split/traces.parquet")]


def _split(row: Row) -> Row:
    thinking = row["response"]
    thought = Thought("", thinking, f"The answer is {row['extracted_answer']}", row["problem"], row["expected_answer"])
    final = final_of(thought)
    assert final is not None
    places = statements(thinking, final, thought)
    labelled, _ = segment(thinking, places)
    own = find_rounds(labelled, len(thinking), final.value)
    gold = _solution_starts(thinking, json.loads(row["split_solutions"]))
    starts = [item.sentence.start for item in labelled]
    gold_at = [bisect_right(starts, place + 2) - 1 for place in gold[1:]]
    own_at = [bisect_right(starts, each.start) - 1 for each in own[1:]]
    clusters = json.loads(row["cluster_ids"])
    ends = [*gold[1:], len(thinking)]
    firsts = {cluster: index for index, cluster in reversed(list(enumerate(clusters)))}.values()
    right = row["correct"]
    return {
        "characters": len(thinking),
        "solutions": len(gold),
        "rounds": len(own),
        "starts_matched": _matched(gold_at, own_at, 1),
        "first_answer_of_split": round(ends[0] / len(thinking), 3),
        "first_answer_of_audit": round(places[0] / len(thinking), 3) if places else None,
        "outcome_efficiency_of_split": round(ends[0] / len(thinking), 3) if right else 0.0,
        "outcome_efficiency_of_audit": _rounded(audit(thought).outcome_efficiency),
        "process_efficiency_of_split": round(sum(ends[i] - gold[i] for i in firsts) / len(thinking), 3),
        "process_efficiency_of_audit": _rounded(audit(thought).process_efficiency),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _solution_starts(thinking: str, solutions: Sequence[str]) -> list[int]:
    starts, position = [], 0
    for solution in solutions:
        place = thinking.find(solution.strip()[:60], position)
        if place >= 0:
            starts.append(place)
            position = place + 1
    return starts


def forced_answers(data: Path) -> Row:
    """Whether the model, forced to answer at each tenth of its thinking, gives the final answer: before and behind
    the place where the audit first finds it stated."""
    folder = data / "traces_gemma4_deciles"
    forced: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for row in rows(folder, "trajectories.parquet"):
        forced[str(row["seed"]), str(row["question_id"])][int(row["decile"])] = row["prediction"]
    thoughts = load(folder / "traces_mmlu_pro.parquet", ReadOptions()).thoughts
    sums: dict[str, dict[str, list[float]]] = {name: defaultdict(lambda: [0.0, 0.0]) for name in ("before", "behind")}
    located = 0
    for thought, row in zip(thoughts, rows(folder, "traces_mmlu_pro.parquet"), strict=True):
        found = audit(thought)
        if found.stands_at is None:
            continue
        located += 1
        for decile in range(0, 100, 10):
            side = "behind" if decile >= 100 * found.stands_at / found.chars else "before"
            sums[side][found.group][0] += forced[str(row["seed"]), str(row["question_id"])][decile] == found.final
            sums[side][found.group][1] += 1
    return {
        "traces": len(thoughts),
        "located": located,
        **{f"forced_answer_is_final_{side}": _share(groups) for side, groups in sums.items()},
    }


def _share(groups: dict[str, list[float]]) -> Row:
    found = proportion([Sums(hits, tries) for hits, tries in groups.values()])
    assert found is not None
    return {"share": _rounded(found.value), "low": _rounded(found.low), "high": _rounded(found.high)}


def speed(data: Path) -> Row:
    """Reading and auditing the 180 long traces, on one core."""
    began = time.perf_counter()
    loaded = load(data / "traces_r1_aime25/traces.parquet")
    read_s = time.perf_counter() - began
    found = report(loaded, "traces")
    characters = sum(each.chars for each in found.audits)
    whole_s = time.perf_counter() - began
    return {
        "traces": len(found.audits),
        "characters": characters,
        "read_s": round(read_s, 2),
        "whole_s": round(whole_s, 2),
        "characters_per_s": round(characters / whole_s),
    }


def main() -> None:
    """Print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    began = machine()
    told = behaviours(arguments.data)
    for name in ("chosen on", "not looked at"):
        table = [{"class": each, **told[name][each]} for each in ("reflection", "reading")]
        print_table(f"sentences, the half of the questions that was {name}", table)
        print_table("changes of class, within one sentence", [told[name]["boundaries"]])
        print_table("reflections per trace", [told[name]["per_trace"]])
    plain = told["plain lists on the half not looked at"]
    print_table("plain lists, reflection, not looked at", [{"list": name, **row} for name, row in plain.items()])
    split = solution_rounds(arguments.data)
    print_table("solution rounds", split)
    forced = forced_answers(arguments.data)
    print(json.dumps(forced, indent=1))
    fast = speed(arguments.data)
    print_table("speed", [fast])
    figures = {"speed": fast, "behaviours": told, "solution_rounds": split, "forced_answers": forced}
    write_result("audit_agreement", began, figures, arguments.out)


if __name__ == "__main__":
    main()
