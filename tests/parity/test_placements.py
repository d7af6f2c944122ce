"""One placement answers as another, and as the pipeline called in plain Python, alone or in a batch of 32."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from serving.connection import StoreConnection
from serving.gateway.api import RecommendationRequest
from serving.gateway.build import build_pipeline
from serving.gateway.catalogue import Catalogue
from serving.gateway.service import Asked, RecommendationService
from serving.groups import GROUPS, open_group
from tests.fixtures.served_apps import PLACEMENTS, ServedApps, serve_also
from tests.fixtures.served_bundle import NOW

pytestmark = pytest.mark.ray
Answer = list[tuple[str, float]]


def visitors() -> list[dict[str, Any]]:
    """32 requests of all kinds."""
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
    return [kind | {"k": 5 + 31 * repeat} for repeat in range(4) for kind in kinds]


def shown(answer: dict[str, Any]) -> Answer:
    assert answer["degraded"] == []
    return [(item["item_id"], item["score"]) for item in answer["recommendations"]]


def assert_same(got: list[Answer], expected: list[Answer]) -> None:
    """Same items in the same order, scores within 1e-5; items closer than that may change places."""
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose([score for _, score in mine], [score for _, score in theirs], atol=1e-5)
        for place, ((item, score), (other, _)) in enumerate(zip(mine, theirs, strict=True)):
            if item != other:
                close = {name for name, near in theirs if abs(near - score) < 1e-5}
                assert item in close, f"place {place}: {item} instead of {other}"


@pytest.fixture(scope="module")
def plain(served: ServedApps) -> list[Answer]:
    """The pipeline called directly, one request at a time."""
    return asyncio.run(called_directly(served, batch_size=1))


async def called_directly(served: ServedApps, batch_size: int) -> list[Answer]:
    bundle, config = served.bundle, served.config
    stores = StoreConnection.open(config.stores, served.address)
    answers: list[Answer] = []
    with ThreadPoolExecutor(1) as thread:
        groups = {name: open_group(name, bundle, config, thread, stores) for name in GROUPS}
        pipeline = build_pipeline(groups, bundle, config, stores)
        service = RecommendationService(bundle, pipeline, Catalogue(bundle), config.clock(), config.service)
        asked = [Asked("r", msgspec.convert(body, RecommendationRequest)) for body in visitors()]
        for start in range(0, len(asked), batch_size):
            part = asked[start : start + batch_size]
            result = await service.run(part, [float("inf")] * len(part))
            ranked, ends = result.ranked, result.ranked.offsets
            names = [f"i{row + 1}" for row in ranked.rows.tolist()]
            scored = list(zip(names, ranked.scores.tolist(), strict=True))
            answers += [scored[ends[place] : ends[place + 1]] for place in range(len(part))]
    await stores.client.aclose()
    return answers


def over_http(served: ServedApps, placement: str, num_threads: int) -> list[Answer]:
    with (
        httpx.Client(base_url=f"{served.url}/{placement}", timeout=60) as client,
        ThreadPoolExecutor(num_threads) as threads,
    ):
        responses = threads.map(lambda body: client.post("/v1/recommendations", json=body), visitors())
        return [shown(response.json()) for response in responses]


def test_a_batch_of_32_is_32_batches_of_one(served: ServedApps, plain: list[Answer]) -> None:
    assert_same(asyncio.run(called_directly(served, batch_size=32)), plain)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("num_threads", [1, 16])
def test_every_placement_answers_as_plain_python(
    served: ServedApps, plain: list[Answer], placement: str, num_threads: int
) -> None:
    assert_same(over_http(served, placement, num_threads), plain)


@pytest.mark.slow
def test_fourteen_models_one_by_one_answer_as_plain_python(served: ServedApps, plain: list[Answer]) -> None:
    serve_also(served, "per_model")
    for num_threads in (1, 16):
        assert_same(over_http(served, "per_model", num_threads), plain)
