"""ASGI helpers: read headers, write JSON and errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from starlette.types import Scope, Send

from contracts.errors import MediaTypeError, MethodError, RecommenderError
from recommender_api.answers import ErrorBody, ErrorResponse, encode

MAX_MESSAGE_CHARS: Final = 1_000
_log = logging.getLogger(__name__)
REQUEST_ID: Final = b"x-request-id"
CALLER_KEY: Final = "recommender.caller"
"""Key in the scope of the caller's name, for the audit log; absent without access control."""
ANSWER_KEY: Final = "recommender.answer"
"""Key in the scope of an `Answer`, for log and traces."""
TEMPLATE_KEY: Final = "recommender.template"
"""Key in the scope of the template of an operation's path, for log, metrics and traces."""
_JSON = (b"content-type", b"application/json")
Headers = Sequence[tuple[bytes, bytes]]


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """A request header by its lower-case name."""
    return next((value for key, value in scope["headers"] if key == name), None)


def path_of(scope: Scope) -> str:
    """The path of a request below the mount point of the application, percent-encoded as sent."""
    raw = scope.get("raw_path")
    path = quote(scope["path"]) if raw is None else raw.decode("latin-1")
    return str(path.removeprefix(scope.get("root_path", "")))


def template_of(scope: Scope) -> str | None:
    """The template of a path, without ids; None for a path that does not exist."""
    template: str | None = scope.get(TEMPLATE_KEY) or getattr(scope.get("route"), "path_format", None)
    return template


def check_json(scope: Scope) -> None:
    """Refuses a body that is not declared as JSON; web pages cannot send JSON without a CORS preflight.

    Raises:
        MediaTypeError: the content type is not application/json.
    """
    content_type = header(scope, b"content-type") or b""
    if content_type.split(b";")[0].strip().lower() != b"application/json":
        raise MediaTypeError(f"content type is {content_type[:100].decode('latin-1')!r}, expected application/json")


async def send_json(send: Send, status: int, content: bytes, headers: Headers = ()) -> None:
    """Sends a JSON answer."""
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": content})


def error_answer(error: Exception, request_id: str) -> tuple[int, bytes, Headers]:
    """Status, body and headers for an error; unexpected errors are logged and answered without details."""
    headers: list[tuple[bytes, bytes]] = []
    if not isinstance(error, RecommenderError):
        _log.error("request %s failed", request_id, exc_info=error)
        return 500, error_body("internal_error", f"request {request_id} could not be answered"), headers
    if "retry_after_s" in error.details:
        headers.append((b"retry-after", str(error.details["retry_after_s"]).encode()))
    if error.http_status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodError):
        headers.append((b"allow", b", ".join(method.encode() for method in error.allowed)))
    return error.http_status, error_body(error.code, error.message, error.details), headers


def error_body(code: str, message: str, details: Mapping[str, object] | None = None) -> bytes:
    """The body of an error; cuts long messages, which may quote input of the client."""
    if len(message) > MAX_MESSAGE_CHARS:
        message = message[:MAX_MESSAGE_CHARS] + "…"
    return encode(ErrorResponse(ErrorBody(code, message, dict(details or {}))))
