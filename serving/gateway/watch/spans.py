"""Spans of requests and their stages; made after the answer and sent by a thread."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.recommend.service import Answer
from serving.gateway.request_ids import request_id_of
from serving.gateway.watch.config import TracingConfig
from serving.gateway.wire import ANSWER_KEY, header, template_of
from serving.placing.stage_table import SEQUENCE

_CARRIED: Final = ("traceparent", "tracestate")
_DELAY_MS: Final = 1_000
QUEUE: Final = "queue"
"""Name of the span in which a request waits for its batch."""


def exporting(config: TracingConfig) -> TracerProvider:
    """A provider that samples and exports as configured; it sends the last spans when the process ends."""
    provider = sampling(config)
    exporter = OTLPSpanExporter(endpoint=config.endpoint)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_DELAY_MS))
    return provider


def sampling(config: TracingConfig) -> TracerProvider:
    """A provider that samples as configured and sends nothing."""
    resource = Resource.create({"service.name": config.service_name})
    return TracerProvider(resource=resource, sampler=ParentBasedTraceIdRatio(config.sampled_share))


class TracedApp:
    """Traces the requests of an application.

    The stages of a batch run in sequence or start together (`SEQUENCE`), so the times of their spans follow from the
    measured milliseconds. Every request of a batch gets these spans.

    Args:
        app: the gateway.
        provider: samples and exports.
    """

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        self._app = app
        self._tracer = provider.get_tracer("recommender")
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.time_ns(), 0

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            self._record(scope, started, status)

    def _record(self, scope: Scope, started: int, status: int) -> None:
        carried = {name: value.decode("latin-1") for name in _CARRIED if (value := header(scope, name.encode()))}
        route, answer = template_of(scope), scope.get(ANSWER_KEY)
        span = self._tracer.start_span(
            f"{scope['method']} {route}" if route else scope["method"],
            self._propagator.extract(carried),
            SpanKind.SERVER,
            dict(_attributes(scope, route, status, answer)),
            start_time=started,
        )
        if span.is_recording():
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))
            if answer is not None:
                context, begin = set_span_in_context(span), started
                took_ms = {QUEUE: answer.waited_ms, **answer.batch.stage_ms}
                for together in ((QUEUE,), *SEQUENCE):
                    ends = {name: begin + round(took_ms[name] * 1e6) for name in together if name in took_ms}
                    for name, end in ends.items():
                        self._tracer.start_span(name, context, start_time=begin).end(end)
                    begin = max(ends.values(), default=begin)
        span.end()


def _attributes(
    scope: Scope, route: str | None, status: int, answer: Answer | None
) -> Iterator[tuple[str, AttributeValue]]:
    """Attributes, named by OpenTelemetry's conventions where these exist."""
    yield "http.request.method", scope["method"]
    yield "http.response.status_code", status
    if route is not None:
        yield "http.route", route
    request_id = request_id_of(scope)
    yield "recommender.request_id", request_id.own
    yield "recommender.client_request_id", request_id.sent
    if answer is not None:
        yield "recommender.bundle_version", answer.batch.bundle_version
        yield "recommender.batch_size", answer.batch.size
        yield "recommender.degraded", answer.degraded
