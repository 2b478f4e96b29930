"""From traces to a `Summary`: one pass to sort them, then each preset by itself and against the baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from taut.core import TOKEN_ROLES, Call, Count, Tally, Trace
from taut.errors import UsageError, nearest
from taut.metrics.comparison import compare, corrected, pareto_front, right
from taut.metrics.intervals import Sums, proportion, quantile, ratio_of_sums
from taut.metrics.nouns import (
    AES_ALPHA,
    AES_BETA,
    AES_GAMMA,
    CONFIDENCE,
    INTERVALS,
    Amount,
    EngineUse,
    Estimate,
    Latency,
    PresetSummary,
    Summary,
)
from taut.traces import Key, key_of

Prices = Mapping[str, Mapping[str, float]]
"""By engine part (`Call.engine`): dollars per million ``prompt``, ``cached`` and ``completion`` tokens."""

PRICED = ("prompt", "cached", "completion")


def summarize(
    traces: Sequence[Trace],
    *,
    baseline: str,
    presets: Sequence[str],
    prices: Prices | None = None,
    seed: int = 0,
) -> Summary:
    """Summarize a run. Of several traces with one preset, question and seed the last counts.

    ``presets`` gives the order; one without traces is listed with ``n = 0``. ``seed`` is that of the bootstrap.
    Raises `UsageError` if ``baseline``, or the preset of a trace, is not among ``presets``, or a price is unreadable.
    """
    _check_names(traces, baseline, presets)
    check_prices(prices or {})
    last: dict[Key, Trace] = {key_of(trace): trace for trace in traces}
    counting: dict[str, list[Trace]] = {name: [] for name in presets}
    for trace in last.values():
        counting[trace.preset].append(trace)
    superseded: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        if last[key_of(trace)] is not trace:
            superseded[trace.preset].append(trace)
    found = {
        name: _summarize_preset(
            own, superseded[name], None if name == baseline else counting[baseline], prices or {}, seed
        )
        for name, own in counting.items()
    }
    return Summary(
        baseline=baseline,
        presets=_with_corrected_p_values(found),
        pareto_front=_front(found),
        confidence=CONFIDENCE,
        intervals=dict(INTERVALS),
        aes_constants={"alpha": AES_ALPHA, "beta": AES_BETA, "gamma": AES_GAMMA},
        bootstrap_seed=seed,
    )


def _with_corrected_p_values(presets: Mapping[str, PresetSummary]) -> dict[str, PresetSummary]:
    comparisons = corrected({name: p.comparison for name, p in presets.items() if p.comparison is not None})
    return {name: replace(preset, comparison=comparisons.get(name)) for name, preset in presets.items()}


def _check_names(traces: Iterable[Trace], baseline: str, presets: Sequence[str]) -> None:
    known = ", ".join(presets)
    if baseline not in presets:
        raise UsageError(f"the baseline {baseline!r} is none of the presets{nearest(baseline, presets)}: {known}")
    strangers = {trace.preset for trace in traces} - set(presets)
    if strangers:
        raise UsageError(f"there are traces of {min(strangers)!r}, which is none of the presets of the run: {known}")


def check_prices(prices: Mapping[str, Any]) -> None:
    """Raise `UsageError` unless every engine has a price for prompt and completion and none for anything unknown."""
    for engine, price in prices.items():
        if not isinstance(price, Mapping) or not {"prompt", "completion"} <= set(price):
            raise UsageError(f"the prices of engine {engine!r} need 'prompt' and 'completion', in $ per million tokens")
        for key, value in price.items():
            if key not in PRICED:
                raise UsageError(f"the prices of engine {engine!r} have an unknown {key!r}{nearest(key, PRICED)}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise UsageError(f"the price {key!r} of engine {engine!r} is {value!r}, which is no number of dollars")


def _summarize_preset(
    traces: Sequence[Trace], superseded: Sequence[Trace], baseline: Sequence[Trace] | None, prices: Prices, seed: int
) -> PresetSummary:
    done = [trace for trace in traces if trace.error is None]
    scored = [trace for trace in done if right(trace) is not None]
    correct = sum(bool(right(trace)) for trace in scored)
    paid = [*traces, *superseded]
    total = sum(trace.completion_tokens for trace in paid)
    engines = _engines(paid, prices)
    costs = [use.cost_dollars for use in engines.values()]
    return PresetSummary(
        n=len(traces),
        questions=len({trace.task.id for trace in traces}),
        scored=len(scored),
        correct=correct,
        unscored=len(done) - len(scored),
        errors=len(traces) - len(done),
        truncated=sum(trace.finish == "length" for trace in done),
        no_answer=sum(
            trace.score is not None and trace.score.extracted is None and not right(trace) for trace in scored
        ),
        superseded=len(superseded),
        calls_without_usage=sum(call.usage is None for trace in paid for call in trace.calls),
        accuracy=proportion(_per_question(scored, [float(bool(right(trace))) for trace in scored])),
        accuracy_lower_bound=correct / len(traces) if len(scored) < len(traces) else None,
        tokens_by_role=_by_role(done),
        completion_tokens=_mean_tokens(done, seed),
        completion=_amount((c.usage.completion for c in _calls(done) if c.usage), len(done)),
        prompt=_amount((c.usage.prompt for c in _calls(done) if c.usage), len(done)),
        cached_prompt=_cached(done),
        total_completion_tokens=total,
        tokens_per_correct=total / correct if correct else None,
        latency=_latency(done),
        engines=engines,
        cost_per_question_dollars=_sum_or_none(costs, len(traces)),
        comparison=None if baseline is None else compare(traces, baseline, seed=seed),
    )


def _per_question(traces: Sequence[Trace], values: Sequence[float]) -> list[Sums]:
    """Sum of ``values`` and number of answers for each question."""
    by_question: dict[str, list[float]] = defaultdict(list)
    for trace, value in zip(traces, values, strict=True):
        by_question[trace.task.id].append(value)
    return [Sums(sum(found), len(found)) for found in by_question.values()]


def _mean_tokens(traces: Sequence[Trace], seed: int) -> Estimate | None:
    return ratio_of_sums(_per_question(traces, [float(t.completion_tokens) for t in traces]), seed=seed)


def _by_role(traces: Sequence[Trace]) -> dict[str, Amount]:
    totals = {role: Tally() for role in TOKEN_ROLES}
    for trace in traces:
        for role, tally in trace.tokens_by_role().items():
            totals[role].reported += tally.reported
            totals[role].counted += tally.counted
            totals[role].estimated += tally.estimated
    return {role: _mean(tally, len(traces)) for role, tally in totals.items()} if traces else {}


def _mean(tally: Tally, answers: int) -> Amount:
    return Amount(tally.total / answers, tally.reported / answers, tally.counted / answers, tally.estimated / answers)


def _amount(counts: Iterable[Count], answers: int) -> Amount | None:
    tally = Tally()
    for count in counts:
        tally.add(count.tokens, count.source)
    return _mean(tally, answers) if answers else None


def _calls(traces: Iterable[Trace]) -> list[Call]:
    return [call for trace in traces for call in trace.calls]


def _cached(traces: Sequence[Trace]) -> Amount | None:
    told = [call.usage.cached for call in _calls(traces) if call.usage and call.usage.cached is not None]
    return _amount(told, len(traces)) if told else None


def _latency(traces: Sequence[Trace]) -> Latency:
    wall = [trace.wall_s for trace in traces]
    summed = [sum(call.latency_s for call in trace.calls) for trace in traces]
    first = [seconds for trace in traces if (seconds := _first_token_s(trace)) is not None]
    return Latency(
        wall_p50_s=quantile(wall, 0.5),
        wall_p95_s=quantile(wall, 0.95),
        calls_p50_s=quantile(summed, 0.5),
        calls_p95_s=quantile(summed, 0.95),
        first_token_p50_s=quantile(first, 0.5),
    )


def _first_token_s(trace: Trace) -> float | None:
    shown = [c.first_token_s for c in trace.calls if c.role == "generate" and not c.discarded]
    return min((seconds for seconds in shown if seconds is not None), default=None)


def _engines(traces: Iterable[Trace], prices: Prices) -> dict[str, EngineUse]:
    by_engine: dict[str, list[Call]] = defaultdict(list)
    for call in _calls(traces):
        by_engine[call.engine].append(call)
    return {name: _engine_use(calls, prices.get(name)) for name, calls in by_engine.items()}


def _engine_use(calls: Sequence[Call], price: Mapping[str, float] | None) -> EngineUse:
    usages = [call.usage for call in calls if call.usage is not None]
    cached = [usage.cached.tokens for usage in usages if usage.cached is not None]
    prompt = sum(usage.prompt.tokens for usage in usages)
    completion = sum(usage.completion.tokens for usage in usages)
    return EngineUse(
        calls=len(calls),
        prompt_tokens=prompt,
        cached_prompt_tokens=sum(cached) if cached else None,
        completion_tokens=completion,
        cost_dollars=None if price is None else _cost(prompt, sum(cached), completion, price),
    )


def _cost(prompt: int, cached: int, completion: int, price: Mapping[str, float]) -> float:
    """Dollars. Cached tokens cost as much as others unless they have a price of their own."""
    full = price["prompt"]
    dollars = (prompt - cached) * full + cached * price.get("cached", full) + completion * price["completion"]
    return dollars / 1e6


def _sum_or_none(costs: Sequence[float | None], answers: int) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) / answers if known and len(known) == len(costs) and answers else None


def _front(presets: Mapping[str, PresetSummary]) -> tuple[str, ...]:
    points = {
        name: (preset.completion_tokens.value, preset.accuracy.value)
        for name, preset in presets.items()
        if preset.completion_tokens is not None and preset.accuracy is not None
    }
    names = list(points)
    return tuple(names[index] for index in pareto_front(list(points.values())))
