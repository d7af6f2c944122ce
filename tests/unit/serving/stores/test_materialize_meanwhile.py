"""Materialisation while events come in and users are erased."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
import redis

from contracts.bloom import item_hashes
from contracts.interactions import Interaction
from contracts.user_records import RecentItems
from serving.stores import feast_repo
from serving.stores.config import StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore, NewInteraction
from serving.stores.merge import Merge
from serving.stores.recent import RecentItemStore
from serving.stores.seen import SeenStore
from serving.stores.top_category import TopCategoryStore
from tests.fixtures.read_stores import user_features
from tests.fixtures.seen import are_seen
from tests.unit.serving.stores.test_materialize import (
    FIRST,
    NOW,
    TODAY,
    events,
    fill,
    state,
    tables,
)

pytestmark = pytest.mark.redis


def clicked(subject: str, item: str, after_s: int, *, session: bool = False) -> NewInteraction:
    """A click some seconds after the tables' end."""
    who: dict[str, Any] = {"session_id": subject} if session else {"user_id": subject}
    time = NOW + after_s
    interaction = Interaction(
        event_id=f"{subject}{item}", item_id=item, event="click", timestamp=time, accepted_at=time, **who
    )
    return NewInteraction(interaction, f"of-{item}", (item_hashes([item])[0], time // 86_400))


async def click(config: StoreConfig, address: str, *new: NewInteraction) -> None:
    stores = StoreConnection.open(config, address)
    assert set(await InteractionStore(stores).add(new)) == {"accepted"}
    await stores.client.aclose()


async def read_state(config: StoreConfig, address: str, subject: str, *items: str) -> tuple[Any, Any, list[bool]]:
    """Recent items, categories, and whether items are seen."""
    stores = StoreConnection.open(config, address)
    store = RecentItemStore(stores)
    named = f"{subject[0]}:{subject}"
    seen = await are_seen(SeenStore(stores), [named] * len(items), items, TODAY)
    found = (await store.read([named]))[0], (await store.read_day([named]))[0], seen
    await stores.client.aclose()
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
