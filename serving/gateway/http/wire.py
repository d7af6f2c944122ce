"""Plain ASGI helpers: reading headers, writing JSON, and the one shape of errors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from starlette.types import Scope, Send

from contracts.errors import MediaTypeError, MethodError, RecommenderError
from recommender_api.answers import ErrorBody, ErrorResponse, encode

MAX_MESSAGE_CHARS: Final = 1_000
_log = logging.getLogger(__name__)
REQUEST_ID: Final = b"x-request-id"
CALLER_KEY: Final = "recommender.caller"
"""Where the name of whoever calls is left in the scope, for the audit log; absent where everybody may call."""
ANSWER_KEY: Final = "recommender.answer"
"""Where an `Answer` is left in the scope, for log and traces."""
TEMPLATE_KEY: Final = "recommender.template"
"""Where the template of an operation's path is left in the scope, for log, metrics and traces."""
_JSON = (b"content-type", b"application/json")
Headers = Sequence[tuple[bytes, bytes]]


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete; nobody is there to answer."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """A request header by its lower-case name."""
    return next((value for key, value in scope["headers"] if key == name), None)


def path_of(scope: Scope) -> str:
    """The path of a request below where the application is mounted, percent-encoded as it was sent."""
    raw = scope.get("raw_path")
    path = quote(scope["path"]) if raw is None else raw.decode("latin-1")
    return str(path.removeprefix(scope.get("root_path", "")))


def template_of(scope: Scope) -> str | None:
    """The template of an answered call's path, never an id of somebody; None for a path that does not exist."""
    template: str | None = scope.get(TEMPLATE_KEY) or getattr(scope.get("route"), "path_format", None)
    return template


def check_json(scope: Scope) -> None:
    """Refuses a body that is not declared as JSON, which no web page can send without asking first.

    Raises:
        MediaTypeError: no content type, or one other than application/json.
    """
    content_type = header(scope, b"content-type") or b""
    if content_type.split(b";")[0].strip().lower() != b"application/json":
        raise MediaTypeError(f"content type is {content_type[:100].decode('latin-1')!r}, expected application/json")


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
        headers.append((b"allow", b", ".join(method.encode() for method in error.allowed)))
    return error.http_status, error_body(error.code, error.message, error.details), headers


def error_body(code: str, message: str, details: dict[str, Any] | None = None) -> bytes:
    """The one shape of errors; a message that quotes a client's endless input is cut."""
    if len(message) > MAX_MESSAGE_CHARS:
        message = message[:MAX_MESSAGE_CHARS] + "…"
    return encode(ErrorResponse(ErrorBody(code, message, details or {})))
