"""The doctor's nouns: what a check found, and the report of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from taut.dialects import Dialect

Verdict = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw. ``unknown`` means that it could not be told, never that it failed."""

    verdict: Verdict
    seen: str
    """One line with the evidence."""


@dataclass(frozen=True, slots=True)
class Check:
    """A finding with its name and its price."""

    name: str
    verdict: Verdict
    seen: str
    tokens: int = 0
    """Completion tokens that it cost."""
    feature: str = ""
    """Of `taut.core.FEATURES`, the one that it decides on; empty for what is only told."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What was found at the other end. Empty where there is no such thing, as in an engine without a server."""

    engine: str
    model: str
    dialect: str
    dialect_found: str
    """How the dialect was found."""
    server: str = ""
    """The kind of server, one of ``taut.engines._servers.SERVERS``."""
    route: str = ""
    url: str = ""
    """Without credentials."""
    context_tokens: int | None = None
    """The longest prompt and reply together; ``None`` where the server does not tell."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found out about one endpoint."""

    identity: Identity
    dialect: Dialect
    checks: tuple[Check, ...]
    assumed: frozenset[str]
    """Features that Taut takes for granted without the doctor, from the kind of server."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The endpoint as a table of ``taut.toml``: ``kind`` and the options that it was opened with."""

    @property
    def offers(self) -> frozenset[str]:
        """Features that were seen; where a check could not tell, what is assumed."""
        return frozenset(feature for feature in self._decided if self._holds(feature))

    @property
    def kept(self) -> frozenset[str]:
        """The part of `offers` that no check could confirm."""
        return frozenset(feature for feature in self.offers if "unknown" in self._verdicts(feature))

    @property
    def tokens(self) -> int:
        """Completion tokens of all checks."""
        return sum(check.tokens for check in self.checks)

    def surprise(self, check: Check) -> str:
        """A remark where a check contradicts what is assumed; empty elsewhere."""
        if not check.feature or check.verdict == "unknown":
            return ""
        if check.verdict == "no":
            return "Taut assumes it does" if check.feature in self.assumed else ""
        return "" if check.feature in self.assumed or check.feature not in self.offers else "Taut assumes it does not"

    @property
    def _decided(self) -> frozenset[str]:
        return frozenset(check.feature for check in self.checks if check.feature)

    def _verdicts(self, feature: str) -> set[Verdict]:
        return {check.verdict for check in self.checks if check.feature == feature}

    def _holds(self, feature: str) -> bool:
        verdicts = self._verdicts(feature)
        return "no" not in verdicts and ("unknown" not in verdicts or feature in self.assumed)
