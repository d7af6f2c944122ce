"""`explain: true` over HTTP, without a server: the story of an answer agrees with the answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from recommender_api.requests import Filters, RecommendationRequest
from serving.gateway.recommend import answers
from serving.gateway.recommend.asked import Asked
from serving.gateway.request_ids import RequestId
from serving.placing.stage_table import STAGES
from tests.unit.serving.gateway.conftest import Shop

PATH = "/v1/recommendations"


async def explained(client: httpx.AsyncClient, path: str = PATH, **body: Any) -> dict[str, Any]:
    response = await client.post(path, json={**body, "explain": True}, headers={"X-Request-Id": "r"})
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


async def broken(*_: Any, timeout_s: float) -> Any:
    raise TimeoutError


async def test_an_answer_tells_how_it_came_about(client: httpx.AsyncClient) -> None:
    answer = await explained(client, user_id="u1", k=100)
    story = answer["explanation"]
    assert (story["num_retrieved"], story["removed"], story["num_ranked"]) == (39, {"seen": 2}, 37)
    assert story["seed"] is None
    assert set(story["stage_ms"]) == set(STAGES)
    items = answer["recommendations"]
    told = [item["explanation"] for item in items]
    assert {one["source"] for one in told} == {"retrieval"}
    assert sorted(one["retrieval_rank"] for one in told) != list(range(1, 38))  # the seen ones left gaps
    by_retrieval = sorted(told, key=lambda one: one["retrieval_rank"])
    scores = [one["retrieval_score"] for one in by_retrieval]
    assert scores == sorted(scores, reverse=True)
    for item, one in zip(items, told, strict=True):
        assert one["ranking_rank"] == item["rank"]
        assert one["rerank_move"] == 0
        assert one["ranking_score"] == pytest.approx(item["score"])
        assert one["propensity"] == 1
        assert one["filters"] == {"eligibility": "kept", "exclude": "not_asked", "filters": "not_asked", "seen": "kept"}


async def test_reranking_and_filters_show(client: httpx.AsyncClient) -> None:
    answer = await explained(
        client,
        exclude=["i1"],
        filters={"category_l1": ["toys"]},
        diversity={"order": "sampled", "temperature": 9},
        seed=5,
    )
    assert answer["explanation"]["seed"] == 5
    told = [(item["rank"], item["explanation"]) for item in answer["recommendations"]]
    assert any(one["rerank_move"] for _, one in told)
    for rank, one in told:
        assert one["rerank_move"] == one["ranking_rank"] - rank
        assert 0 < one["propensity"] < 1
        assert one["filters"] == {"eligibility": "kept", "exclude": "kept", "filters": "kept", "seen": "not_asked"}


async def test_the_story_of_a_degraded_answer(client: httpx.AsyncClient, shop: Shop) -> None:
    shop.stages["retrieval"].stage = broken
    shop.stages["seen_filter"].stage = broken
    answer = await explained(client, user_id="u1", k=2)
    first, second = (item["explanation"] for item in answer["recommendations"])
    assert (first["source"], first["retrieval_rank"], second["retrieval_rank"]) == ("popular", 1, 2)
    assert first["retrieval_score"] is first["ranking_score"] is None
    assert first["filters"]["seen"] == "left_out"
    assert answer["explanation"]["removed"] == {}


async def test_provided_candidates_are_explained_too(client: httpx.AsyncClient) -> None:
    answer = await explained(client, "/v1/rankings", user_id="u1", candidate_ids=["i1", "i2", "x"])
    assert {item["explanation"]["source"] for item in answer["rankings"]} == {"given"}
    assert {item["explanation"]["filters"]["seen"] for item in answer["rankings"]} == {"not_asked"}
    assert sorted(item["explanation"]["retrieval_rank"] for item in answer["rankings"]) == [1, 2]
    assert answer["explanation"]["num_ranked"] == 2


async def test_each_request_of_a_batch_has_its_own_story(shop: Shop) -> None:
    visitors = [
        RecommendationRequest(user_id="u1", k=3, explain=True),
        RecommendationRequest(k=4, exclude=["i2", "i3"]),
        RecommendationRequest(user_id="u2", filters=Filters(category_l1=["books"]), explain=True),
    ]
    asked = [shop.service.check(visitor, RequestId("r", "r")) for visitor in visitors]
    together = await told_of(shop, asked)
    for one, story in zip(asked, together, strict=True):
        (alone,) = await told_of(shop, [one])
        assert alone == story
    assert together[1].get("explanation") is None
    assert together[2]["explanation"]["num_retrieved"] == 13


async def told_of(shop: Shop, asked: list[Asked]) -> list[dict[str, Any]]:
    """The answers of one batch without their times, numbers rounded."""
    result = replace(await shop.service.run(asked, [1e9] * len(asked)), stage_ms={})
    return [
        json.loads(one, parse_float=lambda text: round(float(text), 4))
        for one in answers.write_answers(asked, result, shop.catalogue)
    ]


async def test_who_does_not_ask_pays_nothing(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nobody asked")

    monkeypatch.setattr(answers, "Explained", refuse)
    answer = (await client.post(PATH, json={"user_id": "u1"})).json()
    assert "explanation" not in answer
    assert all("explanation" not in item for item in answer["recommendations"])
