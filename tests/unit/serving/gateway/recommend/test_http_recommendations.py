"""POST /v1/recommendations over HTTP, without a server: answers, refusals and faults."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from recommender_api.requests import MAX_BODY_BYTES
from serving.gateway.queue.batcher import Batcher
from serving.gateway.queue.config import BatcherConfig
from serving.gateway.queue.lanes import BudgetLanes
from serving.gateway.recommend.service import Answer, BatchFacts
from tests.fixtures.fake_stores import Fault
from tests.fixtures.served_bundle import DAY_S, NOW
from tests.unit.serving.gateway.conftest import Shop

PATH = "/v1/recommendations"
FIRST_DAY = 1_767_225_600  # 2026-01-01 00:00 UTC
FIELDS = ["rank", "item_id", "score", "title", "category_l1", "category_l2", "gender", "price", "image_url"]


async def test_the_answer_has_exactly_the_promised_fields(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json={"user_id": "u1", "device_type": "mobile", "k": 10})
    answer = response.json()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert list(answer) == ["request_id", "user_id", "bundle_version", "degraded", "recommendations"]
    assert (answer["user_id"], answer["bundle_version"], answer["degraded"]) == ("u1", "tiny-1", [])
    items = answer["recommendations"]
    assert [list(item) for item in items] == [FIELDS] * 10
    assert [item["rank"] for item in items] == list(range(1, 11))
    scores = [item["score"] for item in items]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)


async def test_metadata_belongs_to_the_item(client: httpx.AsyncClient) -> None:
    answer = (await client.post(PATH, json={"k": 100})).json()
    by_id = {item["item_id"]: item for item in answer["recommendations"]}
    assert len(by_id) == 39
    assert {name: by_id["i3"][name] for name in FIELDS[3:]} == {
        "title": "Title 3",
        "category_l1": "toys",
        "category_l2": "a",
        "gender": "M",
        "price": None,
        "image_url": None,  # its picture is not there
    }
    assert by_id["i1"]["image_url"] == "/v1/items/i1/image"
    assert by_id["i4"]["price"] == 4.0
    assert "i40" not in by_id  # launched tomorrow


@pytest.mark.parametrize(
    "body", [{}, {"user_id": None}, {"user_id": "u1"}, {"user_id": "nobody"}, {"session_id": "s1"}]
)
async def test_everybody_gets_ten_items_by_default(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = (await client.post(PATH, json=body)).json()
    assert len(answer["recommendations"]) == 10
    assert answer["user_id"] == body.get("user_id")


async def test_seen_items_are_left_out_for_their_subject_only(client: httpx.AsyncClient) -> None:
    mine = (await client.post(PATH, json={"user_id": "u1", "k": 100})).json()["recommendations"]
    others = (await client.post(PATH, json={"user_id": "u3", "k": 100})).json()["recommendations"]
    assert {item["item_id"] for item in others} - {item["item_id"] for item in mine} == {"i1", "i3"}


async def test_device_time_and_recent_items_change_the_scores(client: httpx.AsyncClient) -> None:
    async def scores(**body: Any) -> list[float]:
        answer = (await client.post(PATH, json=body)).json()["recommendations"]
        return [item["score"] for item in answer]

    plain = await scores()
    assert await scores(timestamp=NOW) == plain
    assert await scores(timestamp=0) == plain
    assert await scores(device_type="toaster") == plain
    assert await scores(recent_items=["nothing that exists"]) == plain
    for change in ({"device_type": "mobile"}, {"timestamp": NOW - 6 * 3600}, {"recent_items": ["i2"]}):
        assert await scores(**change) != plain, change


async def test_a_request_id_of_its_own_begins_with_the_clients(client: httpx.AsyncClient) -> None:
    async def ids(**headers: str) -> str:
        response = await client.post(PATH, json={}, headers=headers)
        assert response.headers.get_list("x-request-id") == [response.json()["request_id"]]
        return str(response.json()["request_id"])

    for sane in ("my-id.1:a_B", "x" * 128):
        one, other = await ids(**{"X-Request-Id": sane}), await ids(**{"X-Request-Id": sane})
        assert one != other
        assert one.rpartition(".")[0] == other.rpartition(".")[0] == sane
        assert len(one) <= 256, "events could not name it"
    for bad in ("", "with space", "x" * 129, "<script>"):
        made = await ids(**{"X-Request-Id": bad})
        assert made != bad
        assert len(made) == 32


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"nonsense": 1}, "unknown field `nonsense`; legal fields: user_id, session_id"),
    ({"x at `$.zzz`": 1}, "unknown field `x at `$.zzz``; legal fields: user_id, session_id"),
    ({"device_type": ["unknown field"]}, "Expected `str | null`, got `array` - at `$.device_type`"),
    ({"explain": "yes"}, "Expected `bool`, got `str` - at `$.explain`"),
    ({"candidate_ids": ["i1"]}, "unknown field `candidate_ids`; legal fields: user_id"),
    ({"k": 0}, "Expected `int` >= 1 - at `$.k`"),
    ({"k": 101}, "Expected `int` <= 100 - at `$.k`"),
    ({"k": "ten"}, "Expected `int`, got `str` - at `$.k`"),
    ({"k": 1.5}, "Expected `int`, got `float` - at `$.k`"),
    ({"k": True}, "Expected `int`, got `bool` - at `$.k`"),
    ({"k": None}, "Expected `int`, got `null` - at `$.k`"),
    ({"user_id": 7}, "got `int` - at `$.user_id`"),
    ({"user_id": ""}, "Expected `str` of length >= 1 - at `$.user_id`"),
    ({"user_id": "x" * 257}, "Expected `str` of length <= 256 - at `$.user_id`"),
    ({"session_id": ["s"]}, "got `array` - at `$.session_id`"),
    ({"device_type": {"a": 1}}, "got `object` - at `$.device_type`"),
    ({"recent_items": "i1"}, "Expected `array`, got `str` - at `$.recent_items`"),
    ({"recent_items": [1]}, "Expected `str`, got `int` - at `$.recent_items[0]`"),
    ({"recent_items": ["i1"] * 101}, "Expected `array` of length <= 100 - at `$.recent_items`"),
    ({"timestamp": "now"}, "got `str` - at `$.timestamp`"),
    ({"timestamp": FIRST_DAY - 1}, f"timestamp {FIRST_DAY - 1} is out of range; expected Unix seconds within"),
    ({"timestamp": NOW + DAY_S + 1}, f"within [{FIRST_DAY}, {NOW + DAY_S}]"),
    ({"timestamp": -1}, "timestamp -1 is out of range"),
    ({"timestamp": 10**30}, "is out of range"),
]


@pytest.mark.parametrize(("body", "message"), REFUSED, ids=[str(body)[:40] for body, _ in REFUSED])
async def test_bad_requests_are_refused_by_name(client: httpx.AsyncClient, body: dict[str, Any], message: str) -> None:
    response = await client.post(PATH, json=body)
    assert response.status_code == 422
    error = response.json()["error"]
    assert list(error) == ["code", "message", "details"]
    assert error["code"] == "invalid_request"
    assert message in error["message"]


@pytest.mark.parametrize("timestamp", [FIRST_DAY, NOW + DAY_S, None])
async def test_the_ends_of_the_time_range_are_inside(client: httpx.AsyncClient, timestamp: int | None) -> None:
    assert (await client.post(PATH, json={"timestamp": timestamp})).status_code == 200


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"nonsense", b'{"k": NaN}', b'{"k": Infinity}', b"\xff\xfe", b'{"user_id": "\xff"}'],
)
async def test_what_is_not_json_is_refused(client: httpx.AsyncClient, content: bytes) -> None:
    response = await client.post(PATH, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "malformed_json"


@pytest.mark.parametrize("content", [b"[]", b"1", b'"text"', b"null", b"[" * 10_000])
async def test_json_that_is_no_object_is_refused(client: httpx.AsyncClient, content: bytes) -> None:
    response = await client.post(PATH, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert "Expected `object`" in response.json()["error"]["message"]


async def test_strings_that_cannot_be_written_down_are_refused(client: httpx.AsyncClient) -> None:
    content = b'{"user_id": "\\ud800"}'
    response = await client.post(PATH, content=content, headers={"content-type": "application/json"})
    assert response.status_code in {400, 422}


async def test_other_content_types_are_refused(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, content=b"{}", headers={"content-type": "text/plain"})
    assert response.status_code == 415
    assert response.json()["error"]["message"] == "content type is 'text/plain', expected application/json"
    fine = await client.post(PATH, content=b"{}", headers={"content-type": "Application/JSON; charset=utf-8"})
    assert fine.status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_other_methods_are_refused(client: httpx.AsyncClient, method: str) -> None:
    response = await client.request(method, PATH)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"]["code"] == "method_not_allowed"


async def test_large_bodies_are_refused_declared_or_not(client: httpx.AsyncClient) -> None:
    large = json.dumps({"user_id": "x" * MAX_BODY_BYTES}).encode()
    declared = await client.post(PATH, content=large, headers={"content-type": "application/json"})
    assert declared.status_code == 413

    async def in_pieces() -> Any:
        for start in range(0, len(large), 100_000):
            yield large[start : start + 100_000]

    streamed = await client.post(PATH, content=in_pieces(), headers={"content-type": "application/json"})
    assert streamed.status_code == 413
    assert streamed.json()["error"]["message"].endswith(f"bytes or more, at most {MAX_BODY_BYTES} are taken")


async def test_a_body_in_pieces_is_put_together(client: httpx.AsyncClient) -> None:
    async def in_pieces() -> Any:
        yield b'{"k"'
        yield b": 3}"

    response = await client.post(PATH, content=in_pieces(), headers={"content-type": "application/json"})
    assert len(response.json()["recommendations"]) == 3


async def test_a_client_that_leaves_in_mid_request_is_no_error(shop: Shop) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"shop"), (b"content-type", b"application/json")]
    await shop.app({"type": "http", "method": "POST", "path": PATH, "headers": headers}, receive, send)
    assert sent == []


async def test_failing_stores_are_named(client: httpx.AsyncClient, shop: Shop) -> None:
    shop.users.fault = shop.recent.fault = shop.rings.fault = Fault(fails=True)
    response = await client.post(PATH, json={"user_id": "u1"})
    assert response.status_code == 200
    assert response.json()["degraded"] == ["user_features", "recent_items", "seen_filter"]
    assert shop.service.degraded == ("recent_items", "seen_filter", "user_features")


async def test_refusals_carry_the_request_id(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json={"k": 0}, headers={"X-Request-Id": "r8"})
    assert (response.status_code, response.headers["x-request-id"].split(".")[0]) == (422, "r8")


async def test_a_bug_shows_no_traceback(client: httpx.AsyncClient, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("very private")

    monkeypatch.setattr(shop.catalogue, "recommendation", broken)
    response = await client.post(PATH, json={}, headers={"X-Request-Id": "r7"})
    assert response.status_code == 500
    message = f"request {response.headers['x-request-id']} could not be answered"
    assert response.json() == {"error": {"code": "internal_error", "message": message, "details": {}}}
    assert message.startswith("request r7.")


async def test_overload_is_429_with_a_time_to_come_back(client: httpx.AsyncClient, shop: Shop) -> None:
    started, released = asyncio.Event(), asyncio.Event()

    async def slow(asked: Any, waited_ms: Any) -> list[Answer]:
        started.set()
        await released.wait()
        return [Answer(b"{}", None, (), 0.0, BatchFacts("tiny-1", len(asked), {}, {}))] * len(asked)

    config = BatcherConfig(max_batch_size=1, max_running_batches=1, max_queued=1)
    shop.service._recommendations = BudgetLanes(lambda: Batcher(slow, config), config, 60_000)
    tasks = [asyncio.create_task(client.post(PATH, json={}))]
    await asyncio.wait_for(started.wait(), timeout=20)
    tasks += [asyncio.create_task(client.post(PATH, json={})) for _ in range(9)]
    async with asyncio.timeout(20):
        while sum(task.done() for task in tasks) < 8:
            await asyncio.sleep(0.001)
    released.set()
    responses = await asyncio.gather(*tasks)
    assert sorted(response.status_code for response in responses) == [200] * 2 + [429] * 8
    refused = next(response for response in responses if response.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "overloaded"


async def test_requests_at_once_are_answered_each_with_its_own(client: httpx.AsyncClient) -> None:
    bodies = [{"user_id": f"u{number}", "k": number} for number in range(1, 40)]
    answers = [response.json() for response in await asyncio.gather(*(client.post(PATH, json=b) for b in bodies))]
    for body, answer in zip(bodies, answers, strict=True):
        assert answer["user_id"] == body["user_id"]
        assert len(answer["recommendations"]) == min(body["k"], 39 - 2 * (body["user_id"] == "u1"))


@pytest.mark.parametrize("budget", ["0", "-5", "1.5", "soon", "60001", "9" * 400])
async def test_a_budget_that_is_none_is_refused(client: httpx.AsyncClient, budget: str) -> None:
    response = await client.post(PATH, json={}, headers={"X-Budget-Ms": budget})
    assert response.status_code == 422
    assert "expected whole milliseconds from 1 to 60000" in response.json()["error"]["message"]


async def test_a_request_may_bring_its_own_budget(client: httpx.AsyncClient) -> None:
    patient = await client.post(PATH, json={}, headers={"X-Budget-Ms": "60000"})
    hasty = await client.post(PATH, json={}, headers={"X-Budget-Ms": "1"})
    assert patient.json()["degraded"] == []
    assert "retrieval" in hasty.json()["degraded"]
    assert len(hasty.json()["recommendations"]) == 10
