"""Errors, by what the caller can do about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from recommender_api.answers import ErrorResponse


class ApiError(Exception):
    """Base of all errors of this client.

    Attributes:
        code: stable name of the error, from the answer.
        details: further values, for example the legal ones.
        status: HTTP status; None without an answer.
        request_id: identifies the request in the service's logs.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int | None = None,
        request_id: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.request_id = request_id
        self.details = details or {}


class RefusedError(ApiError):
    """The request is wrong; retries do not help."""


class UnauthenticatedError(ApiError):
    """The credential is missing or not valid (401)."""


class ForbiddenError(ApiError):
    """The credential lacks the permission (403)."""


class NotFoundError(ApiError):
    """The named thing does not exist (404)."""


class OverloadedError(ApiError):
    """The service was overloaded on every attempt (429)."""


class UnavailableError(ApiError):
    """The service could not answer on any attempt (5xx)."""


class NoConnectionError(ApiError):
    """No answer: the connection failed or timed out."""


class BadAnswerError(ApiError):
    """The answer cannot be read; it may come from another version or from a proxy."""


_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    429: OverloadedError,
}


def error_of(status: int, content: bytes, request_id: str | None) -> ApiError:
    """Builds the error for an answer."""
    kind = _BY_STATUS.get(status, UnavailableError if status >= 500 else RefusedError)
    try:
        body = msgspec.json.decode(content, type=ErrorResponse).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = f"status {status} without the API's error body; a proxy may have answered"
        return kind(text, code="unknown", status=status, request_id=request_id)
    return kind(body.message, code=body.code, status=status, request_id=request_id, details=body.details)
