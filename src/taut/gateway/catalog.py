"""Which names a client may ask for, and what they stand for: presets, and the engines' own models."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taut.core import Engine
from taut.errors import UsageError, nearest
from taut.gateway.nouns import Problem
from taut.gateway.settings import EFFORT
from taut.gateway.wishes import split_suffix
from taut.methods.prompt_based.direct import Direct
from taut.run import Preset, check_needs

PLAIN = "engine"
"""The preset's name of an engine's own model that cannot pass through untouched."""
MAX_SHOWN = 100
"""Characters of a wrong name that are repeated."""
_UNNAMED = re.compile(r"main|engine\d+")
"""Names of engines that nobody has chosen."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a model's name stands for."""

    preset: Preset
    engine_name: str
    engines: Mapping[str, Engine]
    """All parts by name; ``main`` is the chosen one."""
    is_plain: bool = False
    """The engine's own model, nothing else asked for: may pass through."""
    suffix: str | None = None
    """What stood in brackets after the name."""
    name: str = ""
    """As a key's patterns see it: without the brackets."""

    @property
    def engine(self) -> Engine:
        """The one that answers."""
        return self.engines["main"]


class Catalog:
    """The names on offer. The first engine is the one that presets run on."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        presets: Sequence[Preset],
        optional: Sequence[Preset],
        efforts: Collection[str] = EFFORT,
    ) -> None:
        """Check every preset against the main engine; ``optional`` ones are left out where it cannot do them.

        ``efforts`` are the words that may stand in brackets after a name.
        Raises `UsageError` for a preset that was asked for by name and cannot be done.
        """
        self.engines = engines
        self._efforts = efforts
        self.main = next(iter(engines))
        self.left_out: dict[str, str] = {}
        self._plain = self._names_of_engines()
        self.presets: dict[str, Preset] = {}
        for preset in presets:
            check_needs(preset, self._parts(self.main))
            self._add(preset)
        for preset in optional:
            reason = self._why_not(preset, self.main)
            if reason is None and preset.name not in self.presets:
                self._add(preset)
            elif reason is not None:
                self.left_out[preset.name] = reason

    def choose(self, model: str, preset: str | None = None) -> Choice:
        """What ``model`` (and the ``taut.preset`` field) ask for. Raises `Problem` 404 or 400."""
        name, suffix = (model, None) if self._knows(model) else split_suffix(model, self._efforts)
        if preset is not None:
            return self._preset(preset, self._engine(name), suffix, "taut.preset")
        if name in self.presets:
            return self._preset(name, self.main, suffix)
        if name in self._plain:
            engine = self._plain[name]
            return Choice(Preset(PLAIN, Direct()), engine, self._parts(engine), is_plain=True, suffix=suffix, name=name)
        wanted, sign, engine = name.partition("@")
        if not sign:
            raise self._unknown(name)
        if suffix is None and wanted not in self.presets:
            # The brackets may stand at either end: concise(64)@big.
            wanted, suffix = split_suffix(wanted, self._efforts)
        if engine not in self._plain:
            if wanted not in self.presets:
                raise self._unknown(name)
            known = [*self.engines]
            raise _not_found(f"there is no engine {engine!r}{nearest(engine, known)}; there are: {', '.join(known)}")
        return self._preset(wanted, self._plain[engine], suffix)

    def models(self) -> list[dict[str, Any]]:
        """The entries of ``/v1/models``: presets first, then the engines' own models, and the engines' names."""
        listed = [self._entry(name, f"preset on {self.engines[self.main].model}") for name in self.presets]
        own = dict.fromkeys(self._own_name(name) for name in self.engines)
        also = [name for name in self.engines if name not in own and not _UNNAMED.fullmatch(name)]
        return (
            listed
            + [self._entry(name, "engine") for name in own]
            + [self._entry(name, f"engine, another name of {self.engines[name].model}") for name in also]
        )

    def _entry(self, name: str, what: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 0, "owned_by": "taut", "taut": {"kind": what}}

    def _knows(self, name: str) -> bool:
        return name in self.presets or name in self._plain

    def _own_name(self, engine: str) -> str:
        """The model's name, or the engine's where two serve one model."""
        model = self.engines[engine].model
        return model if self._plain.get(model) == engine else engine

    def _names_of_engines(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for name, engine in self.engines.items():
            names.setdefault(engine.model, name)
        return names | {name: name for name in self.engines}

    def _add(self, preset: Preset) -> None:
        if "@" in preset.name or split_suffix(preset.name, self._efforts)[1] is not None:
            raise UsageError(
                f"the preset's name {preset.name!r} reads like a name with an engine (name@engine) or a budget "
                "(name(512)): choose another"
            )
        if preset.name in self._plain:
            raise UsageError(f"a preset and an engine are both named {preset.name!r}: give one of them another name")
        self.presets[preset.name] = preset

    def _engine(self, name: str) -> str:
        if name in self._plain:
            return self._plain[name]
        if name in self.presets:
            raise Problem(
                f"the model {name!r} is a preset already: give an engine's own model beside 'taut.preset'",
                param="taut.preset",
            )
        raise self._unknown(name)

    def _preset(self, name: str, engine: str, suffix: str | None, param: str = "model") -> Choice:
        if name not in self.presets:
            known = ", ".join(self.presets)
            raise Problem(f"there is no preset {name!r}{nearest(name, self.presets)}; there are: {known}", param=param)
        reason = self._why_not(self.presets[name], engine)
        if reason is not None:
            raise Problem(reason, param="model")
        asked = name if engine == self.main else f"{name}@{engine}"
        return Choice(self.presets[name], engine, self._parts(engine), suffix=suffix, name=asked)

    def _parts(self, engine: str) -> dict[str, Engine]:
        return {**self.engines, "main": self.engines[engine]}

    def _why_not(self, preset: Preset, engine: str) -> str | None:
        try:
            check_needs(preset, self._parts(engine))
        except UsageError as error:
            # By the name that the operator gave it: its address is no client's business.
            return str(error).replace(self.engines[engine].name, engine)
        return None

    def _unknown(self, name: str) -> Problem:
        base, sign, rest = name.partition("(")
        if sign and rest.endswith(")") and self._knows(base):
            efforts = ", ".join(self._efforts)
            return _not_found(
                f"{rest[:-1]!r} after {base!r} is neither a number of thinking tokens nor an effort: none, {efforts}"
            )
        known = [entry["id"] for entry in self.models()]
        return _not_found(
            f"there is no model {name[:MAX_SHOWN]!r}{nearest(name, known)}; there are: {', '.join(known)}"
        )


def _not_found(sentence: str) -> Problem:
    return Problem(sentence, status=404, code="not_found_error", param="model")
