"""The telemetry that Prometheus reads; names and units follow its habits and those of the model servers."""

from __future__ import annotations

import importlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

from taut.core import Trace
from taut.gateway import receipt
from taut.gateway.nouns import Grant
from taut.gateway.savings import Estimate, Line
from taut.gateway.shadow import Shadowed
from taut.gateway.telemetry import FAILURES, FOLDER_VARIABLE, OTHER, REASONS, Way

FIRST_TOKEN_BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
REQUEST_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
WAY = ("preset", "engine", "protocol")


class Prometheus:
    """Implements `taut.gateway.telemetry.Telemetry`. Make it in the worker, not before a fork.

    Raises `ImportError` where prometheus-client is missing.
    """

    def __init__(self, presets: Collection[str], engines: Collection[str]) -> None:
        self._library: Any = importlib.import_module("prometheus_client")
        # A second series for every counter, which tells when it was made.
        self._library.disable_created_metrics()
        self._presets, self._engines = frozenset(presets), frozenset(engines)
        self._registry = self._library.CollectorRegistry()
        self._are_shared = FOLDER_VARIABLE in os.environ
        if not self._are_shared:
            self._library.ProcessCollector(registry=self._registry)
        self._define_requests()
        self._define_beside()

    def _define_requests(self) -> None:
        self._under_way = self._gauge("taut_requests_under_way", "Requests under way.", WAY)
        self._requests = self._counter("taut_requests_total", "Requests that are over.", (*WAY, "outcome"))
        self._seconds = self._histogram(
            "taut_request_seconds", "From a request to the end of its reply.", REQUEST_BUCKETS_S
        )
        self._first_token = self._histogram(
            "taut_time_to_first_token_seconds", "From a request to the first piece of its reply.", FIRST_TOKEN_BUCKETS_S
        )
        self._tokens = self._counter(
            "taut_tokens_total",
            "Completion tokens by what they were spent on and where the count comes from.",
            ("preset", "role", "source"),
        )
        self._prompt = self._counter("taut_prompt_tokens_total", "Prompt tokens.", ("preset", "source"))
        self._cached = self._counter(
            "taut_cached_prompt_tokens_total", "Prompt tokens served from the engine's prefix cache.", ("preset",)
        )
        self._budgets = self._counter(
            "taut_budget_total",
            "Requests with a thinking budget, asked for or in force.",
            ("mechanism", "enforced", "kept"),
        )

    def _define_beside(self) -> None:
        self._refused = self._counter("taut_refused_total", "Requests that were not let in.", ("reason",))
        self._failures = self._counter("taut_upstream_failures_total", "Failures of engines.", ("engine", "kind"))
        self._shadows = self._counter(
            "taut_shadow_requests_total",
            "Requests whose unmodified form was to run too, by how that ended.",
            ("preset", "result"),
        )
        self._paired = self._counter(
            "taut_shadow_preset_tokens_total", "Completion tokens of requests that ran in both forms.", ("preset",)
        )
        self._unmodified = self._counter(
            "taut_shadow_unmodified_tokens_total", "Completion tokens of their unmodified forms.", ("preset",)
        )
        self._write_failures = self._counter("taut_trace_write_failures_total", "Writes of traces that failed.", ())
        self._lost = self._counter("taut_traces_lost_total", "Traces that were given up.", ())

    def began(self, way: Way) -> None:
        """See `taut.gateway.telemetry.Telemetry`, also below."""
        self._under_way.labels(*self._labels(way)).inc()

    def first_token(self, way: Way, seconds: float) -> None:
        """The first piece left."""
        self._first_token.labels(*self._labels(way)).observe(seconds)

    def ended(self, way: Way, traces: Sequence[Trace], grant: Grant, seconds: float) -> None:
        """A request is over."""
        labels = self._labels(way)
        self._under_way.labels(*labels).dec()
        self._seconds.labels(*labels).observe(seconds)
        self._requests.labels(*labels, _outcome(traces)).inc()
        for trace in traces:
            self._count_tokens(labels[0], trace)
            if trace.error is not None:
                self.upstream_failed(way.engine, trace.error_kind or OTHER)
        if grant.budget_tokens is not None or grant.wish.field:
            self._count_budget(traces, grant)

    def refused(self, code: str) -> None:
        """A request was not let in."""
        self._refused.labels(_known(code, REASONS)).inc()

    def upstream_failed(self, engine: str, kind: str) -> None:
        """A call to an engine failed."""
        self._failures.labels(_known(engine, self._engines), _known(kind, FAILURES)).inc()

    def shadowed(self, shadowed: Shadowed) -> None:
        """An unmodified run is over, or was dropped."""
        preset = _known(shadowed.preset, self._presets)
        self._shadows.labels(preset, shadowed.result).inc()
        if shadowed.is_pair:
            self._paired.labels(preset).inc(shadowed.tokens)
            self._unmodified.labels(preset).inc(shadowed.unmodified_tokens)

    def trace_write_failed(self, count: int) -> None:
        """Writes of traces failed."""
        self._write_failures.inc(count)

    def traces_lost(self, count: int) -> None:
        """Traces were given up."""
        self._lost.inc(count)

    def page(self, accept: str, savings: Sequence[Line]) -> tuple[bytes, str]:
        """The body of ``/metrics``, of all workers, and its content type."""
        registry = self._registry
        if self._are_shared:
            registry = self._library.CollectorRegistry()
            importlib.import_module("prometheus_client.multiprocess").MultiProcessCollector(registry)
        encode, content_type = self._library.exposition.choose_encoder(accept)
        gauges = _savings_gauges([line for line in savings if line["preset"] in self._presets])
        return encode(_Together((registry, gauges))), str(content_type)

    def _count_tokens(self, preset: str, trace: Trace) -> None:
        for role, tally in trace.tokens_by_role().items():
            for source in ("reported", "counted", "estimated"):
                if tokens := getattr(tally, source):
                    self._tokens.labels(preset, role, source).inc(tokens)
        for call in trace.calls:
            if call.usage is None:
                continue
            self._prompt.labels(preset, call.usage.prompt.source).inc(call.usage.prompt.tokens)
            if call.usage.cached is not None:
                self._cached.labels(preset).inc(call.usage.cached.tokens)

    def _count_budget(self, traces: Sequence[Trace], grant: Grant) -> None:
        words = {True: "true", False: "false", None: "unknown"}
        kept, enforced = words[receipt.is_kept(grant, traces)], words[receipt.is_enforced(grant, traces)]
        self._budgets.labels(receipt.mechanism(grant, traces), enforced, kept).inc()

    def _labels(self, way: Way) -> tuple[str, str, str]:
        return _known(way.preset, self._presets), _known(way.engine, self._engines), way.protocol

    def _counter(self, name: str, help_text: str, labels: tuple[str, ...]) -> Any:
        return self._library.Counter(name, help_text, labels, registry=self._registry)

    def _gauge(self, name: str, help_text: str, labels: tuple[str, ...]) -> Any:
        # Over several workers: the sum over those that live.
        return self._library.Gauge(name, help_text, labels, registry=self._registry, multiprocess_mode="livesum")

    def _histogram(self, name: str, help_text: str, buckets_s: tuple[float, ...]) -> Any:
        return self._library.Histogram(name, help_text, WAY, registry=self._registry, buckets=buckets_s)


