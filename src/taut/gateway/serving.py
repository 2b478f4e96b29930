"""One request from its first byte to its last, whatever protocol it came in: who, what, how, and the bill."""

from __future__ import annotations

import dataclasses
import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import msgspec
from aiohttp import web

from taut.core import Engine
from taut.gateway.access import check_model, check_request
from taut.gateway.answering import Job
from taut.gateway.books import Books
from taut.gateway.budget import grant, with_effort
from taut.gateway.catalog import Catalog, Choice
from taut.gateway.entry import Entry
from taut.gateway.keys import Key, Keyring
from taut.gateway.ledger import Admission, Ledger
from taut.gateway.nouns import Ask, Grant, Head, Problem, ProtocolName, Spent
from taut.gateway.outlet import Outlet
from taut.gateway.passing import NAME as PASS_THROUGH
from taut.gateway.passing import Patience
from taut.gateway.receipt import headers
from taut.gateway.relaying import Passage, Relaying
from taut.gateway.replying import SHUTTING_DOWN, Replying
from taut.gateway.settings import Limits, Settings
from taut.gateway.wire._events import failure
from taut.gateway.wire._fields import read_model, read_options, refuse_for_presets
from taut.gateway.wishes import read_wish, split_suffix
from taut.run import Replicated

PASSABLE = ("chat", "completions")
"""Protocols that engines speak themselves."""
Wire = ModuleType
"""A file of `taut.gateway.wire`."""
Exchange = Replying | Relaying


@dataclass(frozen=True, slots=True)
class Plan:
    """A request, understood: what answers it, and under which budget."""

    id: str
    wire: Wire
    document: dict[str, Any]
    body: bytes
    choice: Choice
    granted: Grant
    stream: bool
    limits: Limits
    deadline_s: float | None = None
    ask: Ask | None = None
    """``None`` for a request that passes through."""
    job: Job | None = None

    @property
    def preset_name(self) -> str:
        """As shown and counted."""
        return self.choice.preset.name if self.job else PASS_THROUGH

    @property
    def protocol(self) -> ProtocolName:
        """The wire's."""
        return protocol_of(self.wire)


class Serving:
    """What one worker process needs to answer requests."""

    def __init__(self, settings: Settings, catalog: Catalog, keyring: Keyring, ledger: Ledger, books: Books) -> None:
        self.settings = settings
        self.catalog = catalog
        self.is_draining = False
        """A shutdown has begun: nobody is let in any more."""
        self._keyring = keyring
        self._ledger = ledger
        self._books = books
        self._running: set[Exchange] = set()

    def __len__(self) -> int:
        """Replies under way."""
        return len(self._running)

    async def handle(self, request: web.Request, wire: Wire) -> web.StreamResponse:
        """Answer one request of the protocol ``wire``. A `Problem` is answered in the protocol's own form."""
        request_id = uuid.uuid4().hex
        try:
            if self.is_draining:
                raise SHUTTING_DOWN
            key = check_request(request, self._keyring, self.settings)
            with self._ledger.admit(key) as admission:
                plan = self._plan(request_id, wire, await self._body(request), key)
                return await self._serve(request, plan, key, admission)
        except Problem as problem:
            self._books.refused(problem)
            return refuse(problem, wire, request_id)

    def interrupt_all(self) -> None:
        """End every reply under way, in its own protocol."""
        for exchange in list(self._running):
            exchange.interrupt(SHUTTING_DOWN)

    async def _body(self, request: web.Request) -> bytes:
        limit = self.settings.limits.body_mb
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise Problem(f"the body has more than {limit} MB, which is the limit here", status=413) from None
        except (web.RequestPayloadError, ValueError):
            raise Problem("the body could not be read: it is broken off or wrongly encoded") from None

    def _plan(self, request_id: str, wire: Wire, body: bytes, key: Key | None) -> Plan:
        document = decode(body)
        limits = self.settings.limits if key is None else key.lower(self.settings.limits)
        efforts = self.settings.effort
        name = read_model(document)
        options = read_options(document)
        choice = self.catalog.choose(name, options.preset)
        check_model(key, split_suffix(name, efforts)[0] if options.preset is None else options.preset)
        wish, _ = read_wish(document, choice.suffix, efforts=efforts)
        check_limits(document, limits)
        stream = document.get("stream") is True
        may_pass = choice.is_plain and protocol_of(wire) in PASSABLE and can_forward(choice.engine)
        may_pass = may_pass and not options.receipt and options.preset is None and not wish.exclude
        deadline_s = min((s for s in (options.deadline_s, limits.deadline_s) if s is not None), default=None)
        understood = Plan(request_id, wire, document, body, choice, Grant(wish), stream, limits, deadline_s)
        if may_pass and not wish.field and limits.max_thinking_tokens is None:
            return understood
        ask: Ask = wire.read(document, efforts=efforts)
        ask = with_ceiling(ask, limits)
        granted, preset = grant(ask, choice, self.settings, limits)
        understood = dataclasses.replace(understood, granted=granted)
        if may_pass and granted.mechanism == "passed on":
            return understood
        refuse_for_presets(ask)
        ask = with_effort(ask, choice.engine)
        job = Job(request_id, ask, choice, granted, preset, deadline_s)
        return dataclasses.replace(understood, ask=ask, job=job, stream=ask.stream)

    async def _serve(
        self, request: web.Request, plan: Plan, key: Key | None, admission: Admission
    ) -> web.StreamResponse:
        entry = self._books.began(plan, key)
        exchange = self._exchange(plan, entry)
        self._running.add(exchange)
        told = headers(plan.id, plan.preset_name, plan.choice.engine_name, plan.granted)
        try:
            if not plan.stream:
                return await exchange.whole(told)
            with Outlet(request, "text/event-stream", told, self.settings.slow_reader_s) as outlet:
                return await exchange.stream(outlet, self.settings.keep_alive_s)
        except ConnectionResetError:
            # The client has gone while we were writing to it; there is nobody to answer.
            return web.Response(status=499)
        finally:
            self._running.discard(exchange)
            self._books.ended(plan, exchange, entry, key, admission)

    def _exchange(self, plan: Plan, entry: Entry) -> Exchange:
        if plan.job is not None and plan.ask is not None:
            head = Head(plan.id, int(time.time()), str(plan.document.get("model")))
            return Replying(plan.job, plan.wire.Writer(head, plan.ask), entry)
        settings = self.settings
        patience = Patience(settings.upstream_timeout_s, settings.upstream_idle_s, plan.deadline_s)
        path = plan.wire.PATH.removeprefix("/v1")
        return Relaying(Passage(plan.id, plan.choice.engine, path, passed_body(plan), error_event, patience), entry)


