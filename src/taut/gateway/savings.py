"""What a preset saves, with intervals, from sums that several workers can add up.

Two measures that are never mixed. Against *shadow*: the unmodified form of the same requests was run too, so savings
are a paired ratio. Against a recorded *baseline*: a run of `taut bench` tells what an unmodified answer takes, to
other questions than those of the traffic, and a line of the report says so.

Tokens are completion tokens of all roles. Every interval holds for 95 %.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean, variance
from typing import Any, Literal, TypedDict

import msgspec

from taut.errors import UsageError, one_line
from taut.traces import read

Z = NormalDist().inv_cdf(0.975)
MINIMUM_PAIRS = 5
"""Below this there is no interval for a ratio, as in `taut.metrics.intervals`."""

Against = Literal["shadow", "baseline"]
MEANING: Mapping[Against, str] = {
    "shadow": "against the unmodified form of the same requests",
    "baseline": "against the recorded baseline, whose questions are not those of the traffic",
}


class Estimate(TypedDict):
    """A share and its 95 % interval; ``low`` and ``high`` are ``None`` where too little is known for one."""

    value: float
    low: float | None
    high: float | None


class Line(TypedDict):
    """What one preset saves against one thing; JSON-able."""

    preset: str
    against: Against
    meaning: str
    n: int
    """Pairs, or requests where it is against the baseline."""
    baseline_n: int | None
    """Questions of the recorded run."""
    baseline_preset: str | None
    tokens_mean: float
    """Per request of the preset; over the pairs only where it is against shadow."""
    unmodified_mean: float
    tokens_saved: int
    """So far, by those ``n``; negative where the preset took more."""
    saved: Estimate
    """Share of the unmodified tokens."""
    agreement: Estimate | None
    """Share of the pairs that could be compared whose answers agree; only against shadow."""
    agreement_n: int
    cannot_compare: int
    """Pairs whose answers nobody can compare: in the tokens, and not in the agreement."""


@dataclass(slots=True)
class Sums:
    """All that is kept of one preset. Whole numbers: sums of squares stay exact."""

    requests: int = 0
    tokens: int = 0
    tokens_squared: int = 0
    pairs: int = 0
    preset: int = 0
    """Tokens of the preset in pairs."""
    preset_squared: int = 0
    unmodified: int = 0
    unmodified_squared: int = 0
    product: int = 0
    agree: int = 0
    disagree: int = 0

    def add(self, other: Sums) -> None:
        """Add another worker's."""
        for item in dataclasses.fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))


@dataclass(frozen=True, slots=True)
class Baseline:
    """What an unmodified answer takes, from a recorded run."""

    preset: str
    mean_tokens: float
    variance: float
    """Between questions."""
    n: int
    """Questions."""


