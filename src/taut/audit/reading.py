"""Anyone's traces as `Thought` nouns: ours, logs of the usual protocols, and rows of texts with tags in them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from taut.audit import tags
from taut.audit.columns import ROLES, find_columns
from taut.audit.files import rows_of
from taut.audit.forms import Raw, finish_of, question_of, replies
from taut.audit.nouns import Loaded, Thought, Unread
from taut.core import Count, Trace, tally_calls
from taut.dialects import Dialect
from taut.errors import UsageError, nearest, one_line
from taut.session import estimate_tokens
from taut.tasks import Row
from taut.traces import key_of

BESIDE = ("reference", "options", "id", "label", "right")
"""Roles of columns that may stand beside a logged reply."""
MAX_OPTIONS = 10
"""Letters A to J."""
TRUTHS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the user told about a file."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """By role (`taut.audit.columns.ROLES`)."""
    dialect: str | None = None
    """``None`` looks at the tags of each text."""
    limit: int | None = None
    """Replies, in the order of the file."""
    labels: tuple[str, ...] = ()
    """Presets or models; all of them where it is empty."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A reply, and what stands beside it."""

    raw: Raw
    row: Row
    beside: Mapping[str, Any]


def load(path: Path, options: ReadOptions = ReadOptions()) -> Loaded:
    """Read a file or a run folder.

    Raises `UsageError` where nothing in it can be read, or nothing in it was thought.
    """
    dialect = None if options.dialect is None else tags.named(options.dialect)
    listed = list(rows_of(path))
    unread = [each for each in listed if isinstance(each, Unread)]
    rows = [each for each in listed if isinstance(each, Row)]
    if not rows:
        why = f"{unread[0].place} is {unread[0].why}" if unread else "it has no rows"
        raise UsageError(f"{path} has no trace that can be read: {why}")
    traces, others = _apart(rows, unread)
    found, columns = _replies(others, options.columns, unread)
    thoughts = _chosen([*_of_traces(traces, unread), *_of_replies(found, dialect)], options.labels, path)
    kept = [thought for thought in thoughts if thought.thinking.strip()]
    if not kept:
        raise UsageError(_nothing_thought(path, thoughts, unread, dialect))
    limit = len(kept) if options.limit is None else options.limit
    return Loaded(
        tuple(_with_own_ids(kept[:limit], path)),
        len(thoughts) - len(kept),
        tuple(unread),
        max(0, len(kept) - limit),
        columns,
    )


def _chosen(thoughts: list[Thought], labels: Sequence[str], path: Path) -> list[Thought]:
    """Those of some presets or models. Raises `UsageError` where one of these has none."""
    known = dict.fromkeys(thought.label for thought in thoughts if thought.label)
    for label in labels:
        if label not in known:
            told = f"it has {', '.join(known)}" if known else "its rows do not say which preset or model they are of"
            raise UsageError(f"{path} has no trace of {label!r}{nearest(label, known)}; {told}")
    return [thought for thought in thoughts if not labels or thought.label in labels]


def _nothing_thought(path: Path, thoughts: Sequence[Thought], unread: Sequence[Unread], dialect: Dialect | None) -> str:
    if not thoughts:
        return f"{path} has no trace that can be read: {unread[0].place}: {unread[0].why}"
    what = f"the tags of {dialect.name}" if dialect else "think tags or a reasoning field"
    return (
        f"no thinking in {path}: none of its {len(thoughts)} replies has {what}; "
        "--dialect plain reads whole texts as thinking, --column thinking=NAME names a column"
    )


def _apart(rows: Iterable[Row], unread: list[Unread]) -> tuple[list[Trace], list[Row]]:
    """Our own traces, the last one of each key, and the rest."""
    traces: dict[tuple[str, str, int], Trace] = {}
    others = []
    for row in rows:
        if not {"task", "preset", "calls"} <= set(row.cells):
            others.append(row)
            continue
        try:
            trace = msgspec.convert(row.cells, Trace)
            traces[key_of(trace)] = trace
        except msgspec.ValidationError as error:
            unread.append(Unread(row.place, f"not a trace: {one_line(error, 120)}"))
    return list(traces.values()), others


def _of_traces(traces: Iterable[Trace], unread: list[Unread]) -> Iterable[Thought]:
    for trace in traces:
        name = f"{trace.preset}/{trace.task.id}/{trace.seed}"
        if trace.error is not None:
            unread.append(Unread(name, f"it failed: {trace.error}"))
            continue
        options = trace.task.metadata.get("options")
        yield Thought(
            name,
            trace.thinking,
            trace.answer,
            trace.task.question,
            trace.task.reference,
            trace.task.verifier,
            _options(options),
            _tokens_of(trace),
            trace.finish,
            right=trace.score.value if trace.score else None,
            group=trace.task.id,
            label=trace.preset,
        )


def _tokens_of(trace: Trace) -> Count | None:
    """Thinking tokens that were kept, with the weakest of their sources."""
    tally = tally_calls(trace.calls)["thinking"]
    if not tally.total:
        return None
    return Count(tally.total, "estimated" if tally.estimated else "counted" if tally.counted else "reported")


