"""Seeds, sampling and diversity over HTTP, without a server."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from contracts.bundle import Bundle
from contracts.errors import ConfigError, RequestError
from contracts.options import NO_CAP, Order
from recommender_api.requests import Diversity, RecommendationRequest
from serving.gateway.recommend.reranking import RequestReranking, RerankingReader, gather_reranking, seed_of
from serving.stages.config import RerankingConfig
from tests.unit.serving.gateway.conftest import Shop

PATH = "/v1/recommendations"


async def shown(client: httpx.AsyncClient, request_id: str = "r", **body: Any) -> list[dict[str, Any]]:
    response = await client.post(PATH, json=body, headers={"X-Request-Id": request_id})
    assert response.status_code == 200, response.text
    return response.json()["recommendations"]  # type: ignore[no-any-return]


async def ids(client: httpx.AsyncClient, request_id: str = "r", **body: Any) -> list[str]:
    return [item["item_id"] for item in await shown(client, request_id, **body)]


SAMPLED = {"order": "sampled", "temperature": 5}


async def test_the_seed_decides_and_else_the_request_id(client: httpx.AsyncClient) -> None:
    greedy = await ids(client, k=20)
    assert await ids(client, k=20, seed=7) == greedy
    first = await ids(client, "a", k=20, diversity=SAMPLED, seed=7)
    assert await ids(client, "b", k=20, diversity=SAMPLED, seed=7) == first
    assert first != greedy
    assert await ids(client, "a", k=20, diversity=SAMPLED, seed=8) != first
    by_id = await ids(client, "a", k=20, diversity=SAMPLED)
    assert await ids(client, "a", k=20, diversity=SAMPLED) == by_id
    assert await ids(client, "b", k=20, diversity=SAMPLED) != by_id
    assert await ids(client, k=20, diversity={"order": "sampled", "temperature": 0.0001}) == greedy
    assert len(set(await ids(client, k=100, diversity={"order": "weighted"}))) == 39


async def test_caps_and_diversity_change_the_list(client: httpx.AsyncClient) -> None:
    capped = await shown(client, k=9, diversity={"max_per_category_l1": 2})
    assert Counter(item["category_l1"] for item in capped) == {"books": 2, "shoes": 2, "toys": 2}
    finer = await shown(client, k=9, diversity={"max_per_category_l1": 2, "max_per_category_l2": 2})
    assert max(Counter(item["category_l2"] for item in finer).values()) == 2
    assert await ids(client, k=9, diversity={"mmr": 0.9}) != await ids(client, k=9)
    assert await ids(client, k=9, diversity={}) == await ids(client, k=9)


async def test_the_setting_holds_unless_a_request_says_otherwise(bundle: Bundle, raw_dir: Path) -> None:
    shop = Shop(bundle, raw_dir, reranking={"order": "sampled", "temperature": 5, "max_per_category_l1": 2})
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        drawn = await ids(client, "a", k=20)
        assert len(drawn) == 6
        assert await ids(client, "b", k=20) != drawn
        greedy = await shown(client, "a", k=20, diversity={"order": "greedy"})
        scores = [item["score"] for item in greedy]
        assert (len(greedy), scores) == (6, sorted(scores, reverse=True))


@pytest.mark.parametrize(
    ("diversity", "message"),
    [
        ({"order": "random"}, "Invalid enum value 'random' - at `$.diversity.order`"),
        ({"temperature": 0}, "Expected `float` >= 0.0001 - at `$.diversity.temperature`"),
        ({"epsilon": 1.1}, "Expected `float` <= 1.0 - at `$.diversity.epsilon`"),
        ({"mmr": 1}, "Expected `float` < 1.0 - at `$.diversity.mmr`"),
        ({"max_per_category_l1": 0}, "Expected `int` >= 1 - at `$.diversity.max_per_category_l1`"),
        ({"lambda": 1}, "unknown field `lambda` - at `$.diversity`; legal fields: order, temperature"),
        (0.5, "Expected `object | null`, got `float` - at `$.diversity`"),
    ],
)
async def test_what_cannot_be_meant_is_refused(client: httpx.AsyncClient, diversity: Any, message: str) -> None:
    response = await client.post(PATH, json={"diversity": diversity})
    assert response.status_code == 422
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "1"])
async def test_bad_seeds_are_refused(client: httpx.AsyncClient, seed: Any) -> None:
    assert (await client.post(PATH, json={"seed": seed})).status_code == 422


def test_wishes_lie_over_the_setting() -> None:
    reader = RerankingReader(RerankingConfig(order="sampled", temperature=3.0, epsilon=0.1, max_per_category_l2=4))
    seed = seed_of("r")
    plain = RequestReranking(Order.SAMPLED, 3.0, 0.1, 0.0, (NO_CAP, 4), seed)
    assert reader(RecommendationRequest(), "r") == plain
    assert reader(RecommendationRequest(diversity=Diversity(mmr=0.5), seed=9), "r") == plain._replace(mmr=0.5, seed=9)
    # A temperature belongs to its order.
    weighted = Diversity(order="weighted")
    assert reader(RecommendationRequest(diversity=weighted), "r") == plain._replace(
        order=Order.WEIGHTED, temperature=0.05
    )


def test_caps_of_a_category_that_the_items_lack_are_refused() -> None:
    reader = RerankingReader(RerankingConfig(max_per_category_l1=2), ["category_l2"])
    assert reader(RecommendationRequest(diversity=Diversity(max_per_category_l1=3)), "r") is not None
    message = r"diversity.max_per_category_l2=3: this shop's items have no such category"
    with pytest.raises(RequestError, match=message):
        reader(RecommendationRequest(diversity=Diversity(max_per_category_l2=3)), "r")
    with pytest.raises(ConfigError, match=r"reranking.max_per_category_l1=2: .*; take it out"):
        RerankingReader(RerankingConfig(max_per_category_l1=2), ["category_l1"])


def test_a_batch_of_greedy_requests_carries_nothing() -> None:
    reader = RerankingReader(RerankingConfig())
    assert reader(RecommendationRequest(seed=3), "r") is None
    assert gather_reranking([None, None]) is None
    drawn = reader(
        RecommendationRequest(diversity=Diversity(order="sampled", temperature=2, max_per_category_l1=3)), "r"
    )
    options = gather_reranking([None, drawn])
    assert options is not None
    assert options.order.tolist() == [Order.GREEDY, Order.SAMPLED]
    assert options.temperature.tolist() == [1, 2]
    assert options.caps.tolist() == [[NO_CAP, NO_CAP], [3, NO_CAP]]
    assert options.seeds[1] == np.uint64(seed_of("r"))