def error_event(problem: Problem) -> bytes:
    """A problem as the last event of a stream that passes through."""
    return failure(problem, Spent(), {})


def protocol_of(wire: Wire) -> ProtocolName:
    """A protocol is called like its file."""
    return cast(ProtocolName, wire.__name__.rpartition(".")[2])


def decode(body: bytes) -> dict[str, Any]:
    """The body as an object. Raises `Problem`."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise Problem("the body is nested too deep") from None
    if not isinstance(document, dict):
        raise Problem(f"the body must be a JSON object, it is {type(document).__name__}")
    return document


def can_forward(engine: Engine) -> bool:
    """The engine is a server to which a request can be sent as it is."""
    return hasattr(engine, "forward") or isinstance(engine, Replicated)


def check_limits(document: Mapping[str, Any], limits: Limits) -> None:
    """Refuse what is too much, before anything is paid for. Raises `Problem` naming the field."""
    messages = document.get("messages", document.get("input"))
    if isinstance(messages, list) and len(messages) > limits.messages:
        raise Problem(f"{len(messages)} messages are too many: the limit here is {limits.messages}", param="messages")
    candidates = document.get("n")
    if isinstance(candidates, int) and candidates > limits.n:
        raise Problem(f"n is {candidates}: the limit here is {limits.n}", param="n")
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        tokens = document.get(name)
        if limits.max_tokens is not None and isinstance(tokens, int) and tokens > limits.max_tokens:
            raise Problem(f"{name} is {tokens}: the limit here is {limits.max_tokens}", param=name)


def with_ceiling(ask: Ask, limits: Limits) -> Ask:
    """The request with the operator's ceiling where it gives none of its own."""
    if ask.sampling.max_tokens is not None or limits.max_tokens is None:
        return ask
    return dataclasses.replace(ask, sampling=dataclasses.replace(ask.sampling, max_tokens=limits.max_tokens))


def passed_body(plan: Plan) -> bytes:
    """What is sent on: the client's own bytes, unless the model has another name there or a ceiling is missing."""
    model, ceiling = plan.choice.engine.model, plan.limits.max_tokens
    changes: dict[str, Any] = {} if plan.document.get("model") == model else {"model": model}
    if ceiling is not None and not {"max_tokens", "max_completion_tokens"} & plan.document.keys():
        changes["max_tokens"] = ceiling
    if not changes and "taut" not in plan.document:
        return plan.body
    document = {key: value for key, value in plan.document.items() if key != "taut"}
    return msgspec.json.encode(document | changes)


def refuse(problem: Problem, wire: Wire, request_id: str) -> web.Response:
    """The problem as a reply of its own."""
    extra = {"x-request-id": request_id}
    if problem.retry_after_s is not None:
        extra["Retry-After"] = str(max(1, math.ceil(problem.retry_after_s)))
    if problem.status == 504:
        # The official clients would ask twice more, and pay for what has just taken too long.
        extra["x-should-retry"] = "false"
    if problem.status == 401:
        extra["WWW-Authenticate"] = 'Bearer realm="taut"'
    body = msgspec.json.encode(wire.problem(problem))
    return web.Response(status=problem.status, body=body, content_type="application/json", headers=extra)
