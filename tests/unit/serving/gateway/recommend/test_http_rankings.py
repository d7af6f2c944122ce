"""POST /v1/rankings and GET /v1/items/{id}/similar over HTTP, without a server."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from contracts.bundle import Bundle
from recommender_api.requests import MAX_BODY_BYTES
from tests.fixtures.fake_stores import Fault
from tests.fixtures.served_bundle import DAY_S, NOW
from tests.unit.serving.gateway.conftest import Shop

PATH = "/v1/rankings"


async def ranked(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await client.post(PATH, json=body)
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def scores_of(items: list[dict[str, Any]]) -> dict[str, float]:
    return {item["item_id"]: item["score"] for item in items}


async def test_provided_candidates_get_the_scores_that_recommendations_have(client: httpx.AsyncClient) -> None:
    visitor = {"user_id": "u3", "device_type": "mobile", "recent_items": ["i9"]}
    everything = (await client.post("/v1/recommendations", json={**visitor, "k": 100})).json()["recommendations"]
    provided = ["i30", "i2", "i17", "i2"]
    answer = await ranked(client, **visitor, candidate_ids=provided)
    assert [item["item_id"] for item in answer["rankings"]] == [
        item["item_id"] for item in everything if item["item_id"] in provided
    ]
    expected = scores_of(everything)
    for item, score in scores_of(answer["rankings"]).items():
        assert score == pytest.approx(expected[item], abs=1e-5)
    assert [item["rank"] for item in answer["rankings"]] == [1, 2, 3]
    assert (answer["unknown"], answer["ineligible"], answer["degraded"]) == ([], [], [])


async def test_every_provided_candidate_is_accounted_for(client: httpx.AsyncClient, shop: Shop) -> None:
    shop.rings.fault = Fault(fails=True)  # nobody asks for seen items
    answer = await ranked(
        client,
        user_id="u1",
        candidate_ids=["i1", "nothing", "i40", "i3", "i6", "i5", "i1"],
        exclude=["i5"],
        filters={"category_l1": ["toys", "books"]},
    )
    assert set(scores_of(answer["rankings"])) == {"i1", "i3", "i6"}  # i1 and i3 were seen
    assert (answer["unknown"], answer["ineligible"]) == (["nothing"], ["i40", "i5"])
    assert answer["degraded"] == []


async def test_k_cuts_and_options_hold(client: httpx.AsyncClient) -> None:
    provided = [f"i{number}" for number in range(1, 40)]
    assert len((await ranked(client, candidate_ids=provided))["rankings"]) == 39
    assert len((await ranked(client, candidate_ids=provided, k=4))["rankings"]) == 4
    capped = await ranked(client, candidate_ids=provided, diversity={"max_per_category_l1": 1})
    assert {item["category_l1"] for item in capped["rankings"]} == {"books", "shoes", "toys"}
    assert len(capped["rankings"]) == 3
    unknown = await ranked(client, candidate_ids=["x", "y"])
    assert (unknown["rankings"], unknown["unknown"]) == ([], ["x", "y"])


@pytest.mark.parametrize("name", ["retrieval", "ranking", "reranking"])
async def test_every_provided_candidate_comes_back_when_a_stage_does_not_answer(
    client: httpx.AsyncClient, shop: Shop, name: str
) -> None:
    async def broken(*_: Any, timeout_s: float) -> Any:
        raise TimeoutError

    shop.stages[name].stage = broken
    answer = await ranked(client, candidate_ids=["i7", "i2", "i40"])
    assert name in answer["degraded"]
    assert set(scores_of(answer["rankings"])) == {"i7", "i2"}
    assert answer["ineligible"] == ["i40"]
    if name == "retrieval":
        assert [item["item_id"] for item in answer["rankings"]] == ["i7", "i2"]  # as they were provided


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "missing required field `candidate_ids`"),
        ({"candidate_ids": []}, "Expected `array` of length >= 1 - at `$.candidate_ids`"),
        ({"candidate_ids": ["i1"] * 1_001}, "Expected `array` of length <= 1000 - at `$.candidate_ids`"),
        ({"candidate_ids": ["i1"], "k": 0}, "Expected `int` >= 1 - at `$.k`"),
        ({"candidate_ids": ["i1"], "timestamp": 5}, "timestamp 5 is out of range"),
        ({"candidate_ids": ["i1"], "filters": {"gender": ["Q"]}}, "filters.gender: no item has 'Q'"),
        ({"candidate_ids": ["i1"], "items": []}, "unknown field `items`; legal fields: user_id"),
    ],
)
async def test_bad_requests_are_refused_by_name(client: httpx.AsyncClient, body: dict[str, Any], message: str) -> None:
    response = await client.post(PATH, json=body)
    assert response.status_code == 422
    assert message in response.json()["error"]["message"]


async def test_what_is_no_json_is_refused(client: httpx.AsyncClient) -> None:
    as_json = {"content-type": "application/json"}
    assert (await client.post(PATH, content=b"{", headers=as_json)).status_code == 400
    assert (await client.post(PATH, content=b"{}", headers={"content-type": "text/plain"})).status_code == 415
    large = await client.post(PATH, content=b"x" * (MAX_BODY_BYTES + 1), headers=as_json)
    assert large.status_code == 413
    refused = await client.get(PATH)
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


async def test_a_client_that_leaves_in_mid_request_is_no_error(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": [], "query_string": b"", "root_path": ""}
    await shop.app(scope, receive, send)
    assert "failed" not in caplog.text


async def test_similar_items_by_hand(client: httpx.AsyncClient, bundle: Bundle) -> None:
    answer = (await client.get("/v1/items/i2/similar", params={"k": "5"})).json()
    embeddings = np.asarray(bundle.array("two_tower/candidate"), dtype=np.float64)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = unit[:39] @ unit[1]  # i40 is launched tomorrow
    cosines[1] = -np.inf
    best = np.argsort(-cosines)[:5]
    assert [item["item_id"] for item in answer["items"]] == [f"i{row + 1}" for row in best]
    np.testing.assert_allclose([item["score"] for item in answer["items"]], cosines[best], atol=1e-5)
    assert (answer["item_id"], answer["bundle_version"]) == ("i2", "tiny-1")
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3, 4, 5]


async def test_similar_items_are_available_ones_and_never_the_item_itself(
    client: httpx.AsyncClient, shop: Shop
) -> None:
    async def ids(item: str) -> set[str]:
        answer = (await client.get(f"/v1/items/{item}/similar", params={"k": "100"})).json()
        return {found["item_id"] for found in answer["items"]}

    available = {f"i{number}" for number in range(1, 40)}
    assert await ids("i1") == available - {"i1"}
    assert await ids("i40") == available
    shop.clock.set(NOW + DAY_S)
    assert await ids("i40") == available
    assert await ids("i1") == (available | {"i40"}) - {"i1"}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/items/i99/similar", 404), ("/v1/items/i1/similar?k=0", 422), ("/v1/items/i1/similar?n=5", 422)],
)
async def test_bad_questions_for_similar_items_are_refused(client: httpx.AsyncClient, path: str, status: int) -> None:
    response = await client.get(path)
    assert response.status_code == status
    assert response.json()["error"]["code"] == ("not_found" if status == 404 else "invalid_request")


async def test_the_autoscaler_is_told_about_rankings(client: httpx.AsyncClient, shop: Shop) -> None:
    shop.service.load.take()
    await ranked(client, candidate_ids=["i1"])
    assert shop.service.load.take()["rate"] > 0
