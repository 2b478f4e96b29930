"""A model as the judge of solution rounds and of which share an approach (the split of Chen et al., arXiv:2412.21187).

What differs from the paper: it splits with one prompt and clusters with another, over the whole text; here one reply
does both, over numbered paragraphs that are abridged to fit `MAX_PROMPT_CHARS`. Replies are kept in ``judged.jsonl`` in
the folder of the audit, so that an audit that was interrupted asks only for what is missing.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from taut.audit.nouns import Judging, Round, Thought
from taut.audit.text import sentences
from taut.core import Engine, Reply, Sampling, Task, Trace
from taut.errors import EngineError
from taut.run import Preset, run
from taut.session import Session
from taut.traces import Writer, read

FILE = "judged.jsonl"
MAX_PROMPT_CHARS = 24_000
MAX_BLOCKS = 120
MAX_REPLY_TOKENS = 1500
ASK = """Below is a question and a model's reasoning on it, cut into numbered paragraphs (long ones are abridged).

Divide the reasoning into solutions. A solution is a stretch that arrives at a complete answer to the question; a \
check that arrives at the answer once more is a solution of its own. For each one give the number of its first \
paragraph, its answer, and the number of its approach: solutions that use the same approach have the same number.

Reply with JSON alone, in this form:
{"solutions": [{"first": 1, "answer": "18", "approach": 1}, {"first": 6, "answer": "18", "approach": 1}]}
"""


ASK_AGAIN = "That was the reasoning. Now reply with the JSON object alone."
"""Behind a long text small models forget what they were asked."""


@dataclass(frozen=True, slots=True)
class RoundsJudge:
    """Asks once, without thinking where that can be switched off."""

    @property
    def needs(self) -> frozenset[str]:
        """Nothing beyond a chat model."""
        return frozenset()

    async def __call__(self, session: Session) -> Reply:
        """The model's division of one trace, as it wrote it."""
        can_switch = "thinking_switch" in session.engine().offers
        prompt = replace(session.prompt, think=False if can_switch else None)
        return await session.generate(prompt, role="score", max_tokens=MAX_REPLY_TOKENS)


class _Solution(msgspec.Struct):
    first: int
    answer: str | int | float | None = None
    approach: int | str = 1


class _Division(msgspec.Struct):
    solutions: list[_Solution]


async def judge_rounds(
    thoughts: Sequence[Thought],
    engine: Engine,
    folder: Path,
    concurrency: int,
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[dict[str, list[Round]], Judging]:
    """The rounds of each trace, by its id, where the reply could be used; ``tell`` hears how many are done.

    Raises `EngineError` if every call failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    known = {trace.task.id: trace for trace in read(path) if trace.error is None} if path.exists() else {}
    tasks = {thought.id: task_of(thought) for thought in thoughts}
    missing = {task.id: task for task in tasks.values() if task.id not in known}
    failed: list[Trace] = []
    gate = asyncio.Semaphore(concurrency)
    preset = Preset(f"audit:{engine.model}", RoundsJudge())
    with Writer(path) as writer:

        async def ask(task: Task) -> None:
            async with gate:
                trace = await run(preset, task, {"main": engine}, sampling=Sampling(temperature=0.0))
            writer.append(trace)
            if trace.error is None:
                known[task.id] = trace
            else:
                failed.append(trace)
            tell(len(known))

        async with asyncio.TaskGroup() as group:
            for task in missing.values():
                group.create_task(ask(task))
    if missing and len(failed) == len(missing):
        raise EngineError(f"the judge gave no reply to any of {len(missing)} traces, the first: {failed[0].error}")
    found = {
        thought.id: rounds_in(known[task.id].answer, thought)
        for thought, task in zip(thoughts, tasks.values(), strict=True)
        if task.id in known
    }
    usable = {name: rounds for name, rounds in found.items() if rounds}
    return usable, _judging(engine, len(thoughts), usable, list(known.values()), tasks)


def _judging(
    engine: Engine,
    wanted: int,
    usable: Mapping[str, Sequence[Round]],
    traces: Sequence[Trace],
    tasks: Mapping[str, Task],
) -> Judging:
    own = {task.id for task in tasks.values()}
    usages = [call.usage for trace in traces if trace.task.id in own for call in trace.calls if call.usage]
    return Judging(
        engine.name,
        len(usable),
        wanted - len(usable),
        sum(usage.prompt.tokens for usage in usages),
        sum(usage.completion.tokens for usage in usages),
    )


def task_of(thought: Thought) -> Task:
    """What the judge is asked about one trace; its id says what it was asked, so that a reply can be used again."""
    blocks = _blocks(thought.thinking)
    room = max(80, MAX_PROMPT_CHARS // max(1, len(blocks)) - 8)
    numbered = "\n\n".join(
        f"[{number}] {_abridged(thought.thinking[start:end].strip(), room)}"
        for number, (start, end) in enumerate(blocks, start=1)
    )
    question = _abridged(thought.question.strip(), MAX_PROMPT_CHARS // 6) or "(not known)"
    text = f"{ASK}\nQuestion:\n{question}\n\nReasoning:\n{numbered}\n\n{ASK_AGAIN}"
    name = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24]
    return Task(f"audit/{name}", ({"role": "user", "content": text},))


def rounds_in(reply: str, thought: Thought) -> list[Round]:
    """The rounds that a reply tells; empty where it cannot be used."""
    found = re.search(r"\{.*\}", reply, re.DOTALL)
    try:
        solutions = msgspec.json.decode(found[0] if found else "", type=_Division).solutions
    except (msgspec.DecodeError, UnicodeEncodeError):
        return []
    blocks = _blocks(thought.thinking)
    firsts = [each.first for each in solutions]
    if not firsts or firsts != sorted(set(firsts)) or firsts[0] < 1 or firsts[-1] > len(blocks):
        return []
    starts = [0, *(blocks[first - 1][0] for first in firsts[1:]), len(thought.thinking)]
    seen: set[int | str] = set()
    rounds = []
    for position, each in enumerate(solutions):
        answer = None if each.answer is None else str(each.answer)
        rounds.append(Round(starts[position], starts[position + 1], answer, each.approach not in seen))
        seen.add(each.approach)
    return rounds


def _blocks(thinking: str) -> list[tuple[int, int]]:
    """Paragraphs by their places, neighbours taken together where there are more than `MAX_BLOCKS`."""
    starts = [each.start for each in sentences(thinking) if each.opens_paragraph] or [0]
    step = -(-len(starts) // MAX_BLOCKS)
    chosen = starts[::step]
    return list(zip(chosen, [*chosen[1:], len(thinking)], strict=True))


def _abridged(text: str, limit: int) -> str:
    """Its beginning and its end, where results stand."""
    return text if len(text) <= limit else f"{text[: limit // 2]} […] {text[-(limit // 2) :]}"
