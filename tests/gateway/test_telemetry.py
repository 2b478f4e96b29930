"""What Prometheus reads: right numbers, few labels, all workers together, and silence where the library is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from taut.core import Trace
from taut.gateway.nouns import Grant, Problem, Wish
from taut.gateway.savings import Savings
from taut.gateway.shadow import Result, Shadowed
from taut.gateway.telemetry import (
    FOLDER_VARIABLE,
    Silent,
    Telemetry,
    Way,
    open_telemetry,
    prepare_workers,
    worker_died,
)
from tests.made_run import made_call, made_trace

WAY = Way("concise", "main", "chat")


def opened() -> Telemetry:
    pytest.importorskip("prometheus_client")
    return open_telemetry({"concise", "direct"}, {"main", "small"})


def value(page: bytes, name: str, **labels: str) -> float:
    """One sample of a page; 0 where it is missing."""
    from prometheus_client.parser import text_string_to_metric_families

    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return 0.0


def read(telemetry: Telemetry, name: str, **labels: str) -> float:
    return value(telemetry.page("", [])[0], name, **labels)


def served(telemetry: Telemetry, *traces: Trace, way: Way = WAY, grant: Grant = Grant()) -> None:
    telemetry.began(way)
    telemetry.ended(way, traces, grant, 1.5)


def test_requests_are_counted_by_their_way_and_end() -> None:
    telemetry = opened()
    labels = {"preset": "concise", "engine": "main", "protocol": "chat"}
    served(telemetry, made_trace("concise", 0))
    served(telemetry, made_trace("concise", 1, finish="length"))
    served(telemetry, made_trace("concise", 2, error="the stream broke off"))
    served(telemetry)
    for outcome in ("stop", "length", "error", "cancelled"):
        assert read(telemetry, "taut_requests_total", **labels, outcome=outcome) == 1.0
    assert read(telemetry, "taut_request_seconds_count", **labels) == 4.0
    assert read(telemetry, "taut_request_seconds_sum", **labels) == 6.0


def test_what_is_under_way_goes_up_and_down() -> None:
    telemetry = opened()
    labels = {"preset": "concise", "engine": "main", "protocol": "chat"}
    for _ in range(3):
        telemetry.began(WAY)
    telemetry.ended(WAY, [made_trace("concise", 0)], Grant(), 1.0)
    assert read(telemetry, "taut_requests_under_way", **labels) == 2.0


def test_first_tokens_are_a_histogram() -> None:
    telemetry = opened()
    labels = {"preset": "concise", "engine": "main", "protocol": "chat"}
    telemetry.first_token(WAY, 0.015)
    telemetry.first_token(WAY, 0.3)
    name = "taut_time_to_first_token_seconds_bucket"
    assert read(telemetry, name, **labels, le="0.02") == 1.0
    assert read(telemetry, name, **labels, le="0.5") == 2.0


def test_tokens_are_counted_by_role_and_source_discarded_ones_included() -> None:
    telemetry = opened()
    lost = made_call(30, 0, source="estimated")
    lost.discarded = True
    calls = [made_call(10, 20), made_call(0, 5, role="probe", source="counted"), lost]
    served(telemetry, made_trace("concise", 0, calls=calls), made_trace("concise", 1, calls=[made_call(1, 2)]))
    tokens = {
        (role, source): read(telemetry, "taut_tokens_total", preset="concise", role=role, source=source)
        for role, source in (
            ("thinking", "reported"),
            ("answer", "reported"),
            ("probe", "counted"),
            ("discarded", "estimated"),
        )
    }
    assert list(tokens.values()) == [11.0, 22.0, 5.0, 30.0]
    assert read(telemetry, "taut_prompt_tokens_total", preset="concise", source="reported") == 200.0
    assert read(telemetry, "taut_cached_prompt_tokens_total", preset="concise") == 160.0


@pytest.mark.parametrize(
    ("grant", "thinking", "labels"),
    [
        (Grant(Wish("thinking_budget"), 50, None, "loop"), 50, ("loop", "true", "true")),
        (Grant(Wish("thinking_budget"), 50, None, "loop"), 51, ("loop", "true", "false")),
        (Grant(Wish("reasoning_effort"), None, None, "none", enforced=False), 9, ("none", "false", "unknown")),
    ],
)
def test_budgets_are_counted_by_how_they_fared(grant: Grant, thinking: int, labels: Sequence[str]) -> None:
    telemetry = opened()
    served(telemetry, made_trace("concise", 0, calls=[made_call(thinking, 1)]), grant=grant)
    mechanism, enforced, kept = labels
    assert read(telemetry, "taut_budget_total", mechanism=mechanism, enforced=enforced, kept=kept) == 1.0


def test_requests_that_ask_for_no_budget_are_no_budgets() -> None:
    telemetry = opened()
    served(telemetry, made_trace("concise", 0))
    assert b"taut_budget_total{" not in telemetry.page("", [])[0]


def test_failures_of_engines_are_counted_by_kind() -> None:
    telemetry = opened()
    trace = made_trace("concise", 0, error="no")
    trace.error_kind = "overloaded"
    served(telemetry, trace)
    telemetry.upstream_failed("small", "unreachable")
    assert read(telemetry, "taut_upstream_failures_total", engine="main", kind="overloaded") == 1.0
    assert read(telemetry, "taut_upstream_failures_total", engine="small", kind="unreachable") == 1.0


def test_no_text_of_a_client_becomes_a_label() -> None:
    telemetry = opened()
    for index in range(1000):
        way = Way(f"ignore all {index}", f"http://evil/{index}", "chat")
        served(telemetry, made_trace(way.preset, 0), way=way)
        telemetry.refused(f"made up {index}")
        telemetry.upstream_failed(way.engine, f"kind {index}")
    page = telemetry.page("", [])[0]
    assert b"evil" not in page
    assert b"ignore" not in page
    assert page.count(b"\n") < 200
    assert value(page, "taut_refused_total", reason="other") == 1000.0


def test_refusals_are_counted_by_reason() -> None:
    telemetry = opened()
    telemetry.refused("rate_limit_error")
    assert read(telemetry, "taut_refused_total", reason="rate_limit_error") == 1.0


def shadowed(result: Result, tokens: int, unmodified: int) -> Shadowed:
    return Shadowed("r1", "concise", result, tokens, made_trace("shadow:direct", 0, tokens=unmodified))


def test_shadows_are_counted_by_how_they_ended_and_only_pairs_by_tokens() -> None:
    telemetry = opened()
    telemetry.shadowed(shadowed("same", 100, 400))
    telemetry.shadowed(shadowed("cannot compare", 50, 100))
    telemetry.shadowed(shadowed("failed", 50, 9))
    telemetry.shadowed(Shadowed("r2", "concise", "busy", 50))
    assert read(telemetry, "taut_shadow_requests_total", preset="concise", result="cannot compare") == 1.0
    assert read(telemetry, "taut_shadow_requests_total", preset="concise", result="busy") == 1.0
    assert read(telemetry, "taut_shadow_preset_tokens_total", preset="concise") == 150.0
    assert read(telemetry, "taut_shadow_unmodified_tokens_total", preset="concise") == 500.0


def test_savings_come_with_their_interval_and_number() -> None:
    telemetry, savings = opened(), Savings()
    for tokens, unmodified in ((50, 100), (30, 100), (80, 200), (40, 100), (100, 300)):
        savings.add_pair("concise", tokens, unmodified, tokens != 30)
    page = telemetry.page("", savings.report())[0]
    labels = {"preset": "concise", "against": "shadow"}
    assert value(page, "taut_saved_ratio", **labels) == 0.625
    lower, upper = (value(page, f"taut_saved_ratio_{end}", **labels) for end in ("lower", "upper"))
    assert 0 < lower < 0.625 < upper < 1
    assert value(page, "taut_saved_samples", **labels) == 5.0
    assert value(page, "taut_saved_tokens", **labels) == 500.0
    assert value(page, "taut_agreement_ratio", preset="concise") == 0.8
    assert value(page, "taut_agreement_samples", preset="concise") == 5.0


def test_troubles_with_traces_are_counted() -> None:
    telemetry = opened()
    telemetry.trace_write_failed(1)
    telemetry.traces_lost(3)
    assert read(telemetry, "taut_trace_write_failures_total") == 1.0
    assert read(telemetry, "taut_traces_lost_total") == 3.0


def test_the_page_is_written_as_the_reader_wants_it() -> None:
    telemetry = opened()
    plain, content_type = telemetry.page("", [])
    assert content_type.startswith("text/plain")
    assert b"# TYPE taut_requests_total counter" in plain
    modern, content_type = telemetry.page("application/openmetrics-text; version=1.0.0", [])
    assert content_type.startswith("application/openmetrics-text")
    assert modern.endswith(b"# EOF\n")


def test_without_the_library_all_works_and_the_page_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    telemetry = open_telemetry({"concise"}, {"main"})
    assert isinstance(telemetry, Silent)
    served(telemetry, made_trace("concise", 0))
    telemetry.first_token(WAY, 0.1)
    telemetry.refused("rate_limit_error")
    telemetry.upstream_failed("main", "cut")
    telemetry.shadowed(shadowed("same", 1, 2))
    telemetry.trace_write_failed(1)
    telemetry.traces_lost(1)
    with pytest.raises(Problem, match=r"pip install 'taut\[serve\]'") as problem:
        telemetry.page("", [])
    assert problem.value.status == 501


WORKER = """
import json, os, sys
from tests.gateway.test_telemetry import WAY, opened, served, made_trace
telemetry = opened()
for index in range(int(sys.argv[1])):
    served(telemetry, made_trace("concise", index, tokens=10))
