"""Popular items follow what visitors do."""

from __future__ import annotations

from pathlib import Path

import fakeredis
import httpx
import pytest

from contracts.bundle import Bundle
from contracts.errors import StoreError
from serving.gateway.popularity import FreshPopularity
from serving.stages.popular import PopularItems
from serving.stores.popular import PopularityStore
from tests.fixtures.served_bundle import DAY_S, NOW
from tests.unit.serving.gateway.conftest import Shop


@pytest.fixture
def shop(bundle: Bundle, raw_dir: Path) -> Shop:
    return Shop(bundle, raw_dir, online=True)


@pytest.fixture
def popular(bundle: Bundle) -> PopularItems:
    return PopularItems.open(bundle, 40)


@pytest.fixture
def fresh(shop: Shop, bundle: Bundle, popular: PopularItems) -> FreshPopularity:
    store = PopularityStore(shop.config.stores, "redis://x", fakeredis.FakeRedis(server=shop.server))
    return FreshPopularity(store, popular, bundle, shop.clock)


async def test_what_was_seen_lately_comes_first_and_the_rest_as_before(
    client: httpx.AsyncClient, fresh: FreshPopularity, popular: PopularItems, bundle: Bundle, shop: Shop
) -> None:
    before = popular._order.tolist()
    await fresh.refresh()
    assert popular._order.tolist() == before, "an empty store changes nothing"
    events = [("i7", 0), ("i7", 0), ("i2", 0), ("i5", 6), ("i5", 6)]
    posted = [
        {"user_id": f"u{number}", "item_id": item, "event": "view", "timestamp": NOW - age * DAY_S}
        for number, (item, age) in enumerate(events)
    ]
    assert (await client.post("/v1/interactions", json=posted)).json()["accepted"] == 5
    await shop.redis.hincrby(f"shop:v2:popular:{NOW // DAY_S}", "not in the catalogue", 99)
    await fresh.refresh()
    first = [bundle.item_rows[item] for item in ("i7", "i2", "i5")]
    assert popular._order.tolist() == first + [row for row in before if row not in first]


async def test_a_store_that_is_down_leaves_the_order_alone(
    fresh: FreshPopularity, popular: PopularItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(self: PopularityStore, today: int) -> dict[str, float]:
        raise StoreError("the store is down")

    class StoppedError(Exception):
        pass

    async def stop(seconds: float) -> None:
        raise StoppedError

    before = popular._order.tolist()
    monkeypatch.setattr(PopularityStore, "read", down)
    monkeypatch.setattr("serving.gateway.popularity.asyncio.sleep", stop)
    with pytest.raises(StoppedError):
        await fresh.run()
    assert popular._order.tolist() == before
