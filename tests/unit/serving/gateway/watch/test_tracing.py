"""OpenTelemetry traces of a gateway in this process: kept in memory, and sent to a collector."""

from __future__ import annotations

import queue
import sys
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import Receive, Scope, Send

from contracts.config import validate
from contracts.errors import ConfigError
from serving.gateway.watch.config import TracingConfig
from serving.gateway.watch.spans import TracedApp, exporting, sampling
from serving.gateway.watch.tracing import with_traces
from serving.placing.stage_table import SEQUENCE
from tests.fixtures.local_server import served_locally
from tests.unit.serving.gateway.conftest import Shop

PATH = "/v1/recommendations"
SPANS = ["queue", *(name for together in SEQUENCE for name in together)]
TRACE, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7
CLIENT = f"00-{TRACE:032x}-{PARENT:016x}"


class Traced:
    """A traced shop and what it has recorded."""

    def __init__(self, app: Any, config: TracingConfig) -> None:
        self.exporter = InMemorySpanExporter()
        provider = sampling(config)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.app = TracedApp(app, provider)

    async def ask(self, path: str = PATH, body: Any = None, **headers: str) -> Sequence[ReadableSpan]:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            await (client.get(path) if body is None else client.post(path, json=body, headers=headers))
        spans = self.exporter.get_finished_spans()
        self.exporter.clear()
        return spans


@pytest.fixture
def traced(shop: Shop) -> Traced:
    return Traced(shop.app, TracingConfig())


async def test_spans_of_events_have_a_route(traced: Traced) -> None:
    (request,) = await traced.ask("/v1/interactions", {"user_id": "u1", "item_id": "i1", "event": "click"})
    assert request.name == "POST /v1/interactions"
    assert (request.attributes or {})["http.route"] == "/v1/interactions"


async def test_a_request_is_a_span_of_the_clients_trace_with_its_stages_below(traced: Traced) -> None:
    headers = {"traceparent": f"{CLIENT}-01", "x-request-id": "r-7"}
    *stages, request = await traced.ask(body={"user_id": "u1"}, **headers)
    assert (request.name, request.kind) == ("POST /v1/recommendations", SpanKind.SERVER)
    assert request.parent is not None
    assert (request.parent.trace_id, request.parent.span_id) == (TRACE, PARENT)
    assert request.attributes is not None
    assert str(request.attributes["recommender.request_id"]).startswith("r-7.")
    assert {name: value for name, value in request.attributes.items() if name != "recommender.request_id"} == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": PATH,
        "recommender.client_request_id": "r-7",
        "recommender.bundle_version": "tiny-1",
        "recommender.batch_size": 1,
        "recommender.degraded": (),
    }
    assert request.resource.attributes["service.name"] == "recommender"
    assert [stage.name for stage in stages] == SPANS
    queue, features, retrieval, ranking, seen_filter, reranking = stages
    assert queue.start_time == request.start_time
    assert (features.start_time, retrieval.start_time) == (queue.end_time, features.end_time)
    assert ranking.start_time == seen_filter.start_time == retrieval.end_time
    assert reranking.start_time == max(ranking.end_time, seen_filter.end_time)  # type: ignore[type-var]
    for stage in stages:
        assert stage.parent == request.context
        assert stage.start_time <= stage.end_time <= request.end_time  # type: ignore[operator]


async def test_rankings_have_stages_too(traced: Traced) -> None:
    *stages, request = await traced.ask("/v1/rankings", {"candidate_ids": ["i1"]})
    assert request.name == "POST /v1/rankings"
    assert [stage.name for stage in stages] == [name for name in SPANS if name != "seen_filter"]


@pytest.mark.parametrize(
    ("path", "body", "name", "status"),
    [
        (PATH, {"k": 0}, "POST /v1/recommendations", 422),
        ("/v1/items/i1", None, "GET /v1/items/{item_id}", 200),
        ("/nowhere/u1", None, "GET", 404),
    ],
)
async def test_other_requests_are_one_span_named_without_ids(
    traced: Traced, path: str, body: Any, name: str, status: int
) -> None:
    (request,) = await traced.ask(path, body)
    assert (request.name, request.status.status_code) == (name, StatusCode.UNSET)
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == status
    assert request.parent is None


async def test_what_fails_is_marked(shop: Shop) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    (request,) = await Traced(broken, TracingConfig()).ask("/x")
    assert request.status.status_code == StatusCode.ERROR


async def test_the_clients_decision_counts_then_the_share(shop: Shop, traced: Traced) -> None:
    assert await traced.ask(body={}, traceparent=f"{CLIENT}-00") == ()
    *_, request = await traced.ask(body={}, traceparent="nonsense")
    assert request.parent is None
    seldom = Traced(shop.app, TracingConfig(sampled_share=1e-9))
    assert await seldom.ask(body={}) == ()
    assert len(await seldom.ask(body={}, traceparent=f"{CLIENT}-01")) == 7


async def test_spans_are_sent_to_the_collector(shop: Shop) -> None:
    received: queue.Queue[ExportTraceServiceRequest] = queue.Queue()

    async def collector(scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        received.put(ExportTraceServiceRequest.FromString(body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with served_locally(collector) as address:
        provider = exporting(TracingConfig(endpoint=f"{address}/v1/traces", service_name="shop"))
        transport = httpx.ASGITransport(app=TracedApp(shop.app, provider))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            await client.post(PATH, json={})
        provider.shutdown()  # sends what waits
    (resource,) = received.get(timeout=30).resource_spans
    attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert attributes["service.name"] == "shop"
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == [*SPANS, f"POST {PATH}"]


def test_without_an_endpoint_nothing_is_between_client_and_gateway(shop: Shop) -> None:
    assert with_traces(shop.app, TracingConfig()) is shop.app


def test_a_missing_extra_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "serving.gateway.watch.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"'opentelemetry\.exporter.*' is missing; install .*recommender\[otel\]"):
        with_traces(shop.app, TracingConfig(endpoint="http://collector:4318/v1/traces"))


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://collector:4317", "http://"])
def test_an_address_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="not an http address; expected one such as http://collector:4318/v1/traces"):
        validate(TracingConfig, {"endpoint": endpoint}, source="x")
