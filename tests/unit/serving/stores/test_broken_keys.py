"""One broken key harms its own user only, and materialize finds and repairs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import redis

from contracts.bloom import item_hashes
from contracts.errors import StoreError
from contracts.features import feature_views
from contracts.presets import SHOP
from serving.running.config import PipelineConfig
from serving.stages.user_lookup import UserLookup
from serving.stores.broken import BROKEN
from serving.stores.check import Sample, what_is_missing
from serving.stores.config import StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore
from serving.stores.keys import Keys
from serving.stores.meta import BrokenMarkerError, StoreMeta, read_meta
from serving.stores.popular import PopularityStore
from serving.stores.recent import RecentItemStore
from serving.stores.top_category import TopCategoryStore
from serving.stores.user_features import UserFeatureStore
from serving.watching.metrics import BROKEN_KEYS
from tests.fixtures.served_bundle import request_batch
from tests.unit.serving.stores.test_interactions import event
from tests.unit.serving.stores.test_materialize import FIRST, NOW, TODAY, fill

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


def missing(config: StoreConfig, address: str, meta: StoreMeta, now: int = NOW + 60) -> str | None:
    sample = Sample(feature_views(SHOP), ["u1", "u2", "u3", "u4"], ["u1"], ["u1"])
    return what_is_missing(config, address, meta, now, sample)


@pytest.fixture
def filled(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> StoreMeta:
    return fill(config, server.address, FIRST)


@pytest.mark.parametrize("harm", [gone, *BREAKS])
@pytest.mark.parametrize("key", [EVERY[0], EVERY[2], EVERY[3]], ids=["recent", "seen", "features"])
def test_what_is_gone_or_broken_is_found_and_repaired(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, key: Any, harm: Break
) -> None:
    assert missing(config, server.address, filled) is None
    before = bulk.dump(key)
    harm(bulk, key)
    problem = missing(config, server.address, filled)
    assert problem is not None
    assert problem.startswith("1 ")
    fill(config, server.address, FIRST)
    assert bulk.dump(key) == before
    assert missing(config, server.address, filled) is None


def test_what_may_be_gone_is_not_missed(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    bulk.delete(*EVERY)
    bulk.hset(KEYS.erased, USER, NOW + 5)
    assert missing(config, server.address, filled) is None
    bulk.hset(KEYS.erased, USER, NOW - 5)  # before the fill, which left it out
    assert missing(config, server.address, filled) == "1 of 4 keys of features are gone"
    assert missing(config, server.address, filled, NOW + 8 * 86_400) == "keys have begun to expire"


@pytest.mark.parametrize("harm", BREAKS)
async def test_a_broken_key_costs_its_own_user_only(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, harm: Break
) -> None:
    for key in EVERY:
        harm(bulk, key)
    stores = StoreConnection.open(config, server.address)
    features = await UserFeatureStore(stores, SHOP).read(["u3", USER])
    assert features.known.tolist() == [True, False]
    assert features.unreadable == {1}
    recents = await RecentItemStore(stores).read(["s:s9", f"u:{USER}"])
    assert recents[0] is not None
    assert recents[0].item_ids == ("c",)
    assert not recents[1] or not recents[1].item_ids
    await stores.client.aclose()


@pytest.mark.parametrize("harm", BREAKS)
async def test_events_of_a_user_with_broken_keys_are_accepted_and_replace_them(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, harm: Break
) -> None:
    for key in EVERY:
        harm(bulk, key)
    stores = StoreConnection.open(config, server.address)
    store = InteractionStore(stores)
    accepted = await store.add([event("e1", "a", USER), event("e2", "a", OTHER)])
    assert accepted == ["accepted", "accepted"]
    recents = await RecentItemStore(stores).read([f"u:{USER}", f"u:{OTHER}"])
    assert [one and one.item_ids for one in recents] == [("a",), ("a",)]
    refreshed = TopCategoryStore(config, server.address)
    assert await asyncio.to_thread(refreshed.refresh, [USER, OTHER]) == {}
    refreshed.close()
    assert bulk.type(KEYS.features(USER)) == b"hash"
    await stores.client.aclose()


@pytest.mark.parametrize(
    ("key", "what"),
    [(EVERY[0], "recent items"), (EVERY[2], "seen items"), (EVERY[3], "features")],
    ids=["recent", "seen", "features"],
)
def test_new_keys_do_not_stand_for_lost_ones(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, key: Any, what: str
) -> None:
    subject = "u:new"
    new: Any = {0: KEYS.recent(subject), 2: KEYS.seen(subject), 3: KEYS.features("new")}[EVERY.index(key)]
    bulk.rename(key, new)
    problem = missing(config, server.address, filled)
    assert problem is not None
    assert problem.startswith(f"keys of {what} are gone, 1 of ")
    bulk.hset(KEYS.erased, USER, NOW - 5)  # nobody misses what an erased user had
    assert missing(config, server.address, filled) is None


def test_categories_and_popular_items_are_repaired(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    before = bulk.get(KEYS.day(f"u:{USER}"))
    for harm in BREAKS:
        harm(bulk, KEYS.day(f"u:{USER}"))
        harm(bulk, KEYS.day("u:unknown")) if harm is not truncated else None
        assert missing(config, server.address, filled) in [f"{n} keys of categories cannot be read" for n in (1, 2)]
        fill(config, server.address, FIRST)
        assert bulk.get(KEYS.day(f"u:{USER}")) == before
        assert not bulk.exists(KEYS.day("u:unknown"))
    for day in (TODAY - 1, TODAY):
        of_another_type(bulk, KEYS.popular(day))
        assert missing(config, server.address, filled) == "1 keys of popular items cannot be read"
        fill(config, server.address, FIRST)
        assert missing(config, server.address, filled) is None
    assert bulk.hgetall(KEYS.popular(TODAY - 1)) == {b"a": b"1", b"b": b"1", b"c": b"1"}


def test_erasures_are_repaired(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    told = replace(FIRST, erased={"u2": NOW - 100})
    bulk.set(KEYS.erased, "no hash")
    assert missing(config, server.address, filled) == "the key of erased users cannot be read"
    fill(config, server.address, told)
    assert bulk.hgetall(KEYS.erased) == {b"u2": str(NOW - 100).encode()}
    bulk.hset(KEYS.erased, mapping={"u2": "long ago", "u3": "\xff"})
    assert missing(config, server.address, filled) == "times of erased users cannot be read"
    fill(config, server.address, told)
    assert bulk.hgetall(KEYS.erased) == {b"u2": str(NOW - 100).encode(), b"u3": str(NOW).encode()}


@pytest.mark.parametrize("value", ["no marker", "", None])
async def test_a_broken_marker_is_told_as_such(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, value: str | None
) -> None:
    harm: Any = of_another_type if value is None else lambda client, key: client.set(key, value)
    harm(bulk, KEYS.meta)
    stores = StoreConnection.open(config, server.address)
    with pytest.raises(BrokenMarkerError, match=r"(?s)marker cannot be read: .*; run the materialize job"):
        await read_meta(stores)
    await stores.client.aclose()


@pytest.mark.parametrize("harm", BREAKS)
async def test_the_lookup_names_what_each_user_lacks(
    filled: StoreMeta, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, harm: Break
) -> None:
    harm(bulk, KEYS.features(USER))
    harm(bulk, KEYS.recent("s:s9"))
    BROKEN.take()
    stores = StoreConnection.open(config, server.address)
    batch = request_batch(
        3, user_ids=("u3", USER, None), session_ids=(None, None, "s9"), budget_ms=np.full(3, 60_000, np.float32)
    )
    records = await UserLookup(UserFeatureStore(stores, SHOP), RecentItemStore(stores), PipelineConfig())(batch)
    assert records.degraded == ((), ("user_features",), ("recent_items",))
    assert records.known.tolist() == [True, False, False]
    assert records.recent[1].item_ids == ("b", "a")
    assert BROKEN.take() == {(BROKEN_KEYS, ("user_features",)): 1, (BROKEN_KEYS, ("recent_items",)): 1}
    await stores.client.aclose()


@pytest.mark.parametrize("how", ["of another type", "a count", "a name"])
async def test_popular_items_of_one_day_cannot_be_read(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, how: str
) -> None:
    seen = {"seen": (item_hashes(["a"])[0], TODAY)}
    stores = StoreConnection.open(config, server.address)
    events = InteractionStore(stores)
    await events.add([event("e1", "a", USER)._replace(**seen)])
    if how == "of another type":
        of_another_type(bulk, KEYS.popular(TODAY))
    else:
        bulk.hset(KEYS.popular(TODAY), *(("a", "many") if how == "a count" else (b"\xff", 3)))
    bulk.hset(KEYS.popular(TODAY - 1), "z", 8)
    store = PopularityStore(config, server.address, bulk)
    BROKEN.take()
    assert list(await store.read(TODAY)) == ["z"]
    assert BROKEN.take() == {(BROKEN_KEYS, ("popular",)): 1.0}
    assert await events.add([event("e2", "a", USER)._replace(**seen)]) == ["accepted"]
    if how != "a name":
        assert (await store.read(TODAY))["a"] == 1.0
    await stores.client.aclose()


async def test_a_broken_memory_of_an_event_does_not_keep_it_out(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    of_another_type(bulk, KEYS.event(f"u:{USER}", "e1"))
    stores = StoreConnection.open(config, server.address)
    events = InteractionStore(stores)
    assert await events.add([event("e1", "a", USER)]) == ["accepted"]
    assert await events.add([event("e1", "a", USER)]) == ["duplicate"]
    await stores.client.aclose()


async def test_an_event_is_not_remembered_where_the_stream_takes_none(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    bulk.set(KEYS.interactions, "no stream")
    stores = StoreConnection.open(config, server.address)
    events = InteractionStore(stores)
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await events.add([event("e1", "a", USER)])
    bulk.delete(KEYS.interactions)
    assert await events.add([event("e1", "a", USER)]) == ["accepted"]
    await stores.client.aclose()
