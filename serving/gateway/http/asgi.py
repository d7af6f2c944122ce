"""The gateway as ASGI application."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import Field, field_validator, model_validator
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.config import StrictConfig
from recommender_api.operations import Needed
from recommender_api.requests import MAX_BODY_BYTES
from serving.gateway.access.access import Access
from serving.gateway.access.pages import LOOPBACK_HOSTS, PageGuard, split_host
from serving.gateway.http.clients import OWN_PROXIES, Networks
from serving.gateway.http.endpoints import Endpoint
from serving.gateway.http.request_ids import RequestId, request_id_of
from serving.gateway.http.routes import Route, find_route
from serving.gateway.http.wire import (
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
from serving.gateway.watch.telemetry import Telemetry
from serving.gateway.watch.tracing import TracingConfig

_NO_ROUTE: Final = "none"


class GatewayConfig(StrictConfig):
    """Limits of the HTTP side."""

    max_body_bytes: int = Field(default=MAX_BODY_BYTES, ge=1_024)
    """Larger bodies are refused with 413; the default takes every request that the API's fields allow, so a shop with
    short ids can lower it."""
    max_held_body_mb: int = Field(default=64, ge=1)
    """Megabytes of bodies that are read or answered at once, without the first 16 KB of each; a request whose body
    would be too much is refused with 429."""
    max_browsing: int = Field(default=16, ge=1)
    """Searches, pages and similar items that may wait for one another: one thread computes them; more are refused with
    429."""
    browse_timeout_ms: float = Field(default=1_000, gt=0)
    """Longest that one of them may wait and compute; then it is refused with 503."""
    hosts: tuple[str, ...] = LOOPBACK_HOSTS
    """Names and addresses that the service is called by, each with a port or for all ports. Where `access.auth` is
    `none`, everything but the catalogue wants one of them in the Host header, so that web pages cannot call under a
    name that leads here."""
    proxies: Networks = OWN_PROXIES
    """Addresses and networks of proxies, each of which adds the address of whoever calls it at the end of
    X-Forwarded-For. From anybody else that header counts for nothing. Loopback, where the server's own HAProxy calls
    from, is always among them; name those in front of it, and the cluster's other machines."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may call the API from a browser, for example https://shop.example; none by default."""
    tracing: TracingConfig = TracingConfig()
    """OpenTelemetry traces; off by default."""

    @model_validator(mode="after")
    def _a_body_can_be_held(self) -> GatewayConfig:
        if self.max_held_body_mb * 2**20 < self.max_body_bytes:
            raise ValueError(
                f"max_held_body_mb={self.max_held_body_mb} is below max_body_bytes={self.max_body_bytes}; "
                "raise the one or lower the other"
            )
        return self

    @field_validator("hosts")
    @classmethod
    def _hosts_are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if host.count(":") < 2 and split_host(host) is None:
                raise ValueError(f"{host!r} is no host; expected a name or an address, such as shop.internal:8000")
        return value

    @field_validator("proxies")
    @classmethod
    def _own_ones_stay(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*OWN_PROXIES, *value)))

    @field_validator("cors_origins")
    @classmethod
    def _no_wildcard(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/*]+", origin):
                raise ValueError(f"{origin!r} is no origin; expected scheme and host, such as https://shop.example")
        return value


@dataclass(frozen=True)
class Gateway:
    """Answers every call: finds its route, lets the caller in, asks the endpoint.

    Attributes:
        endpoints: by name of the operation.
        pages: the application of the API's description and the lifespan.
        guard: refuses what web pages may have sent; None where callers say who they are.
        access: who may call what; None = everybody everything.
        telemetry: told about every answer.
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
                status = 500  # until it has begun
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
        scope["path"] = scope.get("root_path", "") + path  # routes split it before it is decoded
        return self.pages


class _Sender:
    """Sends an answer with the request's id, and notes its status."""

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
    """The application, open to the web pages that the config names."""
    if not config.cors_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=config.cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["authorization", "content-type", "x-api-key", "x-budget-ms", "x-request-id"],
        expose_headers=["x-request-id", "retry-after"],
    )
