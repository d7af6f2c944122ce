"""What Serve is told to leave out, and what it adds and must not."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve._private.http_util import (
    _apply_middlewares,
    parse_disconnect_disabled_header,
    parse_request_timeout_header,
)
from starlette.types import Message, Receive, Scope, Send

from serving.deployments.middleware import middlewares


async def headers_behind(path: str) -> dict[bytes, bytes]:
    seen: dict[bytes, bytes] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope["headers"])

    async def nothing(*_: Any) -> Any:
        return None

    wrapped = _apply_middlewares(app, middlewares())
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


@pytest.mark.parametrize("headers", [[], [(b"x-request-id", b"visit-17.5f")]])
async def test_the_id_that_the_gateway_tells_is_the_only_one(headers: list[tuple[bytes, bytes]]) -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"1"), *headers, (b"b", b"2")]})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/v1/status", "headers": [(b"x-request-id", b"visit-17")]}
    await _apply_middlewares(app, middlewares())(scope, receive, send)
    found = [(name.lower(), value) for name, value in sent[0]["headers"]]
    assert sorted(found) == sorted([(b"a", b"1"), (b"b", b"2"), *(headers or [(b"x-request-id", b"visit-17")])])