class Savings:
    """The running statistics of one worker."""

    def __init__(self, baseline: Baseline | None = None) -> None:
        self._baseline = baseline
        self._presets: dict[str, Sums] = defaultdict(Sums)

    def add_request(self, preset: str, tokens: int) -> None:
        """A request was answered. Failed and cancelled ones do not belong here: they are short for another reason."""
        sums = self._presets[preset]
        sums.requests += 1
        sums.tokens += tokens
        sums.tokens_squared += tokens * tokens

    def add_pair(self, preset: str, tokens: int, unmodified_tokens: int, agree: bool | None) -> None:
        """A request was answered in both forms; ``agree`` is ``None`` where the answers cannot be compared."""
        sums = self._presets[preset]
        sums.pairs += 1
        sums.preset += tokens
        sums.preset_squared += tokens * tokens
        sums.unmodified += unmodified_tokens
        sums.unmodified_squared += unmodified_tokens * unmodified_tokens
        sums.product += tokens * unmodified_tokens
        sums.agree += agree is True
        sums.disagree += agree is False

    def state(self) -> dict[str, Any]:
        """The sums by preset, JSON-able: what `merge` takes."""
        return {preset: dataclasses.asdict(sums) for preset, sums in self._presets.items()}

    def merge(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Add what other workers' `state` gave."""
        for state in states:
            for preset, sums in state.items():
                self._presets[preset].add(Sums(**sums))

    def report(self) -> list[Line]:
        """The lines by preset: against shadow where there are pairs, against the baseline where there is one."""
        lines = []
        for preset, sums in sorted(self._presets.items()):
            if sums.pairs and sums.unmodified:
                lines.append(_against_shadow(preset, sums))
            # The baseline's own preset is what the others are held to.
            if self._baseline is not None and sums.requests and preset != self._baseline.preset:
                lines.append(_against_baseline(preset, sums, self._baseline))
        return lines


def report_of(states: Iterable[Mapping[str, Any]], baseline: Baseline | None = None) -> list[Line]:
    """The lines for all workers together."""
    together = Savings(baseline)
    together.merge(states)
    return together.report()


def read_baseline(folder: Path) -> Baseline:
    """What the baseline preset of a run of `taut bench` took per answer; failed answers do not count.

    Answers to one question under several seeds are one question. Raises `UsageError` where the folder holds no such
    run, or fewer than two answered questions.
    """
    preset = _baseline_preset(folder / "manifest.json")
    by_question: dict[str, list[int]] = defaultdict(list)
    for trace in read(folder / "traces.jsonl"):
        if trace.preset == preset and trace.error is None:
            by_question[trace.task.id].append(trace.completion_tokens)
    means = [fmean(tokens) for tokens in by_question.values()]
    if len(means) < 2 or not any(means):
        raise UsageError(
            f"{folder} holds {len(means)} answers of its baseline {preset!r} with tokens; a baseline needs 2 or more"
        )
    return Baseline(preset, fmean(means), variance(means), len(means))


def _baseline_preset(path: Path) -> str:
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        return str(manifest["baseline"])
    except (OSError, msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else one_line(error, 200)
        raise UsageError(f"the baseline {path.parent} is no run folder of taut bench: {why}") from None


def _against_shadow(preset: str, sums: Sums) -> Line:
    n, compared = sums.pairs, sums.agree + sums.disagree
    ratio = sums.preset / sums.unmodified
    spread = _Spread(
        _variance(n, sums.preset, sums.preset_squared) / n,
        _variance(n, sums.unmodified, sums.unmodified_squared) / n,
        _covariance(n, sums.preset, sums.unmodified, sums.product) / n,
    )
    low, high = ratio_interval(sums.preset / n, sums.unmodified / n, spread, n)
    return Line(
        preset=preset,
        against="shadow",
        meaning=MEANING["shadow"],
        n=n,
        baseline_n=None,
        baseline_preset=None,
        tokens_mean=sums.preset / n,
        unmodified_mean=sums.unmodified / n,
        tokens_saved=sums.unmodified - sums.preset,
        saved=_saved(ratio, low, high),
        agreement=wilson(sums.agree, compared),
        agreement_n=compared,
        cannot_compare=n - compared,
    )


def _against_baseline(preset: str, sums: Sums, baseline: Baseline) -> Line:
    n, mean = sums.requests, sums.tokens / sums.requests
    spread = _Spread(_variance(n, sums.tokens, sums.tokens_squared) / n, baseline.variance / baseline.n, 0.0)
    low, high = ratio_interval(mean, baseline.mean_tokens, spread, min(n, baseline.n))
    return Line(
        preset=preset,
        against="baseline",
        meaning=MEANING["baseline"],
        n=n,
        baseline_n=baseline.n,
        baseline_preset=baseline.preset,
        tokens_mean=mean,
        unmodified_mean=baseline.mean_tokens,
        tokens_saved=round(n * baseline.mean_tokens) - sums.tokens,
        saved=_saved(mean / baseline.mean_tokens, low, high),
        agreement=None,
        agreement_n=0,
        cannot_compare=0,
    )


def _saved(ratio: float, low: float | None, high: float | None) -> Estimate:
    return Estimate(value=1 - ratio, low=None if high is None else 1 - high, high=None if low is None else 1 - low)


@dataclass(frozen=True, slots=True)
class _Spread:
    """Variances of two means, and their covariance."""

    numerator: float
    denominator: float
    covariance: float


def ratio_interval(numerator: float, denominator: float, spread: _Spread, n: int) -> tuple[float | None, float | None]:
    """Fieller's interval (1954) for a ratio of two means of ``n``; ``None`` where there is none.

    It holds the ratios r for which numerator - r * denominator is not distinguishable from 0 by a t test. Where the
    denominator itself is not, that is no interval. With 30 pairs of lognormal tokens it covers 90 to 96 % of the
    time, the delta method 87 to 93 %.
    """
    if n < MINIMUM_PAIRS:
        return None, None
    t = t_quantile(n - 1)
    a = denominator**2 - t**2 * spread.denominator
    b = numerator * denominator - t**2 * spread.covariance
    if a <= 0:
        return None, None
    # The discriminant multiplied out: as b * b - a * c it loses all digits when n is large.
    both = numerator * denominator * spread.covariance
    first = numerator**2 * spread.denominator - 2 * both + denominator**2 * spread.numerator
    second = spread.covariance**2 - spread.numerator * spread.denominator
    # Rounding may leave -1e-17 where all pairs have one ratio and the formula gives exactly 0.
    root = t * max(first + t**2 * second, 0.0) ** 0.5
    return max((b - root) / a, 0.0), (b + root) / a


def t_quantile(degrees: int) -> float:
    """Student's t at 97.5 %, by Cornish and Fisher's expansion: within 0.3 % from 4 degrees of freedom on."""
    terms = (
        Z,
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
        (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160,
    )
    return sum(term / float(degrees) ** power for power, term in enumerate(terms))


def wilson(successes: int, n: int) -> Estimate | None:
    """A share with Wilson's score interval (1927); ``None`` without any."""
    if n == 0:
        return None
    share = successes / n
    centre = share + Z * Z / (2 * n)
    spread = Z * (share * (1 - share) / n + (Z / (2 * n)) ** 2) ** 0.5
    scale = 1 + Z * Z / n
    low = 0.0 if successes == 0 else (centre - spread) / scale
    return Estimate(value=share, low=low, high=1.0 if successes == n else (centre + spread) / scale)


def _variance(n: int, total: int, squares: int) -> float:
    return _covariance(n, total, total, squares)


def _covariance(n: int, first: int, second: int, product: int) -> float:
    # In whole numbers: the difference of two sums of squares loses its digits in floating point.
    return (n * product - first * second) / (n * (n - 1)) if n > 1 else 0.0
