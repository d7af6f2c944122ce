"""Settings of the request log and of traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from contracts.config import StrictConfig
from contracts.errors import ConfigError
from contracts.secrets import read_secret, refuse_secret

SUBJECT_KEY_VARIABLE: Final = "RECOMMENDER_SUBJECT_KEY"
"""Environment variable with the key of the hash of subjects."""
_KEY_BYTES: Final = 16, 64


class RequestLogConfig(StrictConfig):
    """What is written about requests, and how much of it."""

    share: float = Field(default=1.0, ge=0, le=1)
    """Share of the plain successes that get a line; refused, failed and degraded ones always do."""
    max_lines_per_s: int = Field(default=50, ge=0)
    """Further requests within a second are only counted in the next line; 0 writes nothing at all."""
    subject: Literal["none", "hashed"] = "none"
    """Whether lines tell who asked: not at all, or as a keyed hash that only owners of the key can look up."""
    subject_key_file: Path | None = None
    """File with the key of that hash, 16 … 64 bytes; unset = that in `RECOMMENDER_SUBJECT_KEY`."""
    file: Path | None = None
    """Where lines go; unset = standard error, which Ray keeps in its log folder."""
    max_file_mb: int = Field(default=100, ge=1)
    """A larger file is moved to `<file>.1`, over the one before."""

    @model_validator(mode="after")
    def _hash_has_a_key(self) -> RequestLogConfig:
        if self.subject == "none" and self.subject_key_file is not None:
            raise ValueError("subject='none' with a subject_key_file; the key goes with subject='hashed'")
        return self

    @model_validator(mode="before")
    @classmethod
    def _no_secret(cls, values: Any) -> Any:
        refuse_secret(values, "subject_key", SUBJECT_KEY_VARIABLE)
        return values

    def subject_key(self) -> bytes | None:
        """The key of the hash of subjects; None = they are not told.

        Raises:
            ConfigError: there is none, it cannot be read, or its length is not legal.
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
    """Where spans are sent, OTLP over HTTP, for example http://collector:4318/v1/traces; unset = no traces."""
    service_name: str = Field(default="recommender", min_length=1)
    """The `service.name` of the spans."""
    sampled_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the requests that are traced; where a client's `traceparent` decides, it is asked instead."""

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not (urlsplit(value).scheme in {"http", "https"} and urlsplit(value).hostname):
            raise ValueError("not an http address; expected one such as http://collector:4318/v1/traces")
        return value
