"""The gateway as ASGI application: recommendations and events by hand, they are many; the rest through Starlette."""

from __future__ import annotations

import re
import time
from typing import Final

from pydantic import Field, field_validator
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.config import StrictConfig
from contracts.errors import MethodError, RequestError
from serving.gateway.access import Access
from serving.gateway.api import MAX_BODY_BYTES
from serving.gateway.decoding import decode_request
from serving.gateway.http import (
    REQUEST_ID,
    ClientGoneError,
    check_json,
    error_answer,
    header,
    read_body,
    send_json,
)
from serving.gateway.interactions import InteractionService
from serving.gateway.operations import INTERACTIONS_PATH, RECOMMENDATIONS_PATH, path_of
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
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may call the API from a browser, for example https://shop.example; none by default."""
    tracing: TracingConfig = TracingConfig()
    """OpenTelemetry traces; off by default."""

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
        access: who may call what; None = everybody everything.
        telemetry: told about every answer.
    """

    def __init__(
        self,
        service: RecommendationService,
        interactions: InteractionService,
        rest: ASGIApp,
        config: GatewayConfig,
        access: Access | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._service = service
        self._interactions = interactions
        self._rest = rest
        self._config = config
        self._access = access
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
        request = decode_request(await self._posted(scope, receive, RECOMMENDATIONS_PATH))
        return await self._service.recommend(request, request_id, budget_of(scope))

    async def _record(self, scope: Scope, receive: Receive) -> bytes:
        return await self._interactions.record(await self._posted(scope, receive, INTERACTIONS_PATH))

    async def _posted(self, scope: Scope, receive: Receive, path: str) -> bytes:
        if scope["method"] != "POST":
            raise MethodError(f"{scope['method']} {path} does not exist, use POST", allowed=["POST"])
        check_json(scope)
        return await read_body(scope, receive, self._config.max_body_bytes)

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
