"""The API against its own description, and against what no client should send."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import hypothesis
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from contracts.presets import SHOP
from recommender_api.requests import MAX_BODY_BYTES, MAX_CANDIDATES, MAX_EXCLUDED, MAX_NAMES, MAX_RECENT_ITEMS
from serving.gateway.http.openapi import openapi_document
from serving.gateway.shop.types import shop_types
from tests.unit.serving.gateway.conftest import Shop

PATHS = openapi_document(shop_types(SHOP))["paths"]
OPERATIONS = [(path, method) for path, methods in PATHS.items() for method in methods]
REFUSING = [
    (path, method)
    for path, method in OPERATIONS
    if "requestBody" in PATHS[path][method]
    or any(parameter["in"] == "query" for parameter in PATHS[path][method].get("parameters", ()))
]
REFUSALS = SchemathesisConfig.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": [400, 404, 405, 413, 415, 422]}}}
)
SETTINGS = hypothesis.settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def check_operation(shop: Shop, path: str, method: str, mode: GenerationMode) -> None:
    asyncio.run(shop.monitor.probe())
    # A schema cannot say that 37.0 is no integer here, nor which times and categories the shop has.
    left_out = [positive_data_acceptance] if "requestBody" in PATHS[path][method] else []
    operation = schemathesis.openapi.from_asgi("/openapi.json", shop.app, config=REFUSALS)[path][method.upper()]

    @SETTINGS
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def check(case: schemathesis.Case, known: bool) -> None:
        if known and "item_id" in case.path_parameters:
            case.path_parameters["item_id"] = "i1"
        case.call_and_validate(excluded_checks=left_out)

    check()


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_fits_the_description_is_answered_as_described(shop: Shop, path: str, method: str) -> None:
    check_operation(shop, path, method, GenerationMode.POSITIVE)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method"), REFUSING)
def test_what_does_not_fit_is_refused_as_described(shop: Shop, path: str, method: str) -> None:
    check_operation(shop, path, method, GenerationMode.NEGATIVE)


def send(shop: Shop, bodies: list[bytes], path: str = "/v1/recommendations") -> list[httpx.Response]:
    async def send_all() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=shop.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            headers = {"content-type": "application/json"}
            try:
                return [await client.post(path, content=body, headers=headers) for body in bodies]
            finally:  # connections belong to this event loop, and the next call has another
                await shop.redis.connection_pool.disconnect()

    return asyncio.run(send_all())


def check_refusal(response: httpx.Response) -> None:
    assert 400 <= response.status_code < 500, response.text
    assert list(response.json()["error"]) == ["code", "message", "details"]
    assert "Traceback" not in response.text
    assert len(response.content) < 2_000, "a refusal does not echo what was sent"


@hypothesis.given(body=st.binary(max_size=200).filter(lambda body: body.strip() != b"{}"))  # which is legal
@SETTINGS
def test_bytes_of_any_kind_are_refused(shop: Shop, body: bytes) -> None:
    (response,) = send(shop, [body])
    check_refusal(response)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
FIELDS = st.sampled_from(["user_id", "recent_items", "device_type", "timestamp", "k", "exclude", "filters", "other"])


@hypothesis.given(body=st.dictionaries(FIELDS, JSON, min_size=1))
@SETTINGS
def test_values_of_any_kind_are_answered_or_refused(shop: Shop, body: dict[str, Any]) -> None:
    (response,) = send(shop, [json.dumps(body).encode()])
    if response.status_code != 200:
        check_refusal(response)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"k": ' + b"[" * 30_000, "invalid_request"),
        (b'{"recent_items": ' + b"[" * 30_000, "invalid_request"),
        (b'{"other": ' + b'{"a": ' * 10_000, "invalid_request"),
        (b'{"k": NaN}', "malformed_json"),
        (b'{"timestamp": -Infinity}', "malformed_json"),
        (b'{"k": 1e999}', "invalid_request"),
        (b'{"timestamp": 1' + b"0" * 60_000 + b"}", "invalid_request"),
        (b'{"k": 3} {"k": 4}', "malformed_json"),
        (b'{"user_id": "' + b"x" * 60_000 + b'"}', "invalid_request"),
        (b'{"' + b"x" * 60_000 + b'": 1}', "invalid_request"),
        (json.dumps({"exclude": ["i"] * 1_001}).encode(), "invalid_request"),
        (json.dumps({"exclude": ["x" * 257]}).encode(), "invalid_request"),
        (json.dumps({"filters": {"category_l1": ["nothing" * 30]}}).encode(), "invalid_request"),
        (json.dumps({"filters": {"category_l1": [], "min_price": 1}}).encode(), "invalid_request"),
        (b'{"filters": {"min_price": NaN}}', "malformed_json"),
        (b'{"filters": {"min_price": 1e999}}', "invalid_request"),
        (b"[" * (MAX_BODY_BYTES + 1), "body_too_large"),
    ],
)
def test_odd_bodies_are_refused(shop: Shop, body: bytes, code: str) -> None:
    (response,) = send(shop, [body])
    check_refusal(response)
    assert response.json()["error"]["code"] == code


def test_refused_bodies_leave_nothing_in_memory(shop: Shop) -> None:
    bodies = [
        b'{"recent_items": ' + json.dumps(["x" * 200] * 300).encode() + b"}",
        b"[" * 60_000,
        b"x" * (MAX_BODY_BYTES + 1),
    ]
    send(shop, bodies * 20)
    process = psutil.Process()
    before = process.memory_info().rss
    assert {response.status_code for response in send(shop, bodies * 200)} == {413, 422}
    assert process.memory_info().rss - before < 16 * 2**20


def test_a_thousand_excluded_items_are_fine(shop: Shop) -> None:
    excluded = [f"i{number}" for number in range(1, 1_001) if number != 7]
    (response,) = send(shop, [json.dumps({"exclude": excluded}).encode()])
    assert [item["item_id"] for item in response.json()["recommendations"]] == ["i7"]


def test_the_longest_request_that_the_fields_allow_is_taken(shop: Shop) -> None:
    longest = "\N{MUSICAL SYMBOL G CLEF}" * 256  # four bytes each in UTF-8
    lists = {"candidate_ids": MAX_CANDIDATES, "exclude": MAX_EXCLUDED, "recent_items": MAX_RECENT_ITEMS}
    body = {name: [longest] * count for name, count in lists.items()} | {"user_id": longest, "device_type": longest}
    (response,) = send(shop, [json.dumps(body, ensure_ascii=False).encode()], "/v1/rankings")
    assert response.status_code == 200, response.text
    assert response.json()["unknown"] == [longest]
    filters = dict.fromkeys(("category_l1", "category_l2", "gender"), [longest] * MAX_NAMES)
    full = body | {"session_id": longest, "filters": filters}
    assert len(json.dumps(full, ensure_ascii=False, separators=(",", ":")).encode()) <= MAX_BODY_BYTES
    (refused,) = send(shop, [json.dumps(full, ensure_ascii=False, separators=(",", ":")).encode()], "/v1/rankings")
    assert refused.status_code == 422


EVENT_FIELDS = st.sampled_from(["user_id", "session_id", "item_id", "event", "event_id", "timestamp", "other"])
EVENT = {"item_id": "i1", "event": "view", "user_id": "u1"}


@hypothesis.given(
    changes=st.lists(st.dictionaries(EVENT_FIELDS, JSON) | JSON, min_size=1, max_size=5), known=st.booleans()
)
@SETTINGS
def test_events_of_any_kind_are_taken_or_refused_one_by_one(shop: Shop, changes: list[Any], known: bool) -> None:
    events = [{**EVENT, **one} if known and isinstance(one, dict) else one for one in changes]
    (response,) = send(shop, [json.dumps(events).encode()], "/v1/interactions")
    if response.status_code == 202:
        told = response.json()
        assert told["accepted"] + told["duplicates"] + len(told["refused"]) == len(events)
    else:
        assert response.status_code in {400, 422}, response.text
        assert "Traceback" not in response.text


@hypothesis.given(body=st.binary(max_size=200))
@SETTINGS
def test_bytes_of_any_kind_are_no_events(shop: Shop, body: bytes) -> None:
    (response,) = send(shop, [body], "/v1/interactions")
    check_refusal(response)