class _Collector(Protocol):
    def collect(self) -> Iterable[Any]: ...


class _Together:
    """Several collectors as one, which is all that the library's writers ask for."""

    def __init__(self, collectors: Iterable[_Collector]) -> None:
        self._collectors = tuple(collectors)

    def collect(self) -> Iterator[Any]:
        for collector in self._collectors:
            yield from collector.collect()


class _Found:
    def __init__(self, families: Sequence[Any]) -> None:
        self._families = families

    def collect(self) -> Sequence[Any]:
        return self._families


def _savings_gauges(lines: Sequence[Line]) -> _Found:
    """Gauges of what is worked out when somebody looks: they belong to all workers together."""
    family = importlib.import_module("prometheus_client.core").GaugeMetricFamily
    saved, agreement = ("preset", "against"), ("preset",)
    families = {
        name: family(name, help_text, labels=labels)
        for name, help_text, labels in (
            ("taut_saved_ratio", "Share of the unmodified completion tokens that was saved.", saved),
            ("taut_saved_ratio_lower", "Lower end of its 95 % interval.", saved),
            ("taut_saved_ratio_upper", "Upper end of its 95 % interval.", saved),
            ("taut_saved_samples", "Pairs, or requests, behind it.", saved),
            ("taut_saved_tokens", "Completion tokens saved by these; negative where more were spent.", saved),
            ("taut_agreement_ratio", "Share of the pairs that can be compared whose answers agree.", agreement),
            ("taut_agreement_ratio_lower", "Lower end of its 95 % interval.", agreement),
            ("taut_agreement_ratio_upper", "Upper end of its 95 % interval.", agreement),
            ("taut_agreement_samples", "Pairs behind it.", agreement),
        )
    }
    for line in lines:
        labels = [line["preset"], line["against"]]
        _add_estimate(families, "taut_saved", labels, line["saved"], line["n"])
        families["taut_saved_tokens"].add_metric(labels, line["tokens_saved"])
        if line["agreement"] is not None:
            _add_estimate(families, "taut_agreement", labels[:1], line["agreement"], line["agreement_n"])
    return _Found([family for family in families.values() if family.samples])


def _add_estimate(families: dict[str, Any], name: str, labels: list[str], estimate: Estimate, n: int) -> None:
    values = (("", estimate["value"]), ("_lower", estimate["low"]), ("_upper", estimate["high"]))
    for ending, value in values:
        if value is not None:
            families[f"{name}_ratio{ending}"].add_metric(labels, value)
    families[f"{name}_samples"].add_metric(labels, n)


def _outcome(traces: Sequence[Trace]) -> str:
    """The worst end of the candidates; a request that left no trace was cancelled."""
    if any(trace.error is not None or trace.finish == "error" for trace in traces):
        return "error"
    if not traces or any(trace.finish in (None, "cancelled") for trace in traces):
        return "cancelled"
    return "length" if any(trace.finish == "length" for trace in traces) else "stop"


def _known(name: str, names: Collection[str]) -> str:
    return name if name in names else OTHER
