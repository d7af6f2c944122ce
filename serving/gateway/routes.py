"""Everything besides recommendations and events: rankings, status, catalogue, personal data, the description."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from contracts.clock import Clock
from contracts.errors import (
    ConfigError,
    MethodError,
    NotFoundError,
    NotReadyError,
    RecommenderError,
    RequestError,
)
from serving.gateway.api import ItemQuery, Ready, SimilarQuery, encode
from serving.gateway.asgi import ANSWER_KEY, GatewayConfig, budget_of
from serving.gateway.bodies import Bodies
from serving.gateway.browser import Browser
from serving.gateway.catalogue import Catalogue
from serving.gateway.decoding import decode_query, decode_ranking
from serving.gateway.http import ClientGoneError, check_json, error_answer
from serving.gateway.monitor import Monitor
from serving.gateway.openapi import openapi_document
from serving.gateway.operations import OPERATIONS, decode_id, encode_id, path_of
from serving.gateway.request_ids import request_id_of
from serving.gateway.service import RecommendationService
from serving.gateway.users import Endpoint, UserDataEndpoints

_SWAGGER_PACKAGE: Final = "fastapi_offline"
_CLIENT_GONE: Final = 499
"""Nobody reads it."""
_PICTURE_HEADERS: Final = {
    "cache-control": "public, max-age=3600",
    "content-disposition": "attachment",
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
}
"""Pages may show a picture; as a document of its own, which SVG could fill with scripts, nobody opens it here."""
_DOCS_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Recommender API</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css"><link rel="icon" href="docs/assets/favicon.png"></head>
<body><div id="api"></div><script src="docs/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#api"})</script></body>
</html>"""


class _IdConvertor(Convertor[str]):
    """The ids in percent-encoded paths; see `serving.gateway.operations`."""

    regex = "[^/]*"

    def convert(self, value: str) -> str:
        try:
            return decode_id(value)
        except ValueError as error:
            raise RequestError(str(error)) from None

    def to_string(self, value: str) -> str:
        return encode_id(value)


class _Endpoints:
    """What the paths do; see `rest_application`."""

    def __init__(
        self,
        service: RecommendationService,
        catalogue: Catalogue,
        clock: Clock,
        monitor: Monitor,
        bodies: Bodies,
        browser: Browser,
    ) -> None:
        self._service = service
        self._catalogue = catalogue
        self._clock = clock
        self._monitor = monitor
        self._bodies = bodies
        self._browser = browser
        self._description = msgspec.json.encode(openapi_document())

    def by_operation(self) -> dict[str, Endpoint]:
        """By name of the operation."""
        return {
            "status": self.status,
            "ready": self.ready,
            "rank": self.rank,
            "items": self.page,
            "item": self.item,
            "similar": self.similar,
            "picture": self.picture,
        }

    async def status(self, request: Request) -> Response:
        return _json(await self._monitor.status())

    async def ready(self, request: Request) -> Response:
        if not self._monitor.ready:
            raise NotReadyError("the service is warming up; ask again in a second")
        return _json(Ready(ready=True, interactions=self._monitor.interactions_code))

    async def rank(self, request: Request) -> Response:
        scope = request.scope
        check_json(scope)
        try:
            async with self._bodies.read(scope, request.receive) as body:
                answer = await self._service.rank(decode_ranking(body), request_id_of(scope), budget_of(scope))
        except ClientGoneError:
            return Response(status_code=_CLIENT_GONE)
        scope[ANSWER_KEY] = answer
        return Response(answer.content, media_type="application/json")

    async def page(self, request: Request) -> Response:
        query = decode_query(request.scope["query_string"], ItemQuery)
        return _json(await self._browser.run(self._catalogue.page, query, self._clock.now()))

    async def item(self, request: Request) -> Response:
        return _json(self._catalogue.item(request.path_params["item_id"], self._clock.now()))

    async def similar(self, request: Request) -> Response:
        query = decode_query(request.scope["query_string"], SimilarQuery)
        item_id = request.path_params["item_id"]
        return _json(await self._browser.run(self._catalogue.similar, item_id, query.k, self._clock.now()))

    async def picture(self, request: Request) -> Response:
        path, media_type = self._catalogue.picture(request.path_params["item_id"])
        return FileResponse(path, media_type=media_type, headers=_PICTURE_HEADERS)

    async def description(self, request: Request) -> Response:
        return Response(self._description, media_type="application/json")

    async def docs(self, request: Request) -> Response:
        return HTMLResponse(_DOCS_PAGE)


def rest_application(
    service: RecommendationService,
    catalogue: Catalogue,
    users: UserDataEndpoints,
    clock: Clock,
    monitor: Monitor,
    bodies: Bodies,
    config: GatewayConfig,
) -> Starlette:
    """The application for all paths but the recommendations; it takes them percent-encoded in `scope["path"]`.

    Args:
        service: ranks given items.
        catalogue: the items.
        users: personal data.
        clock: tells now.
        monitor: knows how the service does.
        bodies: reads bodies.
        config: limits.
    """
    browser = Browser(config.max_browsing, config.browse_timeout_ms / 1000)
    endpoints = _Endpoints(service, catalogue, clock, monitor, bodies, browser)
    by_operation = endpoints.by_operation() | users.endpoints()
    register_url_convertor("id", _IdConvertor())
    application = Starlette(
        routes=[
            *(
                Route(one.path.replace("_id}", "_id:id}"), by_operation[one.name], methods=[one.method])
                for one in OPERATIONS
                if one.name in by_operation
            ),
            Route("/openapi.json", endpoints.description),
            Route("/docs", endpoints.docs),
            Mount("/docs/assets", StaticFiles(directory=swagger_folder())),
        ],
        exception_handlers={HTTPException: _refuse, RecommenderError: _refuse, Exception: _refuse},
    )
    application.router.redirect_slashes = False  # `/v1/items/` asks for an item whose id is empty
    return application


def swagger_folder() -> Path:
    """Swagger UI as a package ships it: the page works without any other host.

    Raises:
        ConfigError: the package is not installed.
    """
    package = find_spec(_SWAGGER_PACKAGE)
    if package is None or package.origin is None:
        raise ConfigError(f"the package {_SWAGGER_PACKAGE!r} is missing; install it for /docs, it carries Swagger UI")
    return Path(package.origin).parent / "static"


def _json(value: Any) -> Response:
    return Response(encode(value), media_type="application/json")


async def _refuse(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        error = _as_ours(request, error)
    status, content, headers = error_answer(error, request_id_of(request.scope).own)
    return Response(
        content, status, {key.decode(): value.decode() for key, value in headers}, media_type="application/json"
    )


def _as_ours(request: Request, error: HTTPException) -> Exception:
    path = path_of(request.scope)  # as it was sent; `request.url` is put together from the Host header
    if error.status_code == 404:
        return NotFoundError(f"no path {path!r}; see /docs for those that exist")
    if error.status_code == 405:
        allowed = sorted((error.headers or {}).get("Allow", "GET").split(", "))  # Starlette gives a set
        return MethodError(f"{request.method} {path} does not exist, use {', '.join(allowed)}", allowed=allowed)
    return error
