"""Plain ASGI helpers: reading a bounded body, writing JSON, and the one shape of errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from contracts.errors import BodyTooLargeError, MediaTypeError, MethodError, RecommenderError, SlowBodyError
from serving.gateway.api import ErrorBody, ErrorResponse, encode

MAX_MESSAGE_CHARS: Final = 1_000
BODY_TIMEOUT_S: Final = 10.0
"""Longest that a request's body may take to arrive; clients that stall hold no place for longer."""
_log = logging.getLogger(__name__)
REQUEST_ID: Final = b"x-request-id"
_JSON = (b"content-type", b"application/json")
Headers = Sequence[tuple[bytes, bytes]]


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete; nobody is there to answer."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """A request header by its lower-case name."""
    return next((value for key, value in scope["headers"] if key == name), None)


def check_json(scope: Scope) -> None:
    """Refuses a body that is declared as something else than JSON.

    Raises:
        MediaTypeError: a content type other than application/json.
    """
    content_type = header(scope, b"content-type")
    if content_type is not None and content_type.split(b";")[0].strip().lower() != b"application/json":
        raise MediaTypeError(f"content type is {content_type.decode('latin-1')!r}, expected application/json")


async def read_body(scope: Scope, receive: Receive, limit: int, timeout_s: float = BODY_TIMEOUT_S) -> bytes:
    """The body of a request, refused as soon as it is known to be too large or does not arrive in time.

    Raises:
        BodyTooLargeError: more than `limit` bytes.
        SlowBodyError: it is not there after `timeout_s`.
        ClientGoneError: the client left.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _read(scope, receive, limit)
    except TimeoutError:
        raise SlowBodyError(f"the body did not arrive within {timeout_s:g} s") from None


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes:
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise BodyTooLargeError(f"the body has {int(declared)} bytes, at most {limit} are taken")
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLargeError(f"the body has more than the {limit} bytes that are taken")
        if not message.get("more_body", False):
            return bytes(body)


async def send_json(send: Send, status: int, content: bytes, headers: Headers = ()) -> None:
    """A whole JSON answer."""
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": content})


def error_answer(error: Exception, request_id: str) -> tuple[int, bytes, Headers]:
    """Status, body and headers for an error; what is not ours is logged and told without details."""
    headers: list[tuple[bytes, bytes]] = []
    if not isinstance(error, RecommenderError):
        _log.error("request %s failed", request_id, exc_info=error)
        return 500, error_body("internal_error", f"request {request_id} could not be answered"), headers
    if "retry_after_s" in error.details:
        headers.append((b"retry-after", str(error.details["retry_after_s"]).encode()))
    if error.http_status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodError):
        headers.append((b"allow", b", ".join(method.encode() for method in error.details["allowed"])))
    return error.http_status, error_body(error.code, error.message, error.details), headers


def error_body(code: str, message: str, details: dict[str, Any] | None = None) -> bytes:
    """The one shape of errors; a message that quotes a client's endless input is cut."""
    if len(message) > MAX_MESSAGE_CHARS:
        message = message[:MAX_MESSAGE_CHARS] + "…"
    return encode(ErrorResponse(ErrorBody(code, message, details or {})))
