from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis

from contracts.bloom import item_hashes
from contracts.errors import DataError, SchemaError, StoreError
from contracts.interactions import Interaction
from contracts.presets import SHOP
from contracts.user_records import RecentItems
from serving.stores import feast_repo
from serving.stores.accepted import AcceptedSource
from serving.stores.client import async_client
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore, NewInteraction
from serving.stores.materialize import StoreTables, materialize
from serving.stores.merge import Merge, TablesEnd
from serving.stores.meta import StoreMeta, read_meta
from serving.stores.recent import RecentItemStore
from serving.stores.seen import SeenStore
from serving.stores.top_category import TopCategoryStore
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
    client = async_client(config, server.address)
    found = await user_features(config, server.address, ["u3", "u1", "nobody", "u4", "u2", "u1"])
    assert found.known.tolist() == [True, True, False, True, True, True]
    np.testing.assert_array_equal(found.columns["age"], [44.0, 31.0, np.nan, np.nan, np.nan, 31.0])
    assert found.columns["gender"] == (None, "f", None, None, "m", "f")
    assert found.columns["top_category"] == (None, "shoes", None, "bags", None, "shoes")
    assert found.columns["top_category_long"] == ("hats", None, None, "bags", None, None)
    nobody = await user_features(config, server.address, [])
    assert nobody.known.shape == (0,)

    recent = await RecentItemStore(config, server.address, client).read(["u:u1", "s:s9", "u:u2"])
    assert recent == [RecentItems(("b", "a"), (NOW - 10, NOW - 20)), RecentItems(("c",), (NOW - 30,)), RecentItems()]
    seen = SeenStore(config, server.address, client)
    assert await are_seen(seen, ["u:u1", "s:s9", "u:u2"], ["a"] * 3, TODAY) == [True, False, False]
    assert await read_meta(config, server.address, client) == meta
    assert (await RecentItemStore(config, server.address, client).read_day(["u:u1"]))[0].item_ids == ("of-b", "of-a")
    await client.aclose()


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
        client = async_client(patient, server.address)
        users = UserFeatureStore(patient, server.address, client, SHOP)
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
        await client.aclose()