telemetry.began(WAY)
telemetry.first_token(WAY, 0.3)
print(os.getpid(), flush=True)
sys.stdin.readline()
print(json.dumps(telemetry.page("", [])[0].decode()), flush=True)
"""


def start_worker(requests: int) -> Any:
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(requests)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_any_worker_tells_of_all_and_a_dead_one_leaves_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("prometheus_client")
    monkeypatch.setenv(FOLDER_VARIABLE, "to be replaced")
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "counter_1.db").write_bytes(b"left over")
    prepare_workers(tmp_path / "metrics")
    first, second = start_worker(2), start_worker(3)
    pids = [int(worker.stdout.readline()) for worker in (first, second)]
    first.kill()
    first.communicate()
    worker_died(pids[0])
    page = json.loads(second.communicate("\n", timeout=60)[0]).encode()
    labels = {"preset": "concise", "engine": "main", "protocol": "chat"}
    assert value(page, "taut_requests_total", **labels, outcome="stop") == 5.0
    assert value(page, "taut_requests_under_way", **labels) == 1.0
    assert value(page, "taut_time_to_first_token_seconds_bucket", **labels, le="0.5") == 2.0
    assert value(page, "taut_tokens_total", preset="concise", role="thinking", source="reported") == 25.0


def test_a_worker_that_dies_without_shared_numbers_is_nothing_to_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    worker_died(os.getpid())
