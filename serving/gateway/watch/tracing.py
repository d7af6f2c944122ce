"""Switches traces on; without them no tracing library is imported."""

from __future__ import annotations

from starlette.types import ASGIApp

from contracts.errors import ConfigError
from serving.gateway.watch.config import TracingConfig


def with_traces(app: ASGIApp, config: TracingConfig) -> ASGIApp:
    """The application with traces, or the application itself if no endpoint is set.

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
