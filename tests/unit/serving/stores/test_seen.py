from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import redis.asyncio

from contracts.bloom import item_hashes
from contracts.bloom_edit import RingEditor
from serving.stores.broken import BROKEN
from serving.stores.config import StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.seen import SeenStore, ring_layout
from serving.stores.table_values import seen_rings
from serving.watching.metrics import BROKEN_KEYS
from tests.fixtures.seen import are_seen

TODAY = 20_000


@pytest.fixture
def store(client: redis.asyncio.Redis, config: StoreConfig) -> SeenStore:
    return SeenStore(StoreConnection(config, "redis://test", client))


async def ask(store: SeenStore, subjects: list[str | None], item: str, today: int = TODAY) -> list[bool]:
    return await are_seen(store, subjects, [item] * len(subjects), today)


def ring(config: StoreConfig, **days: int) -> bytes:
    """The ring of a subject who saw items on these days."""
    return RingEditor(ring_layout(config)).add(None, item_hashes(list(days)).tolist(), list(days.values()))


async def test_rings_of_a_batch(store: SeenStore, client: redis.asyncio.Redis, config: StoreConfig) -> None:
    await client.mset({"toys:v3:seen:u": ring(config, a=TODAY, c=TODAY - 6), "toys:v3:seen:v": ring(config, b=TODAY)})
    assert await ask(store, ["u", None, "v", "nobody", "u"], "a") == [True, False, False, False, True]
    assert await ask(store, ["u", "v"], "c") == [True, False]
    assert await ask(store, ["u", "v"], "c", TODAY + 1) == [False, False]
    assert await ask(store, [None, None], "a") == [False, False]


def test_tables_fill_the_rings_that_events_would(config: StoreConfig) -> None:
    subjects, items = ["u", "v", "u", "u"], ["a", "b", "c", "a"]
    when = [TODAY, TODAY - 1, TODAY - 2, TODAY]
    rings = dict(seen_rings(pa.table({"subject_id": subjects, "item_id": items, "day": when}), config))
    assert rings == {
        "toys:v3:seen:u": ring(config, a=TODAY, c=TODAY - 2),
        "toys:v3:seen:v": ring(config, b=TODAY - 1),
    }


def test_an_empty_table_fills_nothing(config: StoreConfig) -> None:
    days = np.array([], dtype=np.int64)
    empty = pa.table({"subject_id": pa.array([], pa.string()), "item_id": pa.array([], pa.string()), "day": days})
    assert dict(seen_rings(empty, config)) == {}


async def test_a_foreign_value_is_told_and_hides_nothing(store: SeenStore, client: redis.asyncio.Redis) -> None:
    await client.set("toys:v3:seen:u", b"12345678" * 30)
    BROKEN.take()
    filters = await store.read([None, "u"], TODAY)
    no_items = np.zeros(0, np.int32)
    assert (await filters.about(item_hashes([]), no_items, no_items.astype(np.int64))).unreadable == {1}
    assert BROKEN.take() == {(BROKEN_KEYS, ("seen",)): 1.0}
