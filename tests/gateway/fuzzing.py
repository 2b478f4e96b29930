"""Fuzzing the gateway with schemathesis against the description that it serves.

``python -m tests.gateway.fuzzing 4000 [URL]`` makes so many bodies, sends each six times to a gateway of its own over
the fake engine or the server at URL, and says what came back.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi_checks

from taut.engines.fake import FakeEngine
from taut.gateway.wire import messages

PRESETS = ("direct", "concise", "no_thinking", "budget_forcing", "direct(low)", "direct@main(16)")
VARIANTS = (("budget_forcing", True), ("main", False), ("direct(8)", True), ("main", True), ("concise@main", False))
"""Every body is also sent to these models, streamed or not: making one costs much more than answering it."""
ANY_CASE = (
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
)
CHECKS = [*ANY_CASE, openapi_checks.negative_data_rejection, openapi_checks.unsupported_method]
EVERYTHING = [
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
]


class Fuzzed:
    """What came back, by operation and status."""

    def __init__(self, *also_fine: int) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        # A deadline of next to nothing is a client's to ask for.
        self.fine = {504, *also_fine}
        # What passes through is the upstream's to refuse.
        self.checks = [*ANY_CASE] if also_fine else CHECKS

    def __len__(self) -> int:
        return self.statuses.total()


def engine() -> FakeEngine:
    """One that answers everything at once."""
    return FakeEngine()


def load(url: str) -> Any:
    """The description that is served, with models that exist."""
    document = requests.get(f"{url}/openapi.json", timeout=10).json()
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("Request"):
            schema["properties"]["model"] = {"type": "string", "enum": [*PRESETS, "main", "main(32)"]}
    project = ProjectConfig(generation=GenerationConfig(allow_x00=True))
    return schemathesis.openapi.from_dict(document, config=SchemathesisConfig(projects=ProjectsConfig(default=project)))


def fuzz(url: str, operation: Any, examples: int, found: Fuzzed, *, is_repeatable: bool) -> None:
    """Ask so many times; raises what schemathesis finds wrong, and `AssertionError`."""
    session = requests.Session()
    cases = st.one_of(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
    )

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=is_repeatable,
        suppress_health_check=EVERYTHING,
        phases=[Phase.generate],
    )
    @given(case=cases)
    def ask(case: Any) -> None:
        reply = case.call(base_url=url, session=session, timeout=20)
        found.statuses[operation.label, reply.status_code] += 1
        case.validate_response(reply, checks=found.checks)
        check_form(operation.label, reply, found.fine)
        if isinstance(case.body, dict) and operation.label.startswith("POST"):
            ask_variants(case)

    def ask_variants(case: Any) -> None:
        for model, is_streamed in VARIANTS:
            case.body = {**case.body, "model": model, "stream": is_streamed}
            reply = case.call(base_url=url, session=session, timeout=20)
            found.statuses[operation.label, reply.status_code] += 1
            # What the body was made for holds no longer, so that whether it had to be refused is not known.
            case.validate_response(reply, checks=[*ANY_CASE])
            check_form(operation.label, reply, found.fine)

    ask()


def check_form(label: str, reply: Any, fine: Collection[int]) -> None:
    """An error is in its protocol's form, and the rest is what its content type says."""
    assert reply.status_code < 500 or reply.status_code in fine, (label, reply.status_code, reply.content[:500])
    kind = reply.headers["content-type"][0].partition(";")[0]
    if reply.status_code >= 400:
        assert kind == "application/json", (label, reply.status_code, kind)
        body = reply.json()
        is_anthropic = label.endswith(messages.PATH)
        assert isinstance(body["error"]["message"], str)
        assert body["error"]["message"]
        assert (body.get("type") == "error") == is_anthropic, body
    elif kind == "text/event-stream":
        text = reply.content.decode("utf-8")
        assert text.endswith("\n\n"), text[-80:]


def operations(url: str) -> list[Any]:
    """All of them."""
    return [found.ok() for found in load(url).get_all_operations()]


def share_of(label: str, examples: int) -> int:
    """The paths that read a body get nearly all."""
    return (
        examples * 23 // 100 if "completions" in label or label.endswith(("responses", "messages")) else examples // 75
    )


def main(examples: int, upstream: str | None = None) -> int:
    """A long run, not repeatable: it goes on after what it finds."""
    from tests.gateway.standing import threaded

    # A server may fail on what passes through to it.
    found, began, code = Fuzzed(*([502] if upstream else [])), time.monotonic(), 0
    with threaded(upstream or engine()) as gateway:
        for operation in operations(gateway.url):
            try:
                fuzz(gateway.url, operation, share_of(operation.label, examples), found, is_repeatable=False)
            except BaseException as error:  # noqa: BLE001 - all findings are wanted, and groups are no Exceptions
                code = 1
                print(operation.label, type(error).__name__, str(error)[:4000])
                for inner in getattr(error, "exceptions", ()):
                    print("   ", type(inner).__name__, str(inner)[:4000])
        gateway.check_quiet()
    for (label, status), count in sorted(found.statuses.items()):
        print(f"{label:45} {status} {count:7}")
    print(f"{len(found)} requests in {time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:3]))
