"""Whether requests are traced, and where to. While they are not, nothing that traces is imported or runs."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator
from starlette.types import ASGIApp

from contracts.config import StrictConfig
from contracts.errors import ConfigError


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


def with_traces(app: ASGIApp, config: TracingConfig) -> ASGIApp:
    """The application with a span for each request, or itself where no endpoint is set.

    Raises:
        ConfigError: an endpoint is set and the extra is not installed.
    """
    if config.endpoint is None:
        return app
    try:
        from serving.gateway.watch.spans import TracedApp, exporting
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"gateway.tracing.endpoint is set and {error.name!r} is missing; install multistage-recommender[otel]"
        ) from error
    return TracedApp(app, exporting(config))
