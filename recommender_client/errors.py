"""What can go wrong, by what the caller can do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from recommender_api.answers import ErrorResponse


class ApiError(Exception):
    """Base of all errors of the client.

    Attributes:
        code: stable name of what is wrong, from the answer.
        details: values that belong to it, for example the legal ones.
        status: HTTP status; None without an answer.
        request_id: finds the request in the service's logs.
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
    """The request is at fault; sending it again does not help."""


class UnauthenticatedError(ApiError):
    """No credential, or one that is not valid (401)."""


class ForbiddenError(ApiError):
    """The credential lacks the permission (403)."""


class NotFoundError(ApiError):
    """The named thing does not exist (404)."""


class OverloadedError(ApiError):
    """Too many requests wait, and they did so on every attempt (429)."""


class UnavailableError(ApiError):
    """The service could not answer, on any attempt (5xx)."""


class NoConnectionError(ApiError):
    """No answer came: no connection, or not in time."""


class BadAnswerError(ApiError):
    """An answer came that this client cannot read: it or a proxy speaks another language."""


_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    429: OverloadedError,
}


def error_of(status: int, content: bytes, request_id: str | None) -> ApiError:
    """The error that an answer stands for."""
    kind = _BY_STATUS.get(status, UnavailableError if status >= 500 else RefusedError)
    try:
        body = msgspec.json.decode(content, type=ErrorResponse).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = f"status {status} without the API's error body; a proxy may have answered"
        return kind(text, code="unknown", status=status, request_id=request_id)
    return kind(body.message, code=body.code, status=status, request_id=request_id, details=body.details)
