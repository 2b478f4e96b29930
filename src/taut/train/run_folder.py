"""The folder of a training run: what it was, its log, where it can go on, and the model that came of it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from taut import __version__
from taut.errors import UsageError, one_line
from taut.manifest import machine
from taut.traces import read_all
from taut.train.reading import to_toml
from taut.train.recipe import Recipe

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
MARK = "taut.json"
"""Written into a checkpoint when all else of it is there: a killed run leaves checkpoints without."""
BARE = (".lock", "manifest.json", "recipe.toml", "checkpoints")
MADE_ANEW: Mapping[str, tuple[str, ...]] = {
    "train.jsonl": ("",),
    "reference.jsonl": ("model.", "data.", "rl.max_completion_tokens", "rl.temperature", "rl.top_p", "rl.seed",
                        "rl.reference_samples"),
}  # fmt: skip
"""Files that follow from the recipe, and beginnings of the keys that they follow from."""
TEACHER = "teacher"
"""A run folder of the teacher's answers."""
FREE = ("log_every_steps", "keep_checkpoints", "device_batch_size", "gradient_checkpointing")
"""Keys that may differ when a run goes on."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint, and where the run stood."""

    path: Path
    stage: int
    step: int
    """Of the stage."""
    steps_before: int
    """Of earlier stages."""
    tokens: int = 0
    """Trained on so far."""
    is_last: bool = False
    """The stage is finished with it."""
    reward_state: Any = None
    """What a reward remembers, as JSON data."""
    files: Mapping[str, int] = field(default_factory=dict)
    """Names and bytes of what belongs to it, as far as one process writes it."""

    @property
    def total_step(self) -> int:
        """Steps of the run."""
        return self.steps_before + self.step


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of a run; use `prepare` to make it."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """A folder a stage, in it one a checkpoint."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The finished model or adapter."""
        return self.path / "model"

    @property
    def log(self) -> Path:
        """One line of JSON for every logged step."""
        return self.path / "log.jsonl"

    @property
    def is_finished(self) -> bool:
        """Trained to its end."""
        return self._manifest().get("finished_at") is not None

    def stage(self, index: int) -> Path:
        """Where a stage's checkpoints are."""
        return self.checkpoints / f"stage-{index}"

    def prepare(self, recipe: Recipe) -> None:
        """Make the folder, or see that it is of this very recipe. Raises `UsageError` naming the difference."""
        known = self._manifest()
        different = _differences(known.get("recipe", {}), _through_json(recipe.table)) if known else []
        if known and not self._is_bare:
            if different:
                raise UsageError(f"{self.path} holds a run of another recipe: {'; '.join(different)}; {_way_on(self)}")
            return
        if not self._is_bare:
            raise UsageError(f"{self.path} is not empty and holds no training run: choose another --out")
        for name, keys in MADE_ANEW.items():
            if any(text.startswith(keys) for text in different):
                (self.path / name).unlink(missing_ok=True)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / "recipe.toml", to_toml(recipe.table))
        self.note(
            command=shlex.join(["taut", *sys.argv[1:]]),
            kind=recipe.kind,
            recipe=recipe.table,
            taut_version=__version__,
            packages=_versions(),
            python=platform.python_version(),
            machine=machine(),
            started_at=_now(),
            finished_at=None,
        )

    def drop_if_empty(self) -> None:
        """Delete the folder, unless something is in it that cost more than reading a recipe."""
        if {item.name for item in self.path.iterdir()} <= {*BARE} and not any(self.checkpoints.glob("*")):
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def _is_bare(self) -> bool:
        """Nothing was made in it yet: a recipe whose data could not be read may still be mended."""
        empty = () if read_log(self.log) else (self.log.name,)
        made = {item.name for item in self.path.iterdir()} - {*BARE, *MADE_ANEW, *empty}
        return made <= {TEACHER} and not any(self.checkpoints.glob("*")) and not self._has_paid_answers

    @property
    def _has_paid_answers(self) -> bool:
        traces = self.path / TEACHER / "traces.jsonl"
        return traces.exists() and any(trace.error is None for trace in read_all(traces))

    def hold(self, rows: Sequence[str], watched: Mapping[str, str], *, goes_on: bool) -> None:
        """Keep digests of what is trained on, and of what a curve is measured on.

        Raises `UsageError` where a run that goes on finds something else.
        """
        known = self._manifest()
        now = {"rows": list(rows), **watched}
        before = {"rows": known.get("rows"), **known.get("watched", {})}
        for name, found in now.items():
            if goes_on and before.get(name) is not None and before[name] != found:
                raise UsageError(
                    f"{self.path} began with other {name} than there are now: put the files back as they were, or "
                    "choose another --out"
                )
        self.note(rows=list(rows), watched=dict(watched))

    def note(self, **facts: Any) -> None:
        """Put facts into the manifest."""
        write_whole(self.path / "manifest.json", json.dumps({**self._manifest(), **facts}, indent=2))

    def finish(self, **facts: Any) -> None:
        """Note that the run is done."""
        self.note(finished_at=_now(), **facts)

    def facts(self) -> Mapping[str, Any]:
        """What the manifest says."""
        return self._manifest()

    def _manifest(self) -> dict[str, Any]:
        path = self.path / "manifest.json"
        if not path.exists():
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {path}: {one_line(error)}; choose another --out") from None
        if not isinstance(found, dict) or not isinstance(found.get("recipe"), dict):
            raise UsageError(f"{path} is not the manifest of a training run; choose another --out")
        return found

    def last(self) -> Checkpoint | None:
        """The newest finished checkpoint. Raises `UsageError` where it is not whole any more."""
        newest = max(self._finished(), key=lambda found: (found.stage, found.step), default=None)
        if newest is not None:
            _check_whole(newest)
        return newest

    def _finished(self) -> Iterator[Checkpoint]:
        for mark in self.checkpoints.glob(f"stage-*/checkpoint-*/{MARK}"):
            try:
                facts = json.loads(mark.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UsageError(f"cannot read {mark}: {one_line(error)}; delete that checkpoint") from None
            if not isinstance(facts, dict) or not {"stage", "step", "steps_before"} <= {*facts}:
                raise UsageError(f"{mark} is not as it was written: delete that checkpoint")
            yield Checkpoint(**{**facts, "path": mark.parent})

    def forget_after(self, checkpoint: Checkpoint | None) -> None:
        """Take what came after the checkpoint out of the log, and checkpoints that were not finished."""
        for folder in self.checkpoints.glob("stage-*/checkpoint-*"):
            if not (folder / MARK).exists():
                shutil.rmtree(folder, ignore_errors=True)
        reached = -1 if checkpoint is None else checkpoint.total_step
        kept = [line for line in read_log(self.log) if line["step"] <= reached]
        write_whole(self.log, "".join(json.dumps(line) + "\n" for line in kept))

    def drop_stage(self, index: int) -> None:
        """Delete the checkpoints of a stage that a later one has taken over from."""
        shutil.rmtree(self.stage(index), ignore_errors=True)


def mark(checkpoint: Checkpoint) -> None:
    """Say that a checkpoint is whole."""
    facts = {**asdict(checkpoint), "path": checkpoint.path.name, "files": _files_of(checkpoint.path)}
    write_whole(checkpoint.path / MARK, json.dumps(facts))


def _files_of(folder: Path) -> dict[str, int]:
    """What the first process has written; the others may still be at their random states."""
    found = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}
    return {name: size for name, size in found.items() if not name.startswith(("rng_state_", MARK))}


