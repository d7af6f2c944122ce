"""Everything besides recommendations: status, catalogue, pictures and the API's description."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from contracts.clock import Clock
from contracts.errors import ConfigError, NotFoundError, NotReadyError, RecommenderError
from serving.gateway.api import Ready, decode_query, encode
from serving.gateway.asgi import request_id_of
from serving.gateway.catalogue import ITEMS_PATH, Catalogue
from serving.gateway.http import MethodError, error_answer
from serving.gateway.monitor import Monitor
from serving.gateway.openapi import openapi_document

_SWAGGER_PACKAGE: Final = "fastapi_offline"
_DOCS_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Recommender API</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css"><link rel="icon" href="docs/assets/favicon.png"></head>
<body><div id="api"></div><script src="docs/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#api"})</script></body>
</html>"""


def rest_application(catalogue: Catalogue, clock: Clock, monitor: Monitor) -> Starlette:
    """The application for all paths but the recommendations.

    Args:
        catalogue: the items.
        clock: tells now.
        monitor: knows how the service does.
    """

    async def show_status(request: Request) -> Response:
        return _json(await monitor.status())

    async def show_ready(request: Request) -> Response:
        if not monitor.ready:
            raise NotReadyError("the service is warming up; ask again in a second")
        return _json(Ready(ready=True))

    async def show_page(request: Request) -> Response:
        return _json(catalogue.page(decode_query(dict(request.query_params)), clock.now()))

    async def show_item(request: Request) -> Response:
        return _json(catalogue.item(request.path_params["item_id"], clock.now()))

    async def show_picture(request: Request) -> Response:
        path, media_type = catalogue.picture(request.path_params["item_id"])
        return FileResponse(path, media_type=media_type, headers={"cache-control": "public, max-age=3600"})

    description = msgspec.json.encode(openapi_document())

    async def show_description(request: Request) -> Response:
        return Response(description, media_type="application/json")

    async def show_docs(request: Request) -> Response:
        return HTMLResponse(_DOCS_PAGE)

    return Starlette(
        routes=[
            Route("/v1/status", show_status),
            Route("/v1/ready", show_ready),
            Route(ITEMS_PATH, show_page),
            Route(ITEMS_PATH + "/{item_id:path}/image", show_picture),
            Route(ITEMS_PATH + "/{item_id:path}", show_item),
            Route("/openapi.json", show_description),
            Route("/docs", show_docs),
            Mount("/docs/assets", StaticFiles(directory=swagger_folder())),
        ],
        exception_handlers={HTTPException: _refuse, RecommenderError: _refuse, Exception: _refuse},
    )


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
    status, content, headers = error_answer(error, request_id_of(request.scope))
    return Response(
        content, status, {key.decode(): value.decode() for key, value in headers}, media_type="application/json"
    )


def _as_ours(request: Request, error: HTTPException) -> Exception:
    if error.status_code == 404:
        return NotFoundError(f"no path {request.url.path!r}; see /docs for those that exist")
    if error.status_code == 405:
        allowed = sorted((error.headers or {}).get("Allow", "GET").split(", "))  # Starlette gives a set
        return MethodError(
            f"{request.method} {request.url.path} does not exist, use {', '.join(allowed)}", allowed=allowed
        )
    return error