def _replies(
    rows: Sequence[Row], told: Mapping[str, str], unread: list[Unread]
) -> tuple[list[_Found], Mapping[str, str]]:
    """Logged replies where a row is one; the others by their columns."""
    found: list[_Found] = []
    plain: list[Row] = []
    for row in rows:
        raws = None if {"text", "thinking"} & set(told) else replies(row.cells)
        if raws:
            found += [_Found(raw, row, _beside(row, told)) for raw in raws]
        else:
            plain.append(row)
    if not plain:
        return found, {}
    try:
        columns = find_columns([row.cells for row in plain], told)
    except UsageError as error:
        if not found:
            raise
        unread += [Unread(row.place, f"in no known form: {error}") for row in plain]
        return found, {}
    for row in plain:
        by_column = list(_by_columns(row, columns))
        found += by_column
        if not by_column:
            unread.append(Unread(row.place, "its columns of thinking and text are empty"))
    return found, columns


def _beside(row: Row, told: Mapping[str, str]) -> dict[str, Any]:
    return {role: row.get(*((told[role],) if role in told else ROLES[role])) for role in BESIDE}


def _by_columns(row: Row, columns: Mapping[str, str]) -> Iterable[_Found]:
    cells = {role: row.get(column) for role, column in columns.items()}
    texts = cells.get("text")
    for text in texts if isinstance(texts, list) else [texts]:
        thinking = cells.get("thinking")
        visible = text if isinstance(text, str) else cells.get("answer")
        if not isinstance(thinking, str) and not isinstance(visible, str):
            continue
        question = cells.get("question")
        raw = Raw(
            visible if isinstance(visible, str) else "",
            thinking if isinstance(thinking, str) and thinking.strip() else None,
            question if isinstance(question, str) else question_of({"messages": question}),
            _whole(cells.get("tokens")),
            finish=finish_of(cells.get("finish")),
        )
        yield _Found(raw, row, {role: cells.get(role) for role in BESIDE})


def _whole(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _of_replies(found: Sequence[_Found], dialect: Dialect | None) -> Iterable[Thought]:
    """Told apart by their tags. A text without any is a cut thought where the prompts of the others open them."""
    splits = [None if each.raw.thinking else tags.split(each.raw.text, dialect) for each in found]
    closed_by = _opened_by_prompts(found, splits)
    for each, split in zip(found, splits, strict=True):
        name = closed_by.get(_label(each))
        if split is None and each.raw.thinking is None and name:
            split = tags.Split(each.raw.text, "", "", name, is_closed=False, is_opened=False)
        yield _thought(each, split)


def _opened_by_prompts(found: Sequence[_Found], splits: Sequence[tags.Split | None]) -> dict[str, str]:
    """The dialect of each model most of whose tagged texts begin inside a thought: its prompts open it."""
    votes: dict[str, Counter[str]] = {}
    for each, split in zip(found, splits, strict=True):
        if split is not None:
            votes.setdefault(_label(each), Counter())["" if split.is_opened else split.dialect] += 1
    return {label: vote.most_common(1)[0][0] for label, vote in votes.items()}


def _label(found: _Found) -> str:
    label = found.beside.get("label")
    return label if isinstance(label, str) else found.raw.model


def _thought(found: _Found, split: tags.Split | None) -> Thought:
    raw = found.raw
    thinking = split.thinking if split else raw.thinking or ""
    answer = split.answer if split else raw.text
    options, reference = found.beside.get("options"), found.beside.get("reference")
    own_id = found.beside.get("id")
    question = raw.question or (split.before if split else "")
    return Thought(
        id=str(own_id) if isinstance(own_id, str | int) else found.row.place,
        thinking=thinking.strip(),
        answer=answer,
        question=question,
        reference=reference if isinstance(reference, str | int | float) else None,
        options=_options(options),
        thinking_tokens=_tokens(raw, thinking, answer),
        finish=raw.finish,
        is_closed=split.is_closed if split else None,
        right=TRUTHS.get(str(found.beside.get("right")).lower()),
        group=_group(question),
        label=_label(found),
        dialect=split.dialect if split else "",
    )


def _options(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return ()
    return tuple(map(str, value)) if isinstance(value, list | tuple) and len(value) <= MAX_OPTIONS else ()


def _tokens(raw: Raw, thinking: str, answer: str) -> Count | None:
    """As reported; of a reported whole the thinking's share by length, which is an estimate."""
    if raw.thinking_tokens:
        return Count(raw.thinking_tokens, "reported")
    if raw.completion_tokens and thinking:
        share = len(thinking) / (len(thinking) + len(answer))
        return Count(max(1, round(raw.completion_tokens * share)), "estimated")
    return Count(estimate_tokens(thinking), "estimated") if thinking else None


def _group(question: str) -> str:
    """One name for all answers to one question; empty where the question is not known."""
    return hashlib.sha256(question.strip().encode("utf-8", "replace")).hexdigest()[:12] if question.strip() else ""


def _with_own_ids(thoughts: Sequence[Thought], path: Path) -> Iterable[Thought]:
    """Each id once: samples of one question often share theirs."""
    seen: Counter[str] = Counter()
    for thought in thoughts:
        seen[thought.id] += 1
        again = seen[thought.id]
        unique = thought.id if again == 1 else f"{thought.id}#{again}"
        yield replace(thought, id=unique, group=thought.group or unique)