async def test_a_damaged_marker(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> None:
    client = async_client(config, server.address)
    assert await read_meta(config, server.address, client) is None
    bulk.set("toys:v3:meta", "{}")
    with pytest.raises(StoreError, match=r"(?s)the store's marker cannot be read: .* run the materialize job"):
        await read_meta(config, server.address, client)
    await client.aclose()


def test_a_store_that_is_full_refuses(tmp_path: Path) -> None:
    config = StoreConfig(feast_dir=tmp_path, embedded=EmbeddedRedisConfig(data_dir=tmp_path / "redis"))
    with EmbeddedRedis(config.embedded) as server:
        server.admin_client().config_set("maxmemory", 1)
        with pytest.raises(StoreError, match=r"is full and takes no writes: .*maxmemory"):
            fill(config, server.address, FIRST)


def clicked(subject: str, item: str, after_s: int, *, session: bool = False) -> NewInteraction:
    """A click some seconds after the tables' end."""
    who: dict[str, Any] = {"session_id": subject} if session else {"user_id": subject}
    time = NOW + after_s
    interaction = Interaction(
        event_id=f"{subject}{item}", item_id=item, event="click", timestamp=time, accepted_at=time, **who
    )
    return NewInteraction(interaction, f"of-{item}", (item_hashes([item])[0], time // 86_400))


async def click(config: StoreConfig, address: str, *new: NewInteraction) -> None:
    client = async_client(config, address)
    assert set(await InteractionStore(config, address, client).add(new)) == {"accepted"}
    await client.aclose()


async def read_state(config: StoreConfig, address: str, subject: str, *items: str) -> tuple[Any, Any, list[bool]]:
    """Recent items, categories, and whether items are seen."""
    client = async_client(config, address)
    store = RecentItemStore(config, address, client)
    named = f"{subject[0]}:{subject}"
    seen = await are_seen(SeenStore(config, address, client), [named] * len(items), items, TODAY)
    found = (await store.read([named]))[0], (await store.read_day([named]))[0], seen
    await client.aclose()
    return found


async def test_what_came_in_after_the_tables_end_stays(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    await asyncio.to_thread(fill, config, server.address, FIRST)
    late = clicked("u1", "late", -15)  # accepted after the tables were written
    await click(config, server.address, clicked("u1", "c", 5), late, clicked("u9", "c", 6))
    await click(config, server.address, clicked("s9", "d", 7, session=True), clicked("s7", "d", 8, session=True))
    meta = await asyncio.to_thread(fill, config, server.address, FIRST)
    assert (meta.num_users, meta.num_recent, meta.num_seen) == (4, 4, 4)
    recent, day, seen = await read_state(config, server.address, "u1", "a", "b", "c", "late")
    assert recent == RecentItems(("c", "b", "late", "a"), (NOW + 5, NOW - 10, NOW - 15, NOW - 20))
    assert day.item_ids == ("of-c", "of-b", "of-late", "of-a")
    assert seen == [True, True, True, True]
    assert (await read_state(config, server.address, "u9", "c", "d"))[0].item_ids == ("c",)
    assert (await read_state(config, server.address, "s9", "c", "d")) == (
        RecentItems(("d", "c"), (NOW + 7, NOW - 30)),
        RecentItems(("of-d", "of-c"), (NOW + 7, NOW - 30)),
        [True, True],
    )
    found = await user_features(config, server.address, ["u1", "u3", "u4"])
    assert found.columns["top_category"] == ("of-c", None, "bags"), "all categories of u1 occur once: the newest counts"
    assert found.columns["top_category_long"] == (None, "hats", "bags")


async def test_keys_expire_by_kind_of_subject(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> None:
    rows = [events(("u1", "a", 20), ("s8", "a", 20), ("s8", "b", 10), ("s9", "c", 30), ("s7", "c", 30))]
    await click(config, server.address, clicked("s7", "d", 5, session=True), clicked("s7", "e", 6, session=True))
    await asyncio.to_thread(fill, config, server.address, tables(FIRST.profiles, FIRST.activity, rows, rows))
    hours = {"u:u1": 90 * 24, "s:s8": 7 * 24, "s:s9": 6, "s:s7": 7 * 24}  # s9 has one event, s7 more came in online
    for subject, expected in hours.items():
        for kind in ("recent", "day", "seen"):
            assert -(-bulk.ttl(f"toys:v3:{kind}:{subject}") // 3_600) == expected, (kind, subject)


async def test_a_lost_store_is_rebuilt_from_the_tables(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    await asyncio.to_thread(fill, config, server.address, FIRST)
    once = state(bulk)
    await click(config, server.address, clicked("u1", "c", 5))
    bulk.flushall()
    await asyncio.to_thread(fill, config, server.address, FIRST)
    assert state(bulk) == once


def test_a_user_who_is_erased_meanwhile_does_not_come_back(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    def seen() -> Iterator[pa.Table]:
        yield from FIRST.seen
        bulk.hset("toys:v3:erased", "u1", NOW)
        bulk.delete("toys:v3:recent:u:u1", "toys:v3:day:u:u1", "toys:v3:seen:u:u1")

    fill(config, server.address, tables(FIRST.profiles, FIRST.activity, FIRST.recent, seen()))
    assert not [key for key in bulk.scan_iter() if b"u1" in key]
    assert [key for key in bulk.scan_iter() if b"u3" in key]


async def test_erased_users_do_not_come_back(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> None:
    bulk.hset("toys:v3:erased", "u3", NOW)
    content = tables(FIRST.profiles, FIRST.activity, FIRST.recent, FIRST.seen, erased={"u1": NOW - 1, "u3": 5})
    meta = await asyncio.to_thread(fill, config, server.address, content)
    assert (meta.num_users, meta.num_recent, meta.num_seen) == (2, 1, 1)
    found = await user_features(config, server.address, ["u1", "u2", "u3", "u4"])
    assert found.known.tolist() == [False, True, False, True]
    assert not [key for key in bulk.scan_iter() if b"u1" in key or b"u3" in key]
    assert bulk.hgetall("toys:v3:erased") == {b"u1": str(NOW - 1).encode(), b"u3": str(NOW).encode()}


async def test_an_event_that_comes_between_reading_and_writing_is_not_lost(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [clicked("u1", "c", 5), clicked("s9", "c", 6, session=True)]
    merged = Merge.recent

    def merge_while_others_write(self: Merge, table: bytes | None, online: bytes | None) -> bytes | None:
        if left:
            asyncio.run(click(config, server.address, left.pop()))
        return merged(self, table, online)

    monkeypatch.setattr(Merge, "recent", merge_while_others_write)
    await asyncio.to_thread(fill, config, server.address, FIRST)
    assert left == []
    assert (await read_state(config, server.address, "u1", "c"))[0].item_ids == ("c", "b", "a")
    assert (await read_state(config, server.address, "s9", "d"))[0].item_ids == ("c", "c")


async def test_users_who_act_while_features_are_written_keep_their_newest_category(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """u1 and u9, who is in no table, click between Feast's read of the tables and its write."""
    consumer = TopCategoryStore(config, server.address)
    write = feast_repo.materialize_views

    def write_over_it(*args: Any) -> None:
        asyncio.run(click(config, server.address, clicked("u1", "c", 5), clicked("u9", "d", 6)))
        assert consumer.refresh(["u1", "u9"]) == {}
        write(*args)

    monkeypatch.setattr(feast_repo, "materialize_views", write_over_it)
    await asyncio.to_thread(fill, config, server.address, FIRST)
    found = await user_features(config, server.address, ["u1", "u9", "u3"])
    assert found.columns["top_category"] == ("of-c", "of-d", None)
    assert found.columns["top_category_long"] == (None, None, "hats")


async def test_a_session_that_is_called_like_a_user_is_another(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    await asyncio.to_thread(fill, config, server.address, FIRST)
    await click(config, server.address, clicked("u1", "z", 5, session=True))
    assert (await read_state(config, server.address, "u1", "z"))[0::2] == (
        RecentItems(("b", "a"), (NOW - 10, NOW - 20)),
        [False],
    )


async def test_values_of_another_layout_give_way(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> None:
    wider = config.model_copy(update={"seen_window_days": 9})
    await click(wider, server.address, clicked("u1", "c", 5))
    bulk.set("toys:v3:recent:u:u1", b"something else")
    await asyncio.to_thread(fill, config, server.address, FIRST)
    recent, _, seen = await read_state(config, server.address, "u1", "a", "c")
    assert (recent.item_ids, seen) == (("c", "b", "a"), [True, True]), "the accepted event itself is still known"
