"""What ``summary.json`` holds. ``None`` always means *not known*, never zero.

Four kinds of trace are kept apart: *scored* (right or wrong), *unscored* (nobody could judge), *errors* (the method
failed: neither scored nor compared, but its tokens were paid for) and *superseded* (asked again later: only paid for).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CONFIDENCE = 0.95
"""Of every interval."""

AES_ALPHA, AES_BETA, AES_GAMMA = 1.0, 3.0, 5.0
"""Weights of tokens saved, accuracy won and accuracy lost in the Accuracy-Efficiency Score."""

MARGIN = 0.05
"""A loss of accuracy, as a share, that is small enough to call the accuracy kept."""

INTERVALS: Mapping[str, str] = {
    "accuracy": "Wilson score interval; with several answers per question, on the effective number of answers",
    "tokens": "bootstrap over questions, percentile interval widened for few questions (Hesterberg 2015); none below 5",
    "token_ratio": "ratio of means over the same questions; interval as for tokens, both presets resampled together",
    "accuracy_difference": "adjusted Wald interval over questions answered by both (Bonett and Price 2012)",
    "p_value": "exact two-sided sign test on questions won and lost (McNemar's exact test with one answer a question)",
    "p_value_holm": "the p value after Holm's correction (1979) for as many presets as were compared",
}
"""How each interval is made."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval; ``low`` and ``high`` are ``None`` where too little is known for one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Amount:
    """Mean tokens per answer, and how much of that was reported by the engine, counted, or estimated."""

    mean: float
    reported: float
    counted: float
    estimated: float


@dataclass(frozen=True, slots=True)
class EngineUse:
    """Everything one engine did for a preset, failed and superseded traces included. Tokens are totals."""

    calls: int
    prompt_tokens: int
    cached_prompt_tokens: int | None
    """Part of the prompt; ``None`` when the engine tells of no call."""
    completion_tokens: int
    cost_dollars: float | None
    """``None`` when no price was given."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds, over traces without error; ``None`` where there are none."""

    wall_p50_s: float | None
    """From question to answer: the critical path."""
    wall_p95_s: float | None
    calls_p50_s: float | None
    """Sum over all calls, parallel ones counted one after the other."""
    calls_p95_s: float | None
    first_token_p50_s: float | None
    """Until the first ``generate`` call that was kept showed something."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A preset against the baseline, over the questions (and seeds) that both answered without error."""

    token_pairs: int
    """Answers of each that the tokens are compared on."""
    token_ratio: Estimate | None
    """Mean completion tokens over the baseline's."""
    accuracy_pairs: int
    """Answers of each that were scored for both."""
    accuracy_difference: Estimate | None
    """As a share: 0.01 is one percentage point."""
    questions_won: int
    """Right more often than the baseline."""
    questions_lost: int
    p_value: float | None
    """Of the hypothesis that winning and losing are equally likely."""
    p_value_holm: float | None
    """The same, corrected for the number of presets that were compared with the baseline."""
    questions_needed: int | None
    """About how many questions would bring the interval of the difference to `MARGIN` either way."""
    aes: float | None
    """Accuracy-Efficiency Score (O1-Pruner, arXiv:2501.12570), losses of accuracy counted as losses."""


@dataclass(frozen=True, slots=True)
class PresetSummary:
    """One preset. ``n = scored + unscored + errors``."""

    n: int
    """Traces that count: the last one for each question and seed."""
    questions: int
    scored: int
    correct: int
    unscored: int
    errors: int
    truncated: int
    """Cut by the ceiling of tokens."""
    no_answer: int
    """Wrong because no answer could be found in the text."""
    superseded: int
    """Earlier tries that were asked again; only their tokens and cost count."""
    calls_without_usage: int
    """Calls whose tokens nobody knows; they are missing from every total."""
    accuracy: Estimate | None
    """Share of the scored that are right."""
    accuracy_lower_bound: float | None
    """Right over all ``n``, as if everything not scored were wrong; ``None`` when everything was scored."""
    tokens_by_role: dict[str, Amount]
    """Completion tokens per answer without error, by `taut.core.TOKEN_ROLES`."""
    completion_tokens: Estimate | None
    """Mean per answer without error."""
    completion: Amount | None
    prompt: Amount | None
    cached_prompt: Amount | None
    """Part of the prompt; ``None`` when no engine tells."""
    total_completion_tokens: int
    """All that was paid for: errors and superseded tries included."""
    tokens_per_correct: float | None
    """``total_completion_tokens`` over ``correct``."""
    latency: Latency
    engines: dict[str, EngineUse]
    """By the engine's part in the method: ``main``, ``small``, …"""
    cost_per_question_dollars: float | None
    """All that was paid over ``n``; ``None`` unless every engine that was used has a price."""
    comparison: Comparison | None
    """``None`` for the baseline itself."""


@dataclass(frozen=True, slots=True)
class Summary:
    """All presets of a run, in the order they were asked for."""

    baseline: str
    presets: dict[str, PresetSummary]
    pareto_front: tuple[str, ...]
    """Presets that no other beats in both accuracy and mean completion tokens, cheapest first."""
    confidence: float
    intervals: dict[str, str]
    """How each interval was made."""
    aes_constants: dict[str, float]
    bootstrap_seed: int
