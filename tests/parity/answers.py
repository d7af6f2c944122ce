"""How placements are asked, and when two answers are the same."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import httpx
import msgspec
import pytest

from contracts.bundle import Bundle
from recommender_api.requests import RankingRequest, RecommendationRequest
from serving.config import ServingConfig
from serving.gateway.build import Surroundings, build_pipeline
from serving.gateway.catalogue.catalogue import Catalogue
from serving.gateway.recommend.answers import write_answers
from serving.gateway.recommend.service import RecommendationService
from serving.gateway.request_ids import RequestId
from serving.placing.stage_table import STAGES, open_stage
from serving.running.load import ComputeThread
from serving.stores.connection import StoreConnection
from tests.parity.visitors import RANK, Asking

Answer = dict[str, Any]


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


async def called_directly(
    asked: Sequence[Asking], bundle: Bundle, config: ServingConfig, address: str, batch_size: int
) -> list[Answer]:
    """The answers of the pipeline called in this process."""
    stores = StoreConnection.open(config.stores, address)
    catalogue = Catalogue(bundle)
    answers: list[Answer] = []
    with ComputeThread() as thread:
        stages = {name: open_stage(name, bundle, config, thread, stores) for name in STAGES}
        pipeline = build_pipeline(stages, bundle, config, Surroundings.of(bundle, config, stores).seen)
        service = RecommendationService(bundle, pipeline, catalogue, config.clock(), config.service)
        for path, asking in groupby(asked, key=lambda one: one[0]):  # rankings and recommendations share no batch
            kind = RankingRequest if path == RANK else RecommendationRequest
            checked = [service.check(msgspec.convert(body, kind), RequestId("r", "r")) for _, body in asking]
            for start in range(0, len(checked), batch_size):
                part = checked[start : start + batch_size]
                result = await service.run(part, [float("inf")] * len(part))
                answers += [msgspec.json.decode(one) for one in write_answers(part, result, catalogue)]
    await stores.client.aclose()
    return answers


def over_http(asked: Sequence[Asking], url: str, num_threads: int) -> list[Answer]:
    """The answers of a placement."""
    with (
        httpx.Client(base_url=url, timeout=60, headers={"X-Request-Id": "r"}) as client,
        ThreadPoolExecutor(num_threads) as threads,
    ):
        return [
            response.json() for response in threads.map(lambda asking: client.post(asking[0], json=asking[1]), asked)
        ]
