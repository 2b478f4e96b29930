"""What every task set shares: the options, which items are taken, and how a question becomes a `Task`.

**Which items.** Items are ranked by a hash of ``(seed, item id)`` and the first ``limit`` ranks are taken, in the
order of the source. So an item's rank depends on nothing else, and a larger limit only adds items.

**The question** is the source's own text. Where a set needs to be told how to answer, one line is added: mathematics
gets `BOX_LINE`, choices get `LETTER_LINE`, text that is to be compared gets `TAG_LINE`.
``LoadOptions(format_line=False)`` leaves it out.
``Task.metadata["answer_format"]`` says what kind of answer is asked for: ``number``, ``latex``, ``choice`` or
``text``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from taut.core import Message, Task
from taut.errors import UsageError
from taut.plugins import find

BOX_LINE = "Put the final answer in \\boxed{}."
TAG_LINE = "Write the final answer between <answer> and </answer>."
LETTER_LINE = "Answer with the letter of the right option in \\boxed{}."
LETTERS = "ABCDEFGHIJ"
ANSWER_FORMATS = {"number": "number", "math": "latex", "choice": "choice"}
"""What a verifier expects, as methods that force an answer need to know it; ``text`` for all others."""
FILE_ENDINGS = (".jsonl", ".csv", ".parquet")
SPECIAL = {
    "data": "a data folder (--data): it is for public sets",
    "split": "a split (--split): it is for public sets that have several",
    "difficulty": "a difficulty (--difficulty): it is for reasoning_gym and tally",
    "columns": "columns (--column): they are for own files",
    "verifier": "a verifier (--verifier): it is for own files",
}
"""Fields of `LoadOptions` that a set reads only if its file lists them in ``READS``, and what they are for."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What to load. Not every set reads every field: `load_tasks` refuses one that would be ignored (`SPECIAL`)."""

    limit: int | None = None
    """Questions to take; ``None`` takes all (`reasoning_gym` makes 100)."""
    seed: int = 0
    data: Path | None = None
    """Folder to read from instead of the Hugging Face hub."""
    split: str | None = None
    difficulty: str | None = None
    """``easy``, ``medium`` or ``hard``, for `reasoning_gym` and `tally`."""
    offset: int = 0
    """Ranks to skip before the first item that is taken."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """For own files: which column is the ``question``, the ``answer``, the ``id``."""
    verifier: str | None = None
    """For own files: how answers are checked."""
    format_line: bool = True
    """Tell the model how to write the answer, in one line after the question."""
    argument: str = ""
    """What follows the colon in ``reasoning_gym:chain_sum``, or the path of an own file. `load_tasks` sets it."""

    def __post_init__(self) -> None:
        """Reject a limit or offset that leaves nothing."""
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"the limit is {self.limit}, it must be at least 1 question")
        if self.offset < 0:
            raise UsageError(f"the offset is {self.offset}, it must not be negative")


def load_tasks(spec: str, options: LoadOptions | None = None) -> list[Task]:
    """The questions of ``gsm8k``, ``reasoning_gym:chain_sum`` or a path to an own file.

    Raises `UsageError` for an unknown name, a file that cannot be read, an option that the set does not read, and a
    selection without questions.
    """
    options = options or LoadOptions()
    if spec.lower().endswith(FILE_ENDINGS):
        name, argument = "file", spec
    else:
        name, _, argument = spec.partition(":")
    module = find("tasks", name).load()
    _check_options(spec, getattr(module, "READS", frozenset()), options)
    tasks: list[Task] = module.load(replace(options, argument=argument))
    if not tasks:
        raise UsageError(f"{spec} has no questions left at offset {options.offset}")
    return tasks


def _check_options(spec: str, reads: frozenset[str], options: LoadOptions) -> None:
    default = LoadOptions()
    for name, meaning in SPECIAL.items():
        if name not in reads and getattr(options, name) != getattr(default, name):
            raise UsageError(f"{spec} does not take {meaning}")


def choose(tasks: list[Task], options: LoadOptions) -> list[Task]:
    """The tasks that ``limit``, ``offset`` and ``seed`` pick, in their given order."""
    if options.limit is None and not options.offset:
        return tasks
    ranked = sorted(tasks, key=lambda task: rank(options.seed, task.id))
    end = None if options.limit is None else options.offset + options.limit
    chosen = {task.id for task in ranked[options.offset : end]}
    return [task for task in tasks if task.id in chosen]


def rank(seed: int, item_id: str) -> bytes:
    """Where an item stands under a seed: the same on every machine, whatever else is in the set."""
    return hashlib.blake2b(f"{seed}:{item_id}".encode(), digest_size=16).digest()


def math_task(
    task_id: str, question: str, reference: str | None, options: LoadOptions, verifier: str = "number"
) -> Task:
    """A mathematics question, whose answer is a number or, for the verifier ``math``, LaTeX."""
    return Task(
        id=task_id,
        messages=_ask(question, BOX_LINE, options),
        reference=reference,
        verifier=verifier,
        metadata={"answer_format": ANSWER_FORMATS.get(verifier, "text")},
    )


def choice_task(task_id: str, question: str, choices: Sequence[str], correct: int | None, options: LoadOptions) -> Task:
    """A question with lettered options, of which number ``correct`` (from 0) is right; ``None`` where nobody knows."""
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False))
    return Task(
        id=task_id,
        messages=_ask(f"{question}\n\n{listed}", LETTER_LINE, options),
        reference=None if correct is None else LETTERS[correct],
        verifier="choice",
        metadata={"answer_format": "choice", "options": list(choices)},
    )


def plain_task(task_id: str, question: str, reference: Any, options: LoadOptions, verifier: str) -> Task:
    """A question whose answer is text; where there is a reference, the model is told to mark the answer."""
    messages = ({"role": "user", "content": question},) if reference is None else _ask(question, TAG_LINE, options)
    metadata = {"answer_format": ANSWER_FORMATS.get(verifier, "text")}
    return Task(id=task_id, messages=messages, reference=reference, verifier=verifier, metadata=metadata)


def _ask(question: str, line: str, options: LoadOptions) -> tuple[Message, ...]:
    content = f"{question}\n{line}" if options.format_line else question
    return ({"role": "user", "content": content},)
