"""The application on a real local Serve, over HTTP, in every placement."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from recommender_api.requests import MAX_BODY_BYTES
from tests.fixtures.served_apps import ServedApps
from tests.fixtures.served_bundle import NOW

pytestmark = pytest.mark.ray
PATH = "/v1/recommendations"


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["recommendations"]]


@pytest.mark.parametrize(
    "body",
    [
        {"user_id": "u1", "device_type": "mobile", "k": 10},
        {"user_id": "u2"},
        {"user_id": "nobody"},
        {"session_id": "s1"},
        {},
        {"recent_items": ["i4", "i5"], "timestamp": NOW - 3600, "k": 3},
    ],
    ids=str,
)
def test_everybody_gets_an_answer(shop: httpx.Client, body: dict[str, Any]) -> None:
    response = shop.post(PATH, json=body, headers={"X-Request-Id": "r-1"})
    answer = response.json()
    assert response.status_code == 200, answer
    assert list(answer) == ["request_id", "user_id", "bundle_version", "degraded", "recommendations"]
    assert answer["request_id"].startswith("r-1.")
    assert response.headers.get_list("x-request-id") == [answer["request_id"]]
    assert answer["user_id"] == body.get("user_id")
    assert answer["bundle_version"] == "tiny-1"
    assert answer["degraded"] == []
    assert len(ids(answer)) == body.get("k", 10)


def test_known_users_have_features_and_a_seen_filter(shop: httpx.Client) -> None:
    mine = shop.post(PATH, json={"user_id": "u1", "k": 100}).json()
    unknown = shop.post(PATH, json={"user_id": "nobody", "k": 100}).json()
    anonymous = shop.post(PATH, json={"k": 100}).json()
    assert set(ids(unknown)) - set(ids(mine)) == {"i1", "i3"}
    assert unknown["recommendations"] == anonymous["recommendations"]
    assert mine["recommendations"][0]["score"] != unknown["recommendations"][0]["score"]


def test_many_at_once_get_each_their_own(shop: httpx.Client) -> None:
    bodies = [{"user_id": f"u{number % 6}", "k": number % 20 + 1} for number in range(64)]
    with ThreadPoolExecutor(16) as threads:
        responses = list(threads.map(lambda body: shop.post(PATH, json=body), bodies))
    for body, response in zip(bodies, responses, strict=True):
        assert response.status_code == 200
        assert response.json()["user_id"] == body["user_id"]
        assert len(ids(response.json())) == body["k"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b'{"nonsense": 1}', 422, "invalid_request"),
        (b'{"k": 1000}', 422, "invalid_request"),
        (b'{"timestamp": 5}', 422, "invalid_request"),
        (b"{", 400, "malformed_json"),
        (b"x" * (MAX_BODY_BYTES + 1), 413, "body_too_large"),
    ],
    ids=["field", "k", "time", "json", "size"],
)
def test_bad_requests_are_refused(shop: httpx.Client, content: bytes, status: int, code: str) -> None:
    response = shop.post(PATH, content=content, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert "Traceback" not in response.text


def test_status_items_and_docs(shop: httpx.Client, served: ServedApps) -> None:
    status = shop.get("/v1/status").json()
    assert status["placement"] in str(shop.base_url)
    assert status["ready"] is True
    assert status["stores"] == {"online": "ok", "interactions": "ok"}
    assert status["bundle"]["version"] == served.bundle.version
    assert shop.get("/v1/ready").json() == {"ready": True, "interactions": "ok"}
    assert shop.get("/v1/items", params={"limit": 2}).json()["total"] == 39
    assert shop.get("/v1/items/i1").json()["title"] == "Title 1"
    assert shop.get("/v1/items/i99").status_code == 404
    assert shop.get("/v1/items/i1/image").status_code == 404  # the tiny shop has no picture files
    assert shop.get("/openapi.json").json()["openapi"] == "3.1.0"
    assert shop.get("/docs").status_code == 200
    assert shop.get("/docs/assets/swagger-ui.css").status_code == 200
    assert shop.put(PATH).status_code == 405
    assert httpx.get(f"{served.url}/-/healthz").status_code == 200


def test_ids_with_slashes_and_newlines_pass_every_proxy(shop: httpx.Client) -> None:
    visitor = "v/seen\n of " + str(shop.base_url).rstrip("/").rsplit("/", 1)[1]
    encoded = quote(visitor, safe="")
    assert shop.get(f"/v1/users/{encoded}/data").json()["user_id"] == visitor
    assert shop.delete(f"/v1/users/{encoded}/seen").json() == {"user_id": visitor, "flushed": False}
    assert shop.delete("/v1/users/v%2Fseen").json()["user_id"] == "v/seen"
    assert shop.get("/v1/users/%2E%2E/data").json()["user_id"] == ".."
    assert shop.get("/v1/items/i1%2Fsimilar").status_code == 404
    assert shop.get("/v1/items/i1/similar").json()["item_id"] == "i1"
    assert [shop.get(f"/v1/users/{wrong}/data").status_code for wrong in ("", "%FF", "%")] == [422, 422, 422]


def test_an_event_is_known_to_the_next_recommendation_and_an_erasure_forgets_it(shop: httpx.Client) -> None:
    visitor = "visitor of " + str(shop.base_url).rstrip("/").rsplit("/", 1)[1]
    unknown = shop.post(PATH, json={"user_id": visitor, "k": 100}).json()
    event = {"user_id": visitor, "item_id": ids(unknown)[0], "event": "click", "event_id": visitor}
    told = [shop.post("/v1/interactions", json=event) for _ in range(2)]
    assert [(answer.status_code, answer.json()["duplicates"]) for answer in told] == [(202, 0), (202, 1)]
    after = shop.post(PATH, json={"user_id": visitor, "k": 100}).json()
    assert set(ids(unknown)) - set(ids(after)) == {event["item_id"]}
    stored = shop.get(f"/v1/users/{visitor}/data").json()
    assert [one["item_id"] for one in stored["recent_items"]] == [event["item_id"]]
    assert shop.delete(f"/v1/users/{visitor}").status_code == 200
    assert shop.post(PATH, json={"user_id": visitor, "k": 100}).json()["recommendations"] == unknown["recommendations"]
    assert shop.post("/v1/interactions", json=event).json()["error"]["code"] == "all_refused"
