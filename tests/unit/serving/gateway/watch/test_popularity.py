"""Popular items follow what visitors do."""

from __future__ import annotations

from pathlib import Path

import fakeredis
import pytest

from contracts.bundle import Bundle
from contracts.errors import StoreError
from serving.gateway.watch.popularity import FreshPopularity
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
def redis() -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis()


@pytest.fixture
def fresh(shop: Shop, bundle: Bundle, popular: PopularItems, redis: fakeredis.FakeRedis) -> FreshPopularity:
    return FreshPopularity(PopularityStore(shop.config.stores, "redis://x", redis), popular, bundle, shop.clock)


async def test_what_was_seen_lately_comes_first_and_the_rest_as_before(
    fresh: FreshPopularity, popular: PopularItems, bundle: Bundle, redis: fakeredis.FakeRedis
) -> None:
    before = popular._order.tolist()
    await fresh.refresh()
    assert popular._order.tolist() == before, "an empty store changes nothing"
    for item, age, count in (("i7", 0, 2), ("i2", 0, 1), ("i5", 6, 2), ("not in the catalogue", 0, 99)):
        redis.hset(f"shop:v3:popular:{NOW // DAY_S - age}", item, count)
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
    monkeypatch.setattr("serving.gateway.watch.popularity.asyncio.sleep", stop)
    with pytest.raises(StoppedError):
        await fresh.run()
    assert popular._order.tolist() == before
