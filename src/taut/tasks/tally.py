"""Arithmetic in three grades, the questions of the model in the box: ``tally``, or one family: ``tally:stories``.

The families are chain_sum, products, leg_counting, stories and compare (`taut.tasks._tally`); ``tally`` alone takes
one after the other. ``difficulty`` is ``easy``, ``medium`` or ``hard``; without it the grades alternate too.

``split`` is ``test`` (the default), ``validation`` or ``train``. What is asked decides it, by a hash, under every
seed: the model in the box was trained on questions of ``train`` only, so ``test`` is unseen whatever the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from taut.core import Task
from taut.errors import UsageError, nearest
from taut.tasks._loading import LoadOptions, math_task
from taut.tasks._tally import FAMILIES, GRADES, SPLITS, Question, questions

DEFAULT_LIMIT = 100
READS = frozenset({"difficulty", "split"})


def load(options: LoadOptions) -> list[Task]:
    """Questions ``offset`` to ``offset + limit``, all different.

    Raises `UsageError` for an unknown family, difficulty or split, and where a small family has not so many questions.
    """
    families = _chosen("family of questions", options.argument, tuple(FAMILIES))
    grades = _chosen("difficulty", options.difficulty or "", GRADES)
    split = _chosen("split", options.split or "test", SPLITS)[0]
    drawn = _in_turn([questions(family, grade, split, options.seed) for grade in grades for family in families])
    wanted = options.limit or DEFAULT_LIMIT
    found = list(islice(drawn, options.offset, options.offset + wanted))
    if options.limit and len(found) < wanted:
        raise UsageError(
            f"tally{f':{options.argument}' if options.argument else ''} has {options.offset + len(found)} questions of "
            f"this kind in the split {split}, {options.offset + wanted} were asked for: lower the limit or the offset"
        )
    return [_task(question, options) for question in found]


def _chosen(what: str, given: str, known: tuple[str, ...]) -> tuple[str, ...]:
    if not given:
        return known
    if given not in known:
        raise UsageError(f"tally has no {what} {given!r}{nearest(given, known)}: use {', '.join(known)}")
    return (given,)


def _in_turn(sources: list[Iterator[Question]]) -> Iterator[Question]:
    """One of each as long as there are any; a source that has run dry is left out."""
    while sources:
        for source in list(sources):
            question = next(source, None)
            if question is None:
                sources.remove(source)
            else:
                yield question


def _task(question: Question, options: LoadOptions) -> Task:
    task = math_task(f"tally/{question.grade}/{question.key}", question.text, question.answer, options)
    return replace(task, metadata={**task.metadata, "family": question.family, "difficulty": question.grade})
