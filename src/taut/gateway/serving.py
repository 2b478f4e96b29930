"""One request from its first byte to its last, whatever protocol it came in: who, what, how, and the bill."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
import uuid
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import msgspec
from aiohttp import web

from taut.core import Engine
from taut.gateway.access import check_model, check_request
from taut.gateway.answering import Job
from taut.gateway.books import Books
from taut.gateway.bounds import check_duplicates, check_limits, with_ceiling
from taut.gateway.budget import PASSABLE, grant, with_effort, with_wish
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
from taut.gateway.wire._fields import boolean, read_model, read_options, refuse_for_presets
from taut.gateway.wishes import SUFFIX, read_wish, split_suffix
from taut.run import leasable

LONGEST_WAIT_S = 3600.0
"""That a client is ever told to wait, whatever an upstream says."""
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
        limit, patience_s = self.settings.limits.body_mb, self.settings.slow_reader_s
        try:
            async with asyncio.timeout(patience_s):
                return await request.read()
        except TimeoutError:
            raise Problem(f"the body did not come within {patience_s:g} s", status=408) from None
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
        check_model(key, choice.name)
        if options.preset is not None:
            check_model(key, split_suffix(name, efforts)[0])
        wish, taken = read_wish(document, choice.suffix, efforts=efforts)
        check_limits(document, limits)
        check_duplicates(body)
        stream = boolean(document, "stream") or False
        may_pass = choice.is_plain and protocol_of(wire) in PASSABLE and can_forward(choice.engine)
        may_pass = may_pass and not options.receipt and options.preset is None and not wish.exclude
        deadline_s = min((s for s in (options.deadline_s, limits.deadline_s) if s is not None), default=None)
        understood = Plan(request_id, wire, document, body, choice, Grant(wish), stream, limits, deadline_s)
        has_nothing_to_limit = not choice.engine.dialect.thinks and "prefill" in choice.engine.offers
        if may_pass and not wish.field and (limits.max_thinking_tokens is None or has_nothing_to_limit):
            return understood
        # The catalog knows which brackets are a suffix, and which belong to a model's name.
        ask: Ask = dataclasses.replace(wire.read(document, efforts=efforts), wish=wish)
        ask = with_ceiling(ask, limits)
        granted, preset = grant(ask, choice, self.settings, limits)
        understood = dataclasses.replace(understood, granted=granted)
        if may_pass and granted.enforced is False:
            return understood
        refuse_for_presets(ask)
        ask = with_wish(ask, taken) if granted.mechanism == "passed on" else with_effort(ask, choice.engine)
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
        engine, body, is_assembled = plan.choice.engine, passed_body(plan), is_to_be_assembled(plan)
        return Relaying(Passage(plan.id, engine, path, body, error_event, patience, is_assembled), entry)


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
    return hasattr(engine, "forward") or leasable(engine) is not None


def passed_body(plan: Plan) -> bytes:
    """What is sent on: the client's own bytes, unless the model has another name there or a ceiling is missing.

    Then too every other value is the client's own, byte for byte.
    """
    changes = changes_of(plan)
    if not changes and "taut" not in plan.document:
        return plan.body
    values = msgspec.json.decode(plan.body, type=dict[str, msgspec.Raw])
    values.pop("taut", None)
    return msgspec.json.encode({**values, **changes})


def is_to_be_assembled(plan: Plan) -> bool:
    """A reply in one piece from a server that would go on when the client leaves."""
    return not plan.stream and not getattr(plan.choice.engine, "hears_leaving", True)


def changes_of(plan: Plan) -> dict[str, Any]:
    """What has to change in a request that passes through."""
    model, ceiling, wish = plan.choice.engine.model, plan.limits.max_tokens, plan.granted.wish
    changes: dict[str, Any] = {} if plan.document.get("model") == model else {"model": model}
    if is_to_be_assembled(plan):
        changes |= {"stream": True, "stream_options": {"include_usage": True}}
    # A ceiling of null is none, and on the older route the newer name means nothing.
    names = ("max_tokens", "max_completion_tokens") if plan.protocol == "chat" else ("max_tokens",)
    if ceiling is not None and all(plan.document.get(name) is None for name in names):
        server = getattr(plan.choice.engine, "server", None)
        changes[getattr(server, "max_tokens_field", names[0]) if plan.protocol == "chat" else names[0]] = ceiling
    if wish.field == SUFFIX and wish.effort is not None:
        changes["reasoning_effort"] = wish.effort
    return changes


def refuse(problem: Problem, wire: Wire, request_id: str) -> web.Response:
    """The problem as a reply of its own."""
    extra = {"x-request-id": request_id}
    if problem.retry_after_s is not None:
        extra["Retry-After"] = str(max(1, math.ceil(min(problem.retry_after_s, LONGEST_WAIT_S))))
    if problem.status == 504:
        # The official clients would ask twice more, and pay for what has just taken too long.
        extra["x-should-retry"] = "false"
    if problem.status == 401:
        extra["WWW-Authenticate"] = 'Bearer realm="taut"'
    body = msgspec.json.encode(wire.problem(problem))
    return web.Response(status=problem.status, body=body, content_type="application/json", headers=extra)