def _check_whole(checkpoint: Checkpoint) -> None:
    """Raise `UsageError` where a file is gone or cut: going on without would silently give another curve."""
    here = _files_of(checkpoint.path)
    for name, size in checkpoint.files.items():
        if here.get(name) != size:
            what = "is missing" if name not in here else f"has {here[name]:,} bytes of {size:,}"
            raise UsageError(
                f"{checkpoint.path / name} {what}: put it back, or delete {checkpoint.path} to go on from the "
                "checkpoint before"
            )


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that a killed run left unfinished is passed over."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found.append(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return [line for line in found if isinstance(line.get("step"), int)]


def digest(rows: Sequence[Mapping[str, Any]]) -> str:
    """Of rows as they are trained on."""
    found = hashlib.sha256()
    for row in rows:
        found.update(json.dumps(row, default=str).encode())
    return found.hexdigest()[:16]


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line to a log."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Replace the file in one step, so that a killed run leaves a whole one."""
    draft = path.with_name(f"{path.name}.tmp")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], name: str = "") -> list[str]:
    found = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if old == new or key in FREE:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{key}.")
        else:
            found.append(f"{name}{key} was {_short(old)} and is {_short(new)}")
    return found


def _way_on(run: RunFolder) -> str:
    more = f", or start from its model: --set model.path={run.model}" if run.is_finished else ""
    teacher = run.path / TEACHER / "traces.jsonl"
    return f"choose another --out{more}" + (
        f" (--set distill.traces={teacher} uses its answers)" if teacher.exists() else ""
    )


def _short(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _through_json(table: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(table)))


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
