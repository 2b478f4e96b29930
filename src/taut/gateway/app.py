"""The routes, and what holds for all of them: errors in the right form, hosts and keys, an orderly end."""

from __future__ import annotations

import asyncio
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from taut.errors import one_line
from taut.gateway.access import challenge, check_request, cors_headers
from taut.gateway.keys import Keyring
from taut.gateway.nouns import Problem
from taut.gateway.openapi import description
from taut.gateway.serving import Serving, refuse
from taut.gateway.settings import Settings
from taut.gateway.siblings import Siblings
from taut.gateway.wire import chat, completions, messages, responses

WIRES: tuple[ModuleType, ...] = (chat, completions, responses, messages)
MB = 1_000_000
ID_PREFIXES = ("chatcmpl-", "cmpl-", "resp_", "msg_")
"""Of the ids in replies."""
SERVING: web.AppKey[Serving] = web.AppKey("serving", Serving)


def build_app(serving: Serving, keyring: Keyring, siblings: Siblings) -> web.Application:
    """The gateway as an aiohttp application; the live page and `/metrics` are added by whoever has them."""
    body_bytes = int(serving.settings.limits.body_mb * MB)
    app = web.Application(client_max_size=body_bytes, middlewares=[_cross_origin(serving.settings), orderly])
    app[SERVING] = serving
    app.on_response_prepare.append(_adding_cors(serving.settings))
    for wire in WIRES:
        for path in (wire.PATH, wire.PATH.removeprefix("/v1")):
            app.router.add_post(path, _answering(serving, wire))
    for path in ("/v1/models", "/models"):
        app.router.add_get(path, _models(serving, keyring))
    app.router.add_get("/v1/models/{name:.+}", _model(serving, keyring))
    app.router.add_get("/health", _health)
    app.router.add_get("/openapi.json", _openapi(serving, keyring))
    app.router.add_post("/v1/requests/{id}/answer_now", _answer_now(serving, keyring, siblings))
    return app


def _cross_origin(settings: Settings) -> Middleware:
    """Lets pages of ``allow_origins`` call from a browser; a preflight has no key, so it is answered first."""

    @web.middleware
    async def cross_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
        allowed = cors_headers(request.headers, settings)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers and allowed:
            return web.Response(status=204, headers=allowed)
        return await handler(request)

    return cross_origin


def _adding_cors(settings: Settings) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Before the headers go out, streamed or not."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(cors_headers(request.headers, settings))

    return add


@web.middleware
async def orderly(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure becomes a reply in the protocol's form; a fault of Taut itself is told to the operator only."""
    wire = _wire_of(request.path)
    try:
        return await handler(request)
    except Problem as problem:
        response = refuse(problem, wire, uuid.uuid4().hex)
        response.headers.update(challenge(problem, request.path))
        return response
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return refuse(_problem_of(error, request), wire, uuid.uuid4().hex)
    except (asyncio.CancelledError, ConnectionResetError):
        raise
    except Exception as error:  # noqa: BLE001 - the last resort: a client never sees a traceback
        return refuse(_own_fault(error), wire, uuid.uuid4().hex)


def _wire_of(path: str) -> ModuleType:
    found = (wire for wire in WIRES if path.rstrip("/").endswith(wire.PATH.removeprefix("/v1")))
    return next(found, messages if path.startswith("/v1/messages") else chat)


def _problem_of(error: web.HTTPException, request: web.Request) -> Problem:
    if error.status == 404:
        return Problem(f"there is nothing at {request.path!r}", status=404, code="not_found_error")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return Problem(f"{request.path} does not take {request.method}, only {allowed}", status=405)
    return Problem(one_line(error), status=error.status)


def _own_fault(error: Exception) -> Problem:
    place = traceback.extract_tb(error.__traceback__)[-1]
    number = uuid.uuid4().hex[:8]
    # The text of the error may hold a prompt: it stays here, and out of the log as well.
    where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
    sys.stderr.write(f"taut: fault {number} in Taut itself: {type(error).__name__} at {where}\n")
    return Problem(f"a fault in Taut itself, number {number} in its log", status=500, code="server_error")


def _answering(serving: Serving, wire: ModuleType) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await serving.handle(request, wire)

    return handle


def _models(serving: Serving, keyring: Keyring) -> Handler:
    async def models(request: web.Request) -> web.Response:
        key = check_request(request, keyring, serving.settings)
        listed = serving.catalog.models()
        return json({"object": "list", "data": [one for one in listed if key is None or key.allows(one["id"])]})

    return models


def _model(serving: Serving, keyring: Keyring) -> Handler:
    async def model(request: web.Request) -> web.Response:
        check_request(request, keyring, serving.settings)
        name = request.match_info["name"]
        found = [entry for entry in serving.catalog.models() if entry["id"] == name]
        if not found:
            serving.catalog.choose(name)
            found = [{"id": name, "object": "model", "created": 0, "owned_by": "taut"}]
        return json(found[0])

    return model


async def _health(request: web.Request) -> web.Response:
    """For load balancers, without a key: 503 as soon as a shutdown has begun."""
    serving = request.app[SERVING]
    if serving.is_draining:
        return json({"status": "draining"}, status=503)
    return json({"status": "ok"})


def _openapi(serving: Serving, keyring: Keyring) -> Handler:
    async def openapi(request: web.Request) -> web.Response:
        check_request(request, keyring, serving.settings)
        return json(description(serving.settings, has_keys=len(keyring) > 0))

    return openapi


def _answer_now(serving: Serving, keyring: Keyring, siblings: Siblings) -> Handler:
    async def answer_now(request: web.Request) -> web.Response:
        key = check_request(request, keyring, serving.settings)
        name = _bare(request.match_info["id"])
        owner = None if key is None or key.admin else key.name
        if not await siblings.answer_now(name, owner):
            raise Problem(
                "no such request of yours is under way, or its thinking cannot be ended early",
                status=404,
                code="not_found_error",
            )
        return json({"id": name, "answer_now": True})

    return answer_now


def json(document: Any, status: int = 200) -> web.Response:
    """A JSON reply."""
    return web.Response(body=msgspec.json.encode(document), status=status, content_type="application/json")


def _bare(name: str) -> str:
    """A request's id without a protocol's prefix: clients hold it with one."""
    return next((name.removeprefix(prefix) for prefix in ID_PREFIXES if name.startswith(prefix)), name)
