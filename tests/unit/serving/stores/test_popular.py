"""How often items were seen lately, from posted events and from tables."""

from __future__ import annotations

import asyncio

import pytest
import redis

from contracts.bloom import item_hashes
from contracts.interactions import Interaction
from serving.stores.client import async_client
from serving.stores.config import StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore, NewInteraction
from serving.stores.popular import PopularityStore
from tests.fixtures.fake_stores import TODAY
from tests.fixtures.filled_stores import fill_stores


def view(item: str, number: int, day: int, *, seen: bool = True) -> NewInteraction:
    interaction = Interaction(
        event_id=f"{number}", item_id=item, event="view", timestamp=day * 86_400, accepted_at=0, user_id=f"u{number}"
    )
    return NewInteraction(interaction, None, (item_hashes([item])[0], day) if seen else None)


@pytest.mark.redis
async def test_interactions_count_half_after_three_days_and_nothing_after_the_window(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    client = async_client(config, server.address)
    store = InteractionStore(StoreConnection(config, "redis://test", client))
    days = [20_000, 20_000, 19_997, 19_994, 19_993]
    await store.add([view("a" if number else "b", number, day) for number, day in enumerate(days)])
    await store.add([view("b", 0, 20_000), view("a", 9, 20_000, seen=False)])
    popularity = PopularityStore(config, "redis://test", bulk)
    assert await popularity.read(20_000) == {"b": 1.0, "a": 1 + 0.5 + 0.25}
    assert await popularity.read(20_001) == pytest.approx({"b": 0.5 ** (1 / 3), "a": 0.5 ** (1 / 3) + 0.5 ** (4 / 3)})
    assert await popularity.read(20_100) == {}
    assert 7 * 86_400 < bulk.ttl("toys:v3:popular:20000") <= 8 * 86_400
    await client.aclose()


@pytest.mark.redis
async def test_tables_fill_their_days_and_leave_later_ones(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    bulk.hset("toys:v3:popular:" + str(TODAY), "gone", 5)
    bulk.hset("toys:v3:popular:" + str(TODAY + 1), "i9", 2)
    for _ in range(2):
        await asyncio.to_thread(fill_stores, config, server.address)
    found = await PopularityStore(config, server.address, bulk).read(TODAY + 1)
    by_age = {age: 0.5 ** (age / 3) for age in (1, 4)}
    assert found == pytest.approx({"i9": 2.0, "i3": by_age[1], "i1": by_age[1], "i5": by_age[4]})
