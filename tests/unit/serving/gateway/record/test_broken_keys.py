"""Broken keys behind the whole API: each costs its own user one part, by name, in either backend of seen items."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio

from contracts.bundle import Bundle
from contracts.messages import PipelineResult
from recommender_api.requests import RecommendationRequest
from serving.gateway.recommend.asked import Asked
from serving.stores.broken import BROKEN
from serving.stores.keys import Keys
from serving.watching.metrics import BROKEN_KEYS
from tests.fixtures.fake_stores import TODAY
from tests.unit.serving.gateway.conftest import Shop

USERS = ["u1", "u2", "u3"]


@pytest.fixture(params=["bitmap", "module"])
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def shop(bundle: Bundle, raw_dir: Path, backend: str) -> Shop:
    BROKEN.take()
    return Shop(bundle, raw_dir, online=True, stores={"read_timeout_ms": 60_000, "seen_backend": backend})


@pytest.fixture
def keys(shop: Shop) -> Keys:
    return Keys(shop.config.stores.shop)


async def view(client: httpx.AsyncClient, *items: str) -> None:
    events = [{"user_id": user, "item_id": item, "event": "view"} for user in USERS for item in items]
    assert (await client.post("/v1/interactions", json=events)).json()["accepted"] == len(events)


async def batch(shop: Shop) -> PipelineResult:
    asked = [Asked(user, RecommendationRequest(user_id=user, k=100)) for user in USERS]
    return await shop.service.run(asked, [60_000.0] * len(asked))


def shown(result: PipelineResult) -> list[set[int]]:
    ranked = result.ranked
    return [
        set(ranked.rows[start:end].tolist()) for start, end in zip(ranked.offsets, ranked.offsets[1:], strict=False)
    ]


def seen_keys(keys: Keys, user: str, backend: str) -> Sequence[str]:
    subject = f"u:{user}"
    return [keys.seen(subject)] if backend == "bitmap" else [keys.seen_days(subject), keys.seen_on(subject, TODAY)]


async def harm(client: redis.asyncio.Redis, key: str, how: str) -> None:
    await client.delete(key)
    await (client.rpush(key, "a list") if how == "of another type" else client.set(key, how))


@pytest.mark.parametrize("how", ["of another type", "short", "", "\x00" * 640])
@pytest.mark.parametrize("which", [0, -1])
async def test_what_one_user_saw_cannot_be_read(
    client: httpx.AsyncClient, shop: Shop, keys: Keys, backend: str, which: int, how: str
) -> None:
    await view(client, "i3")
    whole = await batch(shop)
    assert whole.degraded == ((), (), ())
    await harm(shop.redis, seen_keys(keys, "u2", backend)[which], how)
    result = await batch(shop)
    assert result.degraded == ((), ("seen_filter",), ())
    before, after = shown(whole), shown(result)
    assert (after[0], after[2]) == (before[0], before[2])
    assert len(after[1] - before[1]) == 1
    assert BROKEN.take()[BROKEN_KEYS, ("seen",)] >= 1
    answer = (await client.post("/v1/recommendations", json={"user_id": "u2"})).json()
    assert answer["degraded"] == ["seen_filter"]
    answer = (await client.post("/v1/recommendations", json={"user_id": "u1"})).json()
    assert answer["degraded"] == []
    await view(client, "i4")  # is accepted, and what it wrote can be read
    assert (await batch(shop)).degraded == ((), (), ())


@pytest.mark.parametrize(
    "how", ["of another type", "short", "", "\x92\x91\xa1a\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff"]
)
async def test_what_one_user_did_cannot_be_read(client: httpx.AsyncClient, shop: Shop, keys: Keys, how: str) -> None:
    await view(client, "i3")
    value: Any = how if how == "of another type" else how.encode("latin-1")
    await harm(shop.redis, keys.recent("u:u2"), value)
    assert (await batch(shop)).degraded == ((), ("recent_items",), ())
    assert BROKEN.take() == {(BROKEN_KEYS, ("recent_items",)): 1.0}
    await view(client, "i4")
    assert (await batch(shop)).degraded == ((), (), ())


@pytest.mark.parametrize("how", ["of another type", "short"])
async def test_an_export_tells_what_can_be_read_and_an_erasure_removes_the_rest(
    client: httpx.AsyncClient, shop: Shop, keys: Keys, backend: str, how: str
) -> None:
    await view(client, "i3")
    subject = "u:u2"
    await harm(shop.redis, keys.recent(subject), how)
    await harm(shop.redis, seen_keys(keys, "u2", backend)[0], how)
    told = (await client.get("/v1/users/u2/data")).json()
    assert (told["recent_items"], told["seen"]) == ([], [])
    assert len(told["recent_categories"]) == 1
    assert sorted(told["unreadable"]) == ["recent_items", "seen"]
    assert (await client.get("/v1/users/u1/data")).json()["unreadable"] == []
    await harm(shop.redis, keys.day(subject), how)
    assert sorted((await client.get("/v1/users/u2/data")).json()["unreadable"]) == [
        "categories",
        "recent_items",
        "seen",
    ]
    assert (await client.delete("/v1/users/u2")).status_code == 200
    assert await shop.redis.keys(f"*{subject}*") == []
    assert (await client.get("/v1/users/u2/data")).json()["unreadable"] == []


async def test_a_flush_removes_filters_whose_days_are_lost(
    client: httpx.AsyncClient, shop: Shop, keys: Keys, backend: str
) -> None:
    await view(client, "i3")
    await harm(shop.redis, seen_keys(keys, "u2", backend)[0], "short")
    assert (await client.delete("/v1/users/u2/seen")).json()["flushed"] is True
    assert await shop.redis.keys("*:seen*:u:u2*") == []
    assert (await batch(shop)).degraded == ((), (), ())


async def test_the_time_of_an_erasure_cannot_be_read(client: httpx.AsyncClient, shop: Shop, keys: Keys) -> None:
    await client.delete("/v1/users/u2")
    await shop.redis.hset(keys.erased, "u2", "long ago")
    told = (await client.get("/v1/users/u2/data")).json()
    assert (told["erased_at"], told["unreadable"]) == (0, ["erased"])
    event = {"user_id": "u2", "item_id": "i3", "event": "view"}
    assert "erased_user" in (await client.post("/v1/interactions", json=event)).text


async def test_nobody_is_half_erased_where_erasures_cannot_be_noted(
    client: httpx.AsyncClient, shop: Shop, keys: Keys
) -> None:
    await view(client, "i3")
    await harm(shop.redis, keys.erased, "short")
    assert (await client.delete("/v1/users/u2")).status_code == 503
    assert len((await client.get("/v1/users/u2/data")).json()["recent_items"]) == 1
    assert (await batch(shop)).degraded == ((), (), ())
