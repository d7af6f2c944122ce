"""The gateway as ASGI application: recommendations and events by hand, they are many; the rest through Starlette."""

from __future__ import annotations

import re
import time
from typing import Final

from pydantic import Field, field_validator, model_validator
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.config import StrictConfig
from contracts.errors import MethodError, RequestError
from serving.gateway.access import Access
from serving.gateway.api import MAX_BODY_BYTES
from serving.gateway.bodies import Bodies
from serving.gateway.clients import OWN_PROXIES, ClientAddress, Networks
from serving.gateway.decoding import decode_request
from serving.gateway.http import (
    REQUEST_ID,
    ClientGoneError,
    check_json,
    error_answer,
    header,
    send_json,
)
from serving.gateway.interactions import InteractionService
from serving.gateway.operations import INTERACTIONS_PATH, RECOMMENDATIONS_PATH, path_of
from serving.gateway.pages import LOOPBACK_HOSTS, PageGuard, split_host
from serving.gateway.quotas import Sender, countable
from serving.gateway.request_ids import RequestId, request_id_of
from serving.gateway.service import Answer, RecommendationService
from serving.gateway.telemetry import Telemetry
from serving.gateway.tracing import TracingConfig

CALLER_KEY: Final = "recommender.caller"
"""Where the rest finds the name of whoever calls, for the audit log; absent where everybody may call."""
ANSWER_KEY: Final = "recommender.answer"
"""Where an `Answer` is left in the scope, for log and traces."""
MAX_BUDGET_MS: Final = 60_000
HOT_PATHS: Final = (RECOMMENDATIONS_PATH, INTERACTIONS_PATH)
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


class Gateway:
    """Answers `POST /v1/recommendations` and `POST /v1/interactions` and hands every other path on.

    Args:
        service: answers recommendation requests.
        interactions: takes events.
        rest: the application for all other paths and the lifespan.
        config: limits.
        bodies: reads bodies.
        address: tells where calls are from.
        access: who may call what; None = everybody everything.
        telemetry: told about every answer.
    """

    def __init__(
        self,
        service: RecommendationService,
        interactions: InteractionService,
        rest: ASGIApp,
        config: GatewayConfig,
        bodies: Bodies,
        address: ClientAddress,
        access: Access | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._service = service
        self._interactions = interactions
        self._rest = rest
        self._bodies = bodies
        self._address = address
        self._access = access
        self._guard = PageGuard(config.hosts, config.cors_origins) if access is None else None
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        started = time.perf_counter()
        path = path_of(scope)
        request_id = request_id_of(scope)
        answer, content, status = None, None, 200
        try:
            if self._guard is not None:
                self._guard.check(scope, path)
            if self._access is not None:
                caller = await self._access.check(scope, path, request_id.own)
                if caller is not None:
                    scope[CALLER_KEY] = caller.name
            if path == RECOMMENDATIONS_PATH:
                answer = scope[ANSWER_KEY] = await self._recommend(scope, receive, request_id)
                content = answer.content
            elif path == INTERACTIONS_PATH:
                content = await self._record(scope, receive)
                status = 202
        except ClientGoneError:
            return
        except Exception as error:
            status, content, headers = error_answer(error, request_id.own)
            await send_json(send, status, content, [_named(request_id), *headers])
        else:
            if content is None:
                scope["path"] = scope.get("root_path", "") + path  # routes split it before it is decoded
                await self._pass_on(scope, receive, send, request_id, started)
                return
            await send_json(send, status, content, [_named(request_id)])
        if self._telemetry is not None:
            route = path if path in HOT_PATHS else _NO_ROUTE
            self._telemetry.answered(request_id.own, scope["method"], route, status, started, answer)

    async def _recommend(self, scope: Scope, receive: Receive, request_id: RequestId) -> Answer:
        _check_posted(scope, RECOMMENDATIONS_PATH)
        async with self._bodies.read(scope, receive) as body:
            return await self._service.recommend(decode_request(body), request_id, budget_of(scope))

    async def _record(self, scope: Scope, receive: Receive) -> bytes:
        _check_posted(scope, INTERACTIONS_PATH)
        async with self._bodies.read(scope, receive) as body:
            address = countable(self._address(scope), self._address.is_proxy)
            return await self._interactions.record(body, Sender(scope.get(CALLER_KEY), address))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, request_id: RequestId, started: float) -> None:
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), _named(request_id)]}
            await send(message)

        try:
            await self._rest(scope, receive, send_with_id)
        finally:
            if self._telemetry is not None:
                route = getattr(scope.get("route"), "path_format", _NO_ROUTE)  # a template, never an id of somebody
                self._telemetry.answered(request_id.own, scope["method"], route, status, started, scope.get(ANSWER_KEY))


def _check_posted(scope: Scope, path: str) -> None:
    if scope["method"] != "POST":
        raise MethodError(f"{scope['method']} {path} does not exist, use POST", allowed=["POST"])
    check_json(scope)


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


def _named(request_id: RequestId) -> tuple[bytes, bytes]:
    """The header that tells the id."""
    return REQUEST_ID, request_id.own.encode()


def budget_of(scope: Scope) -> float | None:
    """The client's X-Budget-Ms, None without one.

    Raises:
        RequestError: it is no whole number of milliseconds within the limits.
    """
    given = header(scope, b"x-budget-ms")
    if given is None:
        return None
    if not given.isdigit() or len(given) > 9 or not 1 <= int(given) <= MAX_BUDGET_MS:
        raise RequestError(
            f"X-Budget-Ms is {given[:20].decode('latin-1')!r}, expected whole milliseconds from 1 to {MAX_BUDGET_MS}"
        )
    return float(given)
