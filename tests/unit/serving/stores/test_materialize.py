from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis

from contracts.errors import DataError, SchemaError, StoreError
from contracts.presets import SHOP
from contracts.user_records import RecentItems
from serving.stores.accepted import AcceptedSource
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.materialize import StoreTables, materialize
from serving.stores.merge import TablesEnd
from serving.stores.meta import StoreMeta, read_meta
from serving.stores.recent import RecentItemStore
from serving.stores.seen import SeenStore
from serving.stores.user_features import UserFeatureStore
from tests.fixtures.read_stores import user_features
from tests.fixtures.seen import are_seen

pytestmark = pytest.mark.redis
NOW = 1_767_225_600
TODAY = NOW // 86_400
END = TablesEnd(TODAY - 1, NOW)
CATALOGUE = pa.table(
    {"item_id": (items := ["a", "b", "c", "d", "late", "z"]), "category_l1": [f"of-{i}" for i in items]}
)


def profiles(*rows: tuple[str, float | None, str | None]) -> pa.Table:
    users, ages, genders = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {"user_id": pa.array(users, pa.string()), "age": pa.array(ages, pa.float64())}
    return pa.table(columns | {"gender": pa.array(genders, pa.string()), "event_timestamp": [NOW - 9] * len(users)})


def activity(*rows: tuple[str, str | None, str | None]) -> pa.Table:
    users, short, long = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {"user_id": pa.array(users, pa.string()), "top_category": pa.array(short, pa.string())}
    times = {"event_timestamp": pa.array([NOW - 5] * len(users), pa.int64())}
    return pa.table(columns | {"top_category_long": pa.array(long, pa.string())} | times)


def events(*rows: tuple[str, str, int]) -> pa.Table:
    subjects, items, ages = zip(*rows, strict=True)
    times = NOW - np.array(ages)
    categories = [f"of-{item}" for item in items]
    return pa.table(
        {
            "subject_id": [f"{name[0]}:{name}" for name in subjects],  # u1 is a user, s9 a session
            "item_id": items,
            "timestamp": times,
            "category_l1": categories,
            "day": times // 86_400,
        }
    )


def tables(*parts: Any, **more: Any) -> StoreTables:
    return StoreTables(*parts, END, **{"accepted": AcceptedSource(items=CATALOGUE)} | more)


FIRST = tables(
    profiles(("u1", 31.0, "f"), ("u2", None, "m"), ("u3", 44.0, None)),
    activity(("u1", "shoes", None), ("u3", None, "hats"), ("u4", "bags", "bags")),
    [events(("u1", "a", 20), ("u1", "b", 10)), events(("s9", "c", 30))],
    [events(("u1", "a", 20), ("u1", "b", 10)), events(("s9", "c", 30))],
)


def fill(config: StoreConfig, address: str, content: StoreTables, version: str = "b1") -> StoreMeta:
    return materialize(config, address, content, bundle_version=version, written_at=NOW)


def state(client: redis.Redis) -> dict[bytes, object]:
    read = {b"string": client.get, b"hash": client.hgetall, b"list": lambda key: client.lrange(key, 0, -1)}
    return {key: read[client.type(key)](key) for key in client.scan_iter()}


