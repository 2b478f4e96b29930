"""What the start model does on each question: mean tokens and accuracy, which some rewards compare with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from accelerate.utils import gather_object

from taut.core import Task
from taut.errors import UsageError, one_line
from taut.rollouts import Reference
from taut.traces import read
from taut.train.generation import Drawing, draw
from taut.train.models import Writer, open_model, processes
from taut.train.progress import Progress
from taut.train.recipe import Recipe
from taut.train.run_folder import digest, write_whole

Seen = tuple[str, int, bool]
"""Question, tokens of the response, right."""


def from_traces(path: Path, tasks: Sequence[Task]) -> dict[str, Reference]:
    """Statistics of every question in a ``traces.jsonl``; what was not scored is left out.

    Raises `UsageError` where nothing was scored, for several presets in one file, and for the answers to a question
    of the same name that asks something else.
    """
    asked = {task.id: task.question.strip() for task in tasks}
    presets, scored = set(), []
    for trace in read(path):
        if trace.error is not None or trace.score is None or trace.score.value is None:
            continue
        # A line on how to write the answer may stand behind the question.
        if asked.get(trace.task.id, "") not in trace.task.question:
            raise UsageError(f"{path} has another question than the training under the name {trace.task.id}")
        presets.add(trace.preset)
        scored.append((trace.task.id, trace.completion_tokens, trace.score.value))
    if len(presets) > 1:
        raise UsageError(f"{path} has answers of several presets ({', '.join(sorted(presets))}): bench one by itself")
    found = _means(scored)
    if not found:
        raise UsageError(f"{path} has no scored answer, so it tells nothing of the start model")
    return found


def measured(
    recipe: Recipe, writer: Writer, tasks: Sequence[Task], samples: int, drawing: Drawing, file: Path
) -> dict[str, Reference]:
    """Statistics from ``samples`` answers of the start model to each question, kept in ``file``.

    What is in the file already serves if it is of the same questions.
    """
    if file.exists() and (kept := _load(file, {task.id: _asked(task) for task in tasks})) is not None:
        return kept
    state = processes()
    progress = Progress(shown=state.is_main_process)
    progress.say(f"asking the start model {len(tasks)} questions {samples} times each, to compare with later")
    model = open_model(recipe, writer).to(state.device)
    drawn = draw(model, writer, tasks[state.process_index :: state.num_processes], samples, drawing)
    if state.num_processes > 1:
        drawn = gather_object(drawn)
    found = _means((answer.question, answer.total_tokens, answer.right) for answer in drawn if answer.right is not None)
    if state.is_main_process:
        asked = {task.id: _asked(task) for task in tasks}
        lines = (
            {"question": name, "asked": asked[name], **msgspec.to_builtins(reference)}
            for name, reference in found.items()
        )
        write_whole(file, "".join(json.dumps(line) + "\n" for line in lines))
    state.wait_for_everyone()
    return found


def check_all_there(found: Mapping[str, Reference], tasks: Sequence[Task], source: str, reward: str) -> None:
    """Raise `UsageError` if a question has no statistics."""
    missing = [task.id for task in tasks if task.id not in found]
    if missing:
        raise UsageError(
            f"{reward} needs reference statistics (mean tokens and accuracy of the start model per question), and "
            f"{source} has none for {len(missing)} of {len(tasks)} questions, the first is {missing[0]}: bench the "
            "start model on these questions, or leave rl.reference out to have them measured"
        )


def _means(seen: Iterable[Seen]) -> dict[str, Reference]:
    answers: dict[str, list[tuple[int, bool]]] = {}
    for question, tokens, right in seen:
        answers.setdefault(question, []).append((tokens, right))
    return {
        question: Reference(sum(tokens for tokens, _ in rows) / len(rows), sum(right for _, right in rows) / len(rows))
        for question, rows in answers.items()
    }


class Kept(msgspec.Struct):
    """A line of ``reference.jsonl``."""

    question: str
    asked: str
    """A digest of the question's messages: another may come under the same name."""
    mean_tokens: float
    accuracy: float


def _asked(task: Task) -> str:
    return digest([{"messages": list(task.messages)}])


def _load(file: Path, asked: Mapping[str, str]) -> dict[str, Reference] | None:
    """What is kept; ``None`` where that is of other questions."""
    try:
        lines = [msgspec.json.decode(line, type=Kept) for line in file.read_bytes().splitlines()]
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"cannot read {file}: {one_line(error)}; delete it to have it measured again") from None
    if any(asked.get(line.question) != line.asked for line in lines):
        return None
    return {line.question: Reference(line.mean_tokens, line.accuracy) for line in lines}
