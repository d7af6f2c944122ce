"""The gateway as ASGI application."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recommender_api.operations import Needed
from serving.gateway.access.access import Access
from serving.gateway.access.pages import PageGuard
from serving.gateway.http.config import GatewayConfig
from serving.gateway.http.endpoints import Endpoint
from serving.gateway.http.routes import Route, find_route
from serving.gateway.request_ids import RequestId, request_id_of
from serving.gateway.watch.telemetry import Telemetry
from serving.gateway.wire import (
    ANSWER_KEY,
    CALLER_KEY,
    REQUEST_ID,
    TEMPLATE_KEY,
    ClientGoneError,
    error_answer,
    path_of,
    send_json,
    template_of,
)

_NO_ROUTE: Final = "none"


@dataclass(frozen=True)
class Gateway:
    """Answers every call: finds its route, checks access, calls the endpoint.

    Attributes:
        endpoints: by name of the operation.
        pages: the application of the API's description and the lifespan.
        guard: refuses calls of foreign web pages; None with access control.
        access: checks permissions; None = everybody may call everything.
        telemetry: measures and logs every answer.
    """

    endpoints: Mapping[str, Endpoint]
    pages: ASGIApp
    guard: PageGuard | None = None
    access: Access | None = None
    telemetry: Telemetry | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.pages(scope, receive, send)
            return
        started = time.perf_counter()
        path, request_id = path_of(scope), request_id_of(scope)
        route, named = find_route(scope["method"], path), (REQUEST_ID, request_id.own.encode())
        if route.there:
            scope[TEMPLATE_KEY] = route.template
        status, headers = 200, [named]
        reply: bytes | ASGIApp
        try:
            await self._let_in(scope, path, route.permission, request_id)
            reply = await self._reply(scope, receive, path, route)
            if route.operation is not None:
                status = route.operation.statuses[0]
        except ClientGoneError:
            return
        except Exception as error:
            status, reply, more = error_answer(error, request_id.own)
            headers += more
        try:
            if isinstance(reply, bytes):
                await send_json(send, status, reply, headers)
            else:
                sender = _Sender(send, named)
                status = 500  # until an answer starts
                await reply(scope, receive, sender)
                status = sender.status
        finally:
            if self.telemetry is not None:
                template, answer = template_of(scope) or _NO_ROUTE, scope.get(ANSWER_KEY)
                self.telemetry.answered(request_id.own, scope["method"], template, status, started, answer)

    async def _let_in(self, scope: Scope, path: str, permission: Needed, request_id: RequestId) -> None:
        if self.guard is not None:
            self.guard.check(scope, permission)
        if self.access is not None:
            caller = await self.access.check(scope, path, permission, request_id.own)
            if caller is not None:
                scope[CALLER_KEY] = caller.name

    async def _reply(self, scope: Scope, receive: Receive, path: str, route: Route) -> bytes | ASGIApp:
        if route.operation is not None:
            return await self.endpoints[route.operation.name](scope, receive, route.ids())
        if not route.is_page:
            route.refuse(scope["method"], path)
        scope["path"] = scope.get("root_path", "") + path  # still encoded: routes split it first
        return self.pages


class _Sender:
    """Sends an answer with the request's id and keeps its status."""

    def __init__(self, send: Send, named: tuple[bytes, bytes]) -> None:
        self._send = send
        self._named = named
        self.status = 500

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), self._named]}
        await self._send(message)


def with_cors(app: ASGIApp, config: GatewayConfig) -> ASGIApp:
    """The application with CORS for the configured origins."""
    if not config.cors_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=config.cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["authorization", "content-type", "x-api-key", "x-budget-ms", "x-request-id"],
        expose_headers=["x-request-id", "retry-after"],
    )
