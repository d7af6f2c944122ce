"""Settings of the request log and of traces."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from contracts.config import StrictConfig
from contracts.errors import ConfigError
from contracts.secrets import read_secret, refuse_secret

SUBJECT_KEY_VARIABLE: Final = "RECOMMENDER_SUBJECT_KEY"
"""Environment variable with the key of the hash of subjects."""
_KEY_BYTES: Final = 16, 64


class RequestLogConfig(StrictConfig):
    """Content and amount of the request log."""

    share: float = Field(default=1.0, ge=0, le=1)
    """Share of successful requests with a line; refused, failed and degraded ones always have one."""
    max_lines_per_s: int = Field(default=50, ge=0)
    """Further requests within a second are only counted in the next line; 0 = no log."""
    subject: Literal["none", "hashed"] = "none"
    """Whether lines name the subject: not at all, or as a keyed hash that only owners of the key can look up."""
    subject_key_file: Path | None = None
    """File with the key of that hash, 16 … 64 bytes; unset = that in `RECOMMENDER_SUBJECT_KEY`."""
    file: Path | None = None
    """File of the log; unset = standard error, which Ray keeps in its log folder."""
    max_file_mb: int = Field(default=100, ge=1)
    """A larger file is moved to `<file>.1`, which it replaces."""

    @model_validator(mode="after")
    def _hash_has_a_key(self) -> RequestLogConfig:
        if self.subject == "none" and self.subject_key_file is not None:
            raise ValueError("subject='none' with a subject_key_file; the key goes with subject='hashed'")
        return self

    @model_validator(mode="before")
    @classmethod
    def _no_secret(cls, values: object) -> object:
        refuse_secret(values, "subject_key", SUBJECT_KEY_VARIABLE)
        return values

    def subject_key(self) -> bytes | None:
        """The key of the hash of subjects; None = subjects are not logged.

        Raises:
            ConfigError: the key is missing, cannot be read, or has an illegal length.
        """
        if self.subject == "none":
            return None
        key = (read_secret(self.subject_key_file, SUBJECT_KEY_VARIABLE) or "").encode()
        if not _KEY_BYTES[0] <= len(key) <= _KEY_BYTES[1]:
            raise ConfigError(
                f"request_log.subject='hashed' with a key of {len(key)} bytes, expected {_KEY_BYTES[0]} … "
                f"{_KEY_BYTES[1]}; write it into a file and set subject_key_file, or set {SUBJECT_KEY_VARIABLE} in the "
                "environment of the process that starts Ray"
            )
        return key


class TracingConfig(StrictConfig):
    """OpenTelemetry traces; they need the extra `otel`."""

    endpoint: str | None = None
    """Address for spans, OTLP over HTTP, for example http://collector:4318/v1/traces; unset = no traces."""
    service_name: str = Field(default="recommender", min_length=1)
    """The `service.name` of the spans."""
    sampled_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the requests that are traced, unless a client's `traceparent` decides."""

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not (urlsplit(value).scheme in {"http", "https"} and urlsplit(value).hostname):
            raise ValueError("not an http address; expected one such as http://collector:4318/v1/traces")
        return value
