"""What is asked of every placement, how it is asked, and when two answers are the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest

from contracts.bundle import Bundle
from serving.config import ServingConfig
from serving.connection import StoreConnection
from serving.gateway.answers import write_answers
from serving.gateway.api import RankingRequest, RecommendationRequest
from serving.gateway.build import build_pipeline
from serving.gateway.catalogue import Catalogue
from serving.gateway.request_ids import RequestId
from serving.gateway.service import RecommendationService
from serving.groups import GROUPS, open_group
from serving.load import ComputeThread
from tests.fixtures.served_bundle import NOW

Asking = tuple[str, dict[str, Any]]
Answer = dict[str, Any]
RECOMMEND, RANK = "/v1/recommendations", "/v1/rankings"


def visitors() -> list[Asking]:
    """32 requests for recommendations of all kinds and 8 for rankings."""
    kinds: list[dict[str, Any]] = [
        {"user_id": "u1", "device_type": "mobile"},
        {"user_id": "u2", "device_type": "desktop", "timestamp": NOW - 7 * 3600},
        {"user_id": "u3", "recent_items": ["i9", "i4"]},
        {"user_id": "nobody"},
        {"session_id": "s1"},
        {"session_id": "s1", "user_id": "u1"},
        {"recent_items": ["i2"], "device_type": "tablet"},
        {},
    ]
    wishes: list[dict[str, Any]] = [
        {"k": 5},
        {"k": 36, "exclude": ["i4", "i40", "unknown"], "filters": {"category_l1": ["books", "toys"], "max_price": 30}},
        {"k": 67, "explain": True, "diversity": {"order": "sampled", "temperature": 2.5, "epsilon": 0.1}},
        {"k": 9, "explain": True, "seed": 3, "diversity": {"order": "weighted", "mmr": 0.4, "max_per_category_l1": 2}},
    ]
    recommendations = [(RECOMMEND, kind | wish) for wish in wishes for kind in kinds]
    given = [f"i{number}" for number in (*range(40, 0, -3), 99)]
    rankings = [
        (RANK, kind | {"candidate_ids": given, "exclude": ["i1"], "explain": True, "diversity": {"mmr": 0.3}})
        for kind in kinds
    ]
    return recommendations + rankings


def items_of(answer: Answer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = answer["recommendations"] if "recommendations" in answer else answer["rankings"]
    return items


def assert_same(got: list[Answer], expected: list[Answer]) -> None:
    """Same items in the same order, scores within 1e-5; items closer than that may change places."""
    for mine, theirs in zip(got, expected, strict=True):
        assert mine["degraded"] == theirs["degraded"] == []
        assert [mine.get(name) for name in ("unknown", "ineligible")] == [
            theirs.get(name) for name in ("unknown", "ineligible")
        ]
        near = {item["item_id"]: item for item in items_of(theirs)}
        assert len(items_of(mine)) == len(near)
        for item, other in zip(items_of(mine), items_of(theirs), strict=True):
            if item["item_id"] != other["item_id"]:
                assert abs(item["score"] - other["score"]) < 1e-5, f"{item['item_id']} instead of {other['item_id']}"
            assert_same_item(item, near[item["item_id"]])


def assert_same_item(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The same item with the same story."""
    assert mine["score"] == pytest.approx(theirs["score"], abs=1e-5)
    told, expected = mine.get("explanation", {}), theirs.get("explanation", {})
    assert told.keys() == expected.keys()
    for name in expected:
        if isinstance(expected[name], float):
            assert told[name] == pytest.approx(expected[name], abs=1e-4), name
        elif name in ("source", "filters"):
            assert told[name] == expected[name]


async def called_directly(bundle: Bundle, config: ServingConfig, address: str, batch_size: int) -> list[Answer]:
    """The answers of the pipeline called in this process."""
    stores = StoreConnection.open(config.stores, address)
    catalogue = Catalogue(bundle)
    answers: list[Answer] = []
    with ComputeThread() as thread:
        groups = {name: open_group(name, bundle, config, thread, stores) for name in GROUPS}
        pipeline = build_pipeline(groups, bundle, config, stores)
        service = RecommendationService(bundle, pipeline, catalogue, config.clock(), config.service)
        asked = [
            service.check(
                msgspec.convert(body, RankingRequest if path == RANK else RecommendationRequest), RequestId("r", "r")
            )
            for path, body in visitors()
        ]
        for start in range(0, len(asked), batch_size):
            part = asked[start : start + batch_size]
            result = await service.run(part, [float("inf")] * len(part))
            answers += [msgspec.json.decode(one) for one in write_answers(part, result, catalogue)]
    await stores.client.aclose()
    return answers


def over_http(url: str, num_threads: int) -> list[Answer]:
    """The answers of a placement."""
    with (
        httpx.Client(base_url=url, timeout=60, headers={"X-Request-Id": "r"}) as client,
        ThreadPoolExecutor(num_threads) as threads,
    ):
        return [
            response.json()
            for response in threads.map(lambda asking: client.post(asking[0], json=asking[1]), visitors())
        ]
