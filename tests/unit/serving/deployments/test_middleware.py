"""What Serve is told to leave out."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve._private.http_util import parse_disconnect_disabled_header, parse_request_timeout_header
from starlette.types import Receive, Scope, Send

from serving.deployments.middleware import middlewares


async def headers_behind(path: str) -> dict[bytes, bytes]:
    seen: dict[bytes, bytes] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope["headers"])

    async def nothing(*_: Any) -> Any:
        return None

    (middleware,) = middlewares()
    wrapped = middleware.cls(app, *middleware.args, **middleware.kwargs)
    await wrapped({"type": "http", "path": path, "headers": [(b"host", b"shop")]}, nothing, nothing)
    return seen


async def test_recommendations_are_not_watched() -> None:
    headers = await headers_behind("/v1/recommendations")
    assert headers[b"host"] == b"shop"
    assert parse_disconnect_disabled_header(headers)
    assert parse_request_timeout_header(headers, 30.0) is None


@pytest.mark.parametrize("path", ["/v1/rankings", "/docs"])
async def test_everything_else_is(path: str) -> None:
    headers = await headers_behind(path)
    assert not parse_disconnect_disabled_header(headers)
    assert parse_request_timeout_header(headers, 30.0) == 30.0
