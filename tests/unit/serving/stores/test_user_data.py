"""What the store holds about a user: read, flushed, erased."""

from __future__ import annotations

import asyncio

import pytest
import redis
import redis.asyncio

from contracts.bloom import item_hashes
from contracts.errors import StoreError
from contracts.interactions import ERASURE_FIELD, Erasure, Interaction, decode_erasure
from contracts.presets import SHOP
from contracts.user_records import RecentItems
from serving.stores.config import StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore, NewInteraction
from serving.stores.recent import RecentItemStore
from serving.stores.user_data import UserDataStore, UserState
from serving.stores.user_features import UserFeatureStore
from tests.fixtures.filled_stores import fill_stores

NOW = 20_000 * 86_400
NOTHING = UserState(RecentItems(), RecentItems(), {}, None)


def view(user: str, item: str, event_id: str, day: int = 20_000) -> NewInteraction:
    interaction = Interaction(
        event_id=event_id, item_id=item, event="view", timestamp=NOW, accepted_at=NOW, user_id=user
    )
    return NewInteraction(interaction, "toys", (item_hashes([item])[0], day))


@pytest.fixture
def data(client: redis.asyncio.Redis, config: StoreConfig) -> UserDataStore:
    return UserDataStore(StoreConnection(config, "redis://test", client))


@pytest.fixture
def events(client: redis.asyncio.Redis, config: StoreConfig) -> InteractionStore:
    return InteractionStore(StoreConnection(config, "redis://test", client))


async def test_everything_that_interactions_left_is_told(data: UserDataStore, events: InteractionStore) -> None:
    await events.add([view("u", "a", "1"), view("u", "b", "2", 19_999), view("u", "c", "3")])
    assert await data.read("u") == UserState(
        RecentItems(("c", "b", "a"), (NOW,) * 3), RecentItems(("toys",) * 3, (NOW,) * 3), {20_000: 2, 19_999: 1}, None
    )
    assert await data.read("nobody") == NOTHING


async def test_a_flush_forgets_the_ring_and_nothing_else(data: UserDataStore, events: InteractionStore) -> None:
    await events.add([view("u", "a", "1"), view("v", "a", "2")])
    assert await data.flush_seen("u") is True
    assert await data.flush_seen("u") is False
    assert ((await data.read("u")).seen, (await data.read("u")).recent.item_ids) == ({}, ("a",))
    assert (await data.read("v")).seen == {20_000: 1}


async def test_an_erased_user_leaves_nothing_but_the_erasure(
    data: UserDataStore, events: InteractionStore, client: redis.asyncio.Redis
) -> None:
    await events.add([view("u", "a", "1"), view("v", "a", "2")])
    await data.erase("u", NOW + 9)
    assert await data.read("u") == UserState(RecentItems(), RecentItems(), {}, NOW + 9)
    assert (await data.read("v")).recent.item_ids == ("a",)
    keys = {key.decode().rsplit(":", 1)[1] for key in await client.keys("toys:v3:*:u:u")}
    assert keys == set()
    [*_, (_, fields)] = await client.xrange("toys:v3:interactions")
    assert decode_erasure(fields[ERASURE_FIELD]) == Erasure(user_id="u", erased_at=NOW + 9)
    assert await events.add([view("u", "b", "3")]) == ["erased"]
    await data.erase("nobody", NOW)
    assert (await data.read("nobody")).erased_at == NOW


@pytest.mark.redis
async def test_the_row_of_the_feature_store_goes_too(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    await asyncio.to_thread(fill_stores, config, server.address)
    stores = StoreConnection.open(config, server.address)
    features = UserFeatureStore(stores, SHOP)
    assert (await features.read(["u1", "u2"])).known.tolist() == [True, True]
    await UserDataStore(stores).erase("u1", NOW)
    assert (await features.read(["u1", "u2"])).known.tolist() == [False, True]
    assert (await RecentItemStore(stores).read(["u:u1"]))[0] == RecentItems()
    assert not [key for key in bulk.scan_iter() if b"u1" in key]
    await stores.client.aclose()


@pytest.mark.redis
async def test_a_store_without_room_erases_nothing(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    stores = StoreConnection.open(config, server.address)
    await InteractionStore(stores).add([view("u", "a", "1")])
    admin = server.admin_client()
    limit = admin.config_get("maxmemory")["maxmemory"]
    admin.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreError, match=r"is full and takes no writes"):
            await UserDataStore(stores).erase("u", NOW)
    finally:
        admin.config_set("maxmemory", limit)
        admin.close()
    assert (await UserDataStore(stores).read("u")).recent.item_ids == ("a",)
    await stores.client.aclose()
