"""The exception tree. Each class has an HTTP status and a stable code that clients may rely on.

Messages say what was got, what was expected, and the fix or the legal values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class RecommenderError(Exception):
    """Base of every error that this project raises on purpose."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class ConfigError(RecommenderError):
    """A config file or override has an unknown key, a wrong value or an impossible combination."""

    code = "invalid_config"


class DataError(RecommenderError):
    """Input tables cannot be used. Nothing is written."""

    code = "invalid_data"


class SchemaError(DataError):
    """A table lacks a column or has one of a wrong type; the message names file, column and value."""

    code = "invalid_schema"


class BundleError(RecommenderError):
    """An artifact bundle is missing, damaged, or does not fit."""

    code = "invalid_bundle"


class TrainingError(RecommenderError):
    """A loss, weight or metric is not finite. Training stops and no model is written."""

    code = "training_diverged"


class RegistryError(RecommenderError):
    """The registry has no such entry, or was changed concurrently."""

    code = "registry_conflict"


class StoreError(RecommenderError):
    """A store did not answer, or its answer cannot be used. Recommendations degrade."""

    code = "store_unavailable"
    http_status = 503


class StoreFullError(StoreError):
    """The store answers reads but has no room for writes."""

    code = "store_full"


class StoreReadOnlyError(StoreError):
    """The store answers reads but takes no writes: it is a replica, or a primary with too few replicas."""

    code = "store_read_only"


class StoreAccessError(StoreError):
    """The store refuses the credentials, or the user may not use the command."""

    code = "store_access_denied"


class RequestError(RecommenderError):
    """The client's request is at fault."""

    code = "invalid_request"
    http_status = 422


class MalformedError(RequestError):
    """The request's body is not JSON."""

    code = "malformed_json"
    http_status = 400


class UnauthenticatedError(RequestError):
    """The caller is unknown."""

    code = "unauthenticated"
    http_status = 401


class ForbiddenError(RequestError):
    """The caller is known and may not do this."""

    code = "forbidden"
    http_status = 403


class PageError(ForbiddenError):
    """A web page may have sent the call: its host or origin is not in the config."""

    code = "unknown_host"


class NotFoundError(RequestError):
    """The named thing does not exist."""

    code = "not_found"
    http_status = 404


class MethodError(RequestError):
    """The path exists, but not with this method; `allowed` lists the methods."""

    code = "method_not_allowed"
    http_status = 405

    def __init__(self, message: str, *, allowed: Sequence[str]) -> None:
        super().__init__(message, allowed=allowed)
        self.allowed = allowed


class BodyTooLargeError(RequestError):
    """The request's body is above the limit."""

    code = "body_too_large"
    http_status = 413


class SlowBodyError(RequestError):
    """The request's body did not arrive in time."""

    code = "body_timeout"
    http_status = 408


class MediaTypeError(RequestError):
    """The request's body is not declared as JSON."""

    code = "unsupported_media_type"
    http_status = 415


class OverloadedError(RecommenderError):
    """Too many requests wait; try again after `retry_after_s`."""

    code = "overloaded"
    http_status = 429


class KeysUnavailableError(RecommenderError):
    """The keys that verify tokens are not available at the moment."""

    code = "keys_unavailable"
    http_status = 503


class SlowBrowseError(RecommenderError):
    """The search of the catalogue took too long; a narrower query may be fast enough."""

    code = "browse_timeout"
    http_status = 503


class AuditError(RecommenderError):
    """The audit log cannot be written, so the call is refused."""

    code = "audit_unavailable"
    http_status = 503


class NotReadyError(RecommenderError):
    """No bundle is loaded yet, or not the requested version."""

    code = "not_ready"
    http_status = 503


class StageError(RecommenderError):
    """A stage failed or was late, and its policy is `fail`."""

    code = "stage_failed"
    http_status = 503


class AllRefusedError(RequestError):
    """No event was accepted; `refused` in the details gives the reason for each."""

    code = "all_refused"


class TooManyEventsError(RequestError):
    """All events were above the quota of their visitor, caller or address; try again after `retry_after_s`."""

    code = "too_many"
    http_status = 429