async def test_what_is_materialized_is_read(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> None:
    meta = await asyncio.to_thread(fill, config, server.address, FIRST)
    assert meta == StoreMeta(shop="toys", bundle_version="b1", written_at=NOW, num_users=4, num_recent=2, num_seen=2)
    stores = StoreConnection.open(config, server.address)
    found = await user_features(config, server.address, ["u3", "u1", "nobody", "u4", "u2", "u1"])
    assert found.known.tolist() == [True, True, False, True, True, True]
    np.testing.assert_array_equal(found.columns["age"], [44.0, 31.0, np.nan, np.nan, np.nan, 31.0])
    assert found.columns["gender"] == (None, "f", None, None, "m", "f")
    assert found.columns["top_category"] == (None, "shoes", None, "bags", None, "shoes")
    assert found.columns["top_category_long"] == ("hats", None, None, "bags", None, None)
    nobody = await user_features(config, server.address, [])
    assert nobody.known.shape == (0,)

    recent = await RecentItemStore(stores).read(["u:u1", "s:s9", "u:u2"])
    assert recent == [RecentItems(("b", "a"), (NOW - 10, NOW - 20)), RecentItems(("c",), (NOW - 30,)), RecentItems()]
    seen = SeenStore(stores)
    assert await are_seen(seen, ["u:u1", "s:s9", "u:u2"], ["a"] * 3, TODAY) == [True, False, False]
    assert await read_meta(stores) == meta
    assert (await RecentItemStore(stores).read_day(["u:u1"]))[0].item_ids == ("of-b", "of-a")
    await stores.client.aclose()


def test_a_second_run_leaves_the_same_state(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> None:
    fill(config, server.address, FIRST)
    once = state(bulk)
    fill(config, server.address, FIRST)
    assert state(bulk) == once
    assert len(once) == 4 + 2 * 3 + 2, "features, three keys a subject, one day of popularity, the marker"


async def test_a_new_run_leaves_nothing_of_the_old_one_and_nothing_of_other_shops_is_touched(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    other = config.model_copy(update={"shop": "mytoys", "feast_dir": config.feast_dir / "other"})
    await asyncio.to_thread(fill, other, server.address, FIRST)
    others = state(bulk)
    await asyncio.to_thread(fill, config, server.address, FIRST)
    second = tables(
        profiles(("u1", None, "f"), ("u2", 20.0, None)),
        activity(("u2", "hats", None)),
        [events(("u1", "z", 3))],
        [events(("u1", "z", 3))],
    )
    assert (await asyncio.to_thread(fill, config, server.address, second, "b2")).num_users == 2
    now = state(bulk)
    assert {key: value for key, value in now.items() if key in others} == others
    assert len(now) - len(others) == 2 + 3 + 2

    found = await user_features(config, server.address, ["u1", "u2", "u3"])
    assert found.known.tolist() == [True, True, False]
    np.testing.assert_array_equal(found.columns["age"], [np.nan, 20.0, np.nan])
    assert found.columns["gender"] == ("f", None, None)
    assert found.columns["top_category"] == (None, "hats", None)


def test_a_shop_without_users_or_events(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> None:
    fill(config, server.address, FIRST)
    meta = fill(config, server.address, tables(profiles(), activity(), [], []))
    assert (meta.num_users, meta.num_recent, meta.num_seen) == (0, 0, 0)
    assert bulk.keys() == [b"toys:v3:meta"]


def test_a_subject_in_two_tables_is_refused(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> None:
    fill(config, server.address, FIRST)
    twice = tables(profiles(), activity(), [events(("u", "a", 1)), events(("u", "b", 2))], [])
    with pytest.raises(DataError, match="toys:v3:recent:u:u comes twice; a table must hold all rows of its subjects"):
        fill(config, server.address, twice)
    assert bulk.get("toys:v3:meta") is None


def test_a_missing_field_is_named_before_anything_is_written(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    lacking = tables(profiles().drop_columns(["age"]), activity(), [], [])
    with pytest.raises(SchemaError, match=r"the user_profile table lacks \['age'\]"):
        fill(config, server.address, lacking)
    assert bulk.keys() == []


async def test_user_features_of_a_killed_server(tmp_path: Path) -> None:
    config = StoreConfig(
        shop="toys", feast_dir=tmp_path / "feast", embedded=EmbeddedRedisConfig(data_dir=tmp_path / "redis")
    )
    patient = config.model_copy(update={"read_timeout_ms": 20_000})
    with EmbeddedRedis(config.embedded) as server:
        await asyncio.to_thread(fill, config, server.address, FIRST)
        stores = StoreConnection.open(patient, server.address)
        users = UserFeatureStore(stores, SHOP)
        assert (await users.read(["u1"])).columns["top_category"] == ("shoes",)
        hasty = config.model_copy(update={"read_timeout_ms": 100})
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        with pytest.raises(StoreError, match=r"within 100 ms|no connection"):
            async with asyncio.timeout(20):
                await user_features(hasty, server.address, ["u1"])
        os.kill(server.pid, signal.SIGKILL)
        while not (server.num_restarts == 1 and server.healthy()):
            await asyncio.sleep(0.01)
        found = await users.read(["u1"])  # the lost connection is opened anew
        assert found.columns["top_category"] == ("shoes",)
        await stores.client.aclose()


async def test_a_damaged_marker(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> None:
    stores = StoreConnection.open(config, server.address)
    assert await read_meta(stores) is None
    bulk.set("toys:v3:meta", "{}")
    with pytest.raises(StoreError, match=r"(?s)the store's marker cannot be read: .* run the materialize job"):
        await read_meta(stores)
    await stores.client.aclose()


def test_a_store_that_is_full_refuses(tmp_path: Path) -> None:
    config = StoreConfig(feast_dir=tmp_path, embedded=EmbeddedRedisConfig(data_dir=tmp_path / "redis"))
    with EmbeddedRedis(config.embedded) as server:
        server.admin_client().config_set("maxmemory", 1)
        with pytest.raises(StoreError, match=r"is full and takes no writes: .*maxmemory"):
            fill(config, server.address, FIRST)
