"""POST /v1/interactions over HTTP, without a server: what is accepted, what is refused, and what it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.bundle import Bundle
from contracts.ids import user_subject
from contracts.interactions import STREAM_FIELD, Interaction, decode
from contracts.user_records import RecentItems
from serving.stores.connection import StoreConnection
from serving.stores.recent import RecentItemStore
from serving.watching.metrics import EVENTS
from tests.fixtures.fake_stores import TODAY
from tests.fixtures.served_bundle import DAY_S, NOW
from tests.unit.serving.gateway.conftest import Shop

PATH = "/v1/interactions"


def event(item: str = "i3", user: str | None = "u3", **more: Any) -> dict[str, Any]:
    return {"item_id": item, "event": "click", **({"user_id": user} if user else {}), **more}


@pytest.fixture
def shop_with_module(bundle: Bundle, raw_dir: Path) -> Shop:
    return Shop(bundle, raw_dir, online=True, stores={"read_timeout_ms": 60_000, "seen_backend": "module"})


async def stream(shop: Shop) -> list[Interaction]:
    return [decode(fields[STREAM_FIELD]) for _, fields in await shop.redis.xrange("shop:v3:interactions")]


async def recent(shop: Shop, user: str = "u3") -> RecentItems:
    [found] = await RecentItemStore(StoreConnection(shop.config.stores, "redis://x", shop.redis)).read(
        [user_subject(user)]
    )
    return found


async def test_one_event_is_accepted_as_it_was_sent(client: httpx.AsyncClient, shop: Shop) -> None:
    sent = event(session_id="s", event_id="e1", timestamp=NOW - 5, device_type="mobile", request_id="r1")
    response = await client.post(PATH, json=sent, headers={"x-request-id": "r2"})
    assert (response.status_code, response.json()) == (202, {"accepted": 1, "duplicates": 0, "refused": []})
    assert response.headers["x-request-id"].startswith("r2.")
    assert await stream(shop) == [Interaction(accepted_at=NOW, **sent)]


@pytest.mark.parametrize("body", [event("i3"), event("i3", user=None, session_id="s9")])
async def test_the_next_recommendation_knows_it(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    asked = {"k": 100, **{key: value for key, value in body.items() if key in {"user_id", "session_id"}}}
    before = (await client.post("/v1/recommendations", json=asked)).json()["recommendations"]
    assert (await client.post(PATH, json=body)).status_code == 202
    after = (await client.post("/v1/recommendations", json=asked)).json()["recommendations"]
    assert {item["item_id"] for item in before} - {item["item_id"] for item in after} == {"i3"}
    scores = {item["item_id"]: item["score"] for item in before}
    assert any(abs(item["score"] - scores[item["item_id"]]) > 1e-3 for item in after), "the history counts"


async def test_the_next_recommendation_knows_it_from_redisbloom(shop_with_module: Shop) -> None:
    transport, asked = httpx.ASGITransport(app=shop_with_module.app), {"k": 100, "user_id": "u3"}
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        before = (await client.post("/v1/recommendations", json=asked)).json()
        assert (await client.post(PATH, json=event("i3"))).status_code == 202
        after = (await client.post("/v1/recommendations", json=asked)).json()
    shown = [{item["item_id"] for item in answer["recommendations"]} for answer in (before, after)]
    assert (shown[0] - shown[1], before["degraded"], after["degraded"]) == ({"i3"}, [], [])
    assert await shop_with_module.redis.keys("shop:v3:seen*") != []
    await shop_with_module.telemetry._estimate()
    assert 0 <= (shop_with_module.telemetry._seen.mean or 0) < 0.02


async def test_a_list_is_taken_apart(client: httpx.AsyncClient, shop: Shop) -> None:
    sent = [
        event("i1", event_id="e1"),
        event("nothing"),
        event("i2", user=None),
        event("i1", event_id="e1"),
        event("i2", session_id="s1", user=None),
        {"item_id": "i1", "event": "stare", "user_id": "u3"},
        {"item_id": "i1", "event": "view", "user_id": "u3", "colour": "red"},
        17,
    ]
    response = await client.post(PATH, json=sent)
    answer = response.json()
    assert (response.status_code, answer["accepted"], answer["duplicates"]) == (202, 2, 1)
    told = {refused["index"]: (refused["code"], refused["message"]) for refused in answer["refused"]}
    assert told.keys() == {1, 2, 5, 6, 7}
    assert told[1] == ("unknown_item", "the catalogue has no item 'nothing'")
    assert told[2] == ("no_subject", "neither user_id nor session_id is given; give one")
    assert told[5] == ("invalid_event", "Invalid enum value 'stare' - at `$.event`")
    assert told[6][1].endswith(
        "legal fields: item_id, event, user_id, session_id, event_id, timestamp, device_type, request_id, context"
    )
    assert told[7][1] == "Expected `object`, got `int`"
    assert [one.item_id for one in await stream(shop)] == ["i1", "i2"]


@pytest.mark.parametrize("body", [event("nothing"), [event("nothing"), 17]])
async def test_nothing_but_refusals_is_a_422(client: httpx.AsyncClient, body: Any) -> None:
    response = await client.post(PATH, json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (422, "all_refused")
    assert error["message"].endswith("accepted; the first: the catalogue has no item 'nothing'")
    assert error["details"]["refused"][0]["code"] == "unknown_item"


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"{", 400, "the body is not valid JSON"),
        (b'[{"item_id": "i1"}, nonsense]', 400, "the body is not valid JSON"),
        (b"17", 422, "expected an event or a list of 1 to 100 events"),
        (b"[]", 422, "0 events, expected 1 to 100 in a request"),
        (b"[" + b",".join([b"1"] * 101) + b"]", 422, "101 events, expected 1 to 100"),
        (b"{}", 422, "Object missing required field `item_id`"),
        (b"[" * 30_000, 400, "the body is not valid JSON"),
    ],
)
async def test_other_bodies_are_refused_as_a_whole(
    client: httpx.AsyncClient, content: bytes, status: int, message: str
) -> None:
    response = await client.post(PATH, content=content, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


async def test_what_a_client_writes_is_not_taken_for_our_message(client: httpx.AsyncClient) -> None:
    bad = event(event_id="b") | {"event": "unknown field - at `$.zzz`"}
    answer = (await client.post(PATH, json=[event(event_id="a"), bad])).json()
    assert (answer["accepted"], [refused["code"] for refused in answer["refused"]]) == (1, ["invalid_event"])


async def test_the_method_is_post_and_the_body_json(client: httpx.AsyncClient) -> None:
    got = await client.get(PATH)
    assert (got.status_code, got.headers["allow"]) == (405, "POST")
    assert (await client.post(PATH, content=b"x", headers={"content-type": "text/plain"})).status_code == 415


async def test_repeats_change_nothing(client: httpx.AsyncClient, shop: Shop) -> None:
    body = [event("i1", event_id="e1"), event("i2", timestamp=NOW - 9), event("i2", timestamp=NOW - 9)]
    assert (await client.post(PATH, json=body)).json()["accepted"] == 3, "equal rows of one request are two events"
    assert (await client.post(PATH, json=body)).json() == {"accepted": 0, "duplicates": 3, "refused": []}
    assert (await recent(shop)).item_ids == ("i1", "i2", "i2")
    ids = [one.event_id for one in await stream(shop)]
    assert ids[0] == "e1"
    assert all(len(made) == 32 for made in ids[1:])


async def test_a_user_and_a_session_of_one_name_are_two(client: httpx.AsyncClient, shop: Shop) -> None:
    both = [event("i1", timestamp=NOW - 9) | {"user_id": "77"}, event("i1", timestamp=NOW - 9, session_id="77")]
    del both[1]["user_id"]
    assert (await client.post(PATH, json=both)).json()["accepted"] == 2
    ids = [one.event_id for one in await stream(shop)]
    assert ids[0] != ids[1]
    named = [one | {"event_id": "e1"} for one in both]
    assert (await client.post(PATH, json=named)).json()["accepted"] == 2
    assert (await client.post(PATH, json=[*both, *named])).json()["duplicates"] == 4


async def test_without_id_and_time_every_event_is_a_new_one(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await client.post(PATH, json=event())).json()["accepted"] == 1


async def test_times_at_the_edges(client: httpx.AsyncClient, shop: Shop) -> None:
    oldest = NOW - 30 * DAY_S
    sent = {
        "now": event("i1", timestamp=0),
        "ahead": event("i2", timestamp=NOW + 300),
        "too far ahead": event("i3", timestamp=NOW + 301),
        "oldest": event("i4", timestamp=oldest),
        "too old": event("i5", timestamp=oldest - 1),
        "before the window": event("i6", timestamp=(TODAY - 6) * DAY_S - 1),
        "in the window": event("i7", timestamp=(TODAY - 6) * DAY_S),
    }
    answer = (await client.post(PATH, json=list(sent.values()))).json()
    assert [(list(sent)[refused["index"]], refused["code"]) for refused in answer["refused"]] == [
        ("too far ahead", "in_the_future"),
        ("too old", "too_old"),
    ]
    assert f"is 301 s ahead of {NOW}; at most 300 s are taken" in answer["refused"][0]["message"]
    assert f"is before {oldest}, the oldest taken" in answer["refused"][1]["message"]
    found = await recent(shop)
    assert dict(zip(found.item_ids, found.timestamps, strict=True)) == {
        "i2": NOW,
        "i1": NOW,
        "i7": (TODAY - 6) * DAY_S,
        "i6": (TODAY - 6) * DAY_S - 1,
        "i4": oldest,
    }
    shown = (await client.post("/v1/recommendations", json={"user_id": "u3", "k": 100})).json()["recommendations"]
    assert {"i1", "i2", "i7"}.isdisjoint({item["item_id"] for item in shown})
    assert {"i4", "i6"} <= {item["item_id"] for item in shown}


async def test_only_events_that_the_bundle_says_hide_items(
    bundle: Bundle, raw_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "manifest", bundle.manifest.model_copy(update={"seen_events": ("purchase",)}))
    shop = Shop(bundle, raw_dir, online=True)
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        await client.post(PATH, json=[event("i1"), {**event("i2"), "event": "purchase"}])
        answer = (await client.post("/v1/recommendations", json={"user_id": "u3", "k": 100})).json()
    shown = {item["item_id"] for item in answer["recommendations"]}
    assert ("i1" in shown, "i2" in shown) == (True, False)


async def test_categories_count_whether_answers_show_them_or_not(
    bundle: Bundle, raw_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in training, the models' category counts, whatever filters and answers have."""
    monkeypatch.setattr(bundle, "values", {})
    shop = Shop(bundle, raw_dir, online=True)
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        await client.post(PATH, json=event("i1"))
        told = (await client.get("/v1/users/u3/data")).json()
    assert told["recent_categories"] == [{"category_l1": "books", "timestamp": NOW}]


async def test_events_of_erased_users_are_refused(client: httpx.AsyncClient, shop: Shop) -> None:
    await shop.redis.hset("shop:v3:erased", "u3", NOW)
    answer = (await client.post(PATH, json=[event(), event(user="u4")])).json()
    assert (answer["accepted"], answer["refused"][0]["code"]) == (1, "erased_user")
    assert (await client.post(PATH, json=event())).json()["error"]["code"] == "all_refused"


async def test_events_are_counted(client: httpx.AsyncClient, shop: Shop) -> None:
    await client.post(PATH, json=[event(event_id="e1"), event(event_id="e1"), event("nothing")])
    await client.post(PATH, json=event("nothing"))
    counted = shop.telemetry._recorder.take()
    assert {labels[0]: count for (metric, labels), count in counted.added.items() if metric is EVENTS} == {
        "accepted": 1,
        "duplicate": 1,
        "refused": 2,
    }
    assert {labels for (_, labels) in counted.observed if PATH in labels} == {(PATH, "202"), (PATH, "422")}
