"""The one exception tree. Each class maps to an HTTP status and a stable code that clients may rely on.

A message says what was got, what was expected, and the fix or the legal values.
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
    """Input tables cannot be used: nothing is written."""

    code = "invalid_data"


class SchemaError(DataError):
    """A table lacks a column or has one of a wrong type; names file, column and value."""

    code = "invalid_schema"


class BundleError(RecommenderError):
    """An artifact bundle is missing, damaged, or made for something else."""

    code = "invalid_bundle"


class TrainingError(RecommenderError):
    """Training cannot go on: a loss, weight or metric is not finite. No model is written."""

    code = "training_diverged"


class RegistryError(RecommenderError):
    """The registry has no such entry, or somebody else changed it at the same time."""

    code = "registry_conflict"


class StoreError(RecommenderError):
    """A store did not answer, or answered something that cannot be used. The answer degrades."""

    code = "store_unavailable"
    http_status = 503


class StoreFullError(StoreError):
    """The store answers reads and has no room for what is to be written."""

    code = "store_full"


class StoreReadOnlyError(StoreError):
    """The store answers reads and takes no writes: a replica, or a primary without enough of them."""

    code = "store_read_only"


class StoreAccessError(StoreError):
    """The store refuses the credentials, or does not allow this user the command."""

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
    """Nobody can tell who calls."""

    code = "unauthenticated"
    http_status = 401


class ForbiddenError(RequestError):
    """The caller is known and may not do this."""

    code = "forbidden"
    http_status = 403


class PageError(ForbiddenError):
    """A web page may have sent the call: its host or its origin is none that the config names."""

    code = "unknown_host"


class NotFoundError(RequestError):
    """The named thing does not exist."""

    code = "not_found"
    http_status = 404


class MethodError(RequestError):
    """The path exists, the method does not; `allowed` lists those that do."""

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
    """The request's body does not arrive."""

    code = "body_timeout"
    http_status = 408


class MediaTypeError(RequestError):
    """The request's body is not declared as JSON."""

    code = "unsupported_media_type"
    http_status = 415


class OverloadedError(RecommenderError):
    """More requests wait than the gateway may hold; try again after `retry_after_s`."""

    code = "overloaded"
    http_status = 429


class KeysUnavailableError(RecommenderError):
    """The keys that tokens are signed with cannot be had at the moment."""

    code = "keys_unavailable"
    http_status = 503


class SlowBrowseError(RecommenderError):
    """The catalogue could not be searched in time; a more special question may be."""

    code = "browse_timeout"
    http_status = 503


class AuditError(RecommenderError):
    """The audit log takes no lines, so what it would tell of is not done."""

    code = "audit_unavailable"
    http_status = 503


class NotReadyError(RecommenderError):
    """No bundle is loaded yet, or the asked version is not."""

    code = "not_ready"
    http_status = 503


class StageError(RecommenderError):
    """A stage failed or came too late, and its policy is to fail rather than to be replaced."""

    code = "stage_failed"
    http_status = 503


class AllRefusedError(RequestError):
    """Not one of the events was accepted; `refused` in the details says why, one by one."""

    code = "all_refused"


class TooManyEventsError(RequestError):
    """Every event was one too many of its visitor, caller or address; try again after `retry_after_s`."""

    code = "too_many"
    http_status = 429
