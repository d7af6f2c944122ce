"""One broken key harms its own user only, and materialize finds and repairs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis

from serving.stores.check import what_is_missing
from serving.stores.client import async_client
from serving.stores.config import StoreConfig
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore
from serving.stores.keys import Keys
from serving.stores.meta import StoreMeta
from serving.stores.recent import RecentItemStore
from serving.stores.top_category import TopCategoryStore
from serving.stores.user_features import UserFeatureStore
from tests.unit.serving.stores.test_interactions import event
from tests.unit.serving.stores.test_materialize import FIRST, NOW, fill

pytestmark = pytest.mark.redis
KEYS = Keys("toys")
USER, OTHER = "u1", "u2"
STATES = [KEYS.recent(f"u:{USER}"), KEYS.day(f"u:{USER}"), KEYS.seen(f"u:{USER}")]
EVERY: list[Any] = [*STATES, KEYS.features(USER)]


def gone(client: redis.Redis, key: Any) -> None:
    client.delete(key)


def of_another_type(client: redis.Redis, key: Any) -> None:
    client.delete(key)
    client.rpush(key, "a list")


def nonsense(client: redis.Redis, key: Any) -> None:
    if client.type(key) == b"hash":
        client.hset(key, mapping=dict.fromkeys(client.hkeys(key), b"\xff\xff nonsense"))
    else:
        client.set(key, b"\xff\xff nonsense")


def truncated(client: redis.Redis, key: Any) -> None:
    if client.type(key) == b"hash":
        client.hset(key, mapping={name: value[:1] + b"\xff" for name, value in client.hgetall(key).items() if value})
    else:
        client.set(key, client.get(key)[:-3])


BREAKS = [of_another_type, nonsense, truncated]
Break = Callable[[redis.Redis, Any], None]


@pytest.fixture
def filled(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> StoreMeta:
    return fill(config, server.address, FIRST)


@pytest.mark.parametrize("harm", [gone, *BREAKS])
@pytest.mark.parametrize("key", [EVERY[0], EVERY[2], EVERY[3]], ids=["recent", "seen", "features"])
def test_what_is_gone_or_broken_is_found_and_repaired(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, key: Any, harm: Break
) -> None:
    assert what_is_missing(config, server.address, filled, NOW + 60) is None
    before = bulk.dump(key)
    harm(bulk, key)
    problem = what_is_missing(config, server.address, filled, NOW + 60)
    assert problem is not None
    assert problem.startswith("1 ")
    fill(config, server.address, FIRST)
    assert bulk.dump(key) == before
    assert what_is_missing(config, server.address, filled, NOW + 60) is None


def test_what_may_be_gone_is_not_missed(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    bulk.delete(*EVERY)
    bulk.hset(KEYS.erased, USER, NOW + 5)
    assert what_is_missing(config, server.address, filled, NOW + 60) is None
    bulk.hset(KEYS.erased, USER, NOW - 5)  # before the fill, which left it out
    assert what_is_missing(config, server.address, filled, NOW + 60) == "1 of 4 keys of features are gone"
    assert what_is_missing(config, server.address, filled, NOW + 8 * 86_400) == "keys have begun to expire"


@pytest.mark.parametrize("harm", BREAKS)
async def test_a_broken_key_costs_its_own_user_only(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, harm: Break
) -> None:
    for key in EVERY:
        harm(bulk, key)
    client = async_client(config, server.address)
    features = await UserFeatureStore(config, server.address, client).read(["u3", USER])
    assert features.known.tolist() == [True, False]
    assert features.unreadable == {1}
    recents = await RecentItemStore(config, server.address, client).read(["s:s9", f"u:{USER}"])
    assert recents[0] is not None
    assert recents[0].item_ids == ("c",)
    assert not recents[1] or not recents[1].item_ids
    await client.aclose()


@pytest.mark.parametrize("harm", BREAKS)
async def test_events_of_a_user_with_broken_keys_are_accepted_and_replace_them(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, harm: Break
) -> None:
    for key in EVERY:
        harm(bulk, key)
    client = async_client(config, server.address)
    store = InteractionStore(config, server.address, client)
    accepted = await store.add([event("e1", "a", USER), event("e2", "a", OTHER)])
    assert accepted == ["accepted", "accepted"]
    recents = await RecentItemStore(config, server.address, client).read([f"u:{USER}", f"u:{OTHER}"])
    assert [one and one.item_ids for one in recents] == [("a",), ("a",)]
    refreshed = TopCategoryStore(config, server.address)
    assert await asyncio.to_thread(refreshed.refresh, [USER, OTHER]) == {}
    refreshed.close()
    assert bulk.type(KEYS.features(USER)) == b"hash"
    await client.aclose()
