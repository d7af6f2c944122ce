"""Pages that describe the API: OpenAPI, and Swagger UI without other hosts."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from contracts.errors import ConfigError
from recommender_api.shop import ShopTypes
from serving.gateway.http.openapi import openapi_document
from serving.gateway.http.routes import ASSETS, DOCS, OPENAPI, no_operation
from serving.gateway.request_ids import request_id_of
from serving.gateway.wire import error_answer, path_of

_SWAGGER_PACKAGE: Final = "fastapi_offline"
_DOCS_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Recommender API</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css"><link rel="icon" href="docs/assets/favicon.png"></head>
<body><div id="api"></div><script src="docs/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#api"})</script></body>
</html>"""


def description_pages(shop: ShopTypes) -> Starlette:
    """The application of `/docs` and `/openapi.json`; it takes paths percent-encoded in `scope["path"]`.

    Args:
        shop: the types of the shop.

    Raises:
        ConfigError: the package with Swagger UI is not installed.
    """
    document = msgspec.json.encode(openapi_document(shop))

    async def description(request: Request) -> Response:
        return Response(document, media_type="application/json")

    async def docs(request: Request) -> Response:
        return HTMLResponse(_DOCS_PAGE)

    application = Starlette(
        routes=[
            Route(OPENAPI, description),
            Route(DOCS, docs),
            Mount(ASSETS, StaticFiles(directory=swagger_folder())),
        ],
        exception_handlers={HTTPException: _refuse, Exception: _refuse},
    )
    application.router.redirect_slashes = False
    return application


def swagger_folder() -> Path:
    """Folder of Swagger UI in its package, so that the page needs no other host.

    Raises:
        ConfigError: the package is not installed.
    """
    package = find_spec(_SWAGGER_PACKAGE)
    if package is None or package.origin is None:
        raise ConfigError(f"the package {_SWAGGER_PACKAGE!r} is missing; install it for {DOCS}, it carries Swagger UI")
    return Path(package.origin).parent / "static"


async def _refuse(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        error = _as_ours(request, error)
    status, content, headers = error_answer(error, request_id_of(request.scope).own)
    return Response(
        content, status, {key.decode(): value.decode() for key, value in headers}, media_type="application/json"
    )


def _as_ours(request: Request, error: HTTPException) -> Exception:
    path = path_of(request.scope)  # as sent; `request.url` would depend on the Host header
    if error.status_code == 404:
        return no_operation(request.method, path, ())
    if error.status_code == 405:
        return no_operation(request.method, path, (error.headers or {}).get("Allow", "GET").split(", "))
    return error
