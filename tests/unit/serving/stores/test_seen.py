from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import redis.asyncio

from contracts.bloom import item_hashes
from contracts.errors import StoreError
from serving.stores.config import StoreConfig
from serving.stores.seen import SeenStore
from serving.stores.table_values import seen_rings

TODAY = 20_000


@pytest.fixture
def store(client: redis.asyncio.Redis, config: StoreConfig) -> SeenStore:
    return SeenStore(config, "redis://test", client)


async def ask(store: SeenStore, subjects: list[str | None], item: str, today: int = TODAY) -> list[bool]:
    rings = await store.read(subjects, today)
    hashes = np.repeat(item_hashes([item]), len(subjects), axis=0)
    return rings.seen(hashes, np.arange(len(subjects))).tolist()


def days(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


async def test_rings_of_a_batch(store: SeenStore) -> None:
    await store.add(["u", "v", "u"], ["a", "b", "c"], days(TODAY, TODAY, TODAY - 6), TODAY)
    assert await ask(store, ["u", None, "v", "nobody", "u"], "a") == [True, False, False, False, True]
    assert await ask(store, ["u", "v"], "c") == [True, False]
    assert await ask(store, ["u", "v"], "c", TODAY + 1) == [False, False]
    assert await ask(store, [None, None], "a") == [False, False]


async def test_days_outside_the_window_are_left_out(store: SeenStore, client: redis.asyncio.Redis) -> None:
    await store.add(["u"], ["today"], days(TODAY), TODAY)
    await store.add(["u", "u"], ["old", "future"], days(TODAY - 7, TODAY + 1), TODAY)
    assert await ask(store, ["u"], "today") == [True]
    assert await ask(store, ["u"], "old", TODAY - 7) == [False]
    assert await ask(store, ["u"], "future", TODAY + 1) == [False]
    await store.add(["v"], ["old"], days(TODAY - 7), TODAY)
    assert await client.get("toys:v1:seen:v") is None


async def test_tables_fill_the_rings_that_add_would(
    store: SeenStore, client: redis.asyncio.Redis, config: StoreConfig
) -> None:
    subjects, items = ["u", "v", "u", "u"], ["a", "b", "c", "a"]
    when = [TODAY, TODAY - 1, TODAY - 2, TODAY]
    await store.add(subjects, items, days(*when), TODAY)
    rings = dict(seen_rings(pa.table({"subject_id": subjects, "item_id": items, "day": when}), config))
    assert rings == {key: await client.get(key) for key in ("toys:v1:seen:u", "toys:v1:seen:v")}


def test_an_empty_table_fills_nothing(config: StoreConfig) -> None:
    empty = pa.table({"subject_id": pa.array([], pa.string()), "item_id": pa.array([], pa.string()), "day": days()})
    assert dict(seen_rings(empty, config)) == {}


async def test_two_writers_of_one_ring_lose_nothing(client: redis.asyncio.Redis, config: StoreConfig) -> None:
    store = SeenStore(config, "redis://test", client)
    layout_add = store._layout.add
    interrupted = []

    def add_while_another_writes(ring: bytes | None, hashes: np.ndarray, when: np.ndarray) -> bytes:
        interrupted.append(ring)
        return layout_add(ring, hashes, when)

    other = layout_add(None, item_hashes(["theirs"]), days(TODAY))
    pipeline = client.pipeline

    def pipeline_with_interruption(**options: bool) -> object:
        pipe = pipeline(**options)
        mget = pipe.mget

        async def mget_then_other(keys: list[str]) -> object:
            found = await mget(keys)
            if len(interrupted) == 0:
                await client.set("toys:v1:seen:u", other)
            return found

        pipe.mget = mget_then_other
        return pipe

    object.__setattr__(store._layout, "add", add_while_another_writes)
    client.pipeline = pipeline_with_interruption
    await store.add(["u"], ["ours"], days(TODAY), TODAY)
    assert interrupted == [None, other]
    assert await ask(store, ["u"], "theirs") == [True]
    assert await ask(store, ["u"], "ours") == [True]


async def test_a_ring_that_never_rests_is_given_up(client: redis.asyncio.Redis, config: StoreConfig) -> None:
    store = SeenStore(config, "redis://test", client)
    pipeline = client.pipeline

    def pipeline_with_interruption(**options: bool) -> object:
        pipe = pipeline(**options)
        mget = pipe.mget

        async def mget_then_other(keys: list[str]) -> object:
            found = await mget(keys)
            await client.delete("toys:v1:seen:u")
            await client.set("toys:v1:seen:u", store._layout.add(None, item_hashes(["x"]), days(TODAY)))
            return found

        pipe.mget = mget_then_other
        return pipe

    client.pipeline = pipeline_with_interruption
    with pytest.raises(StoreError, match="changed by others 10 times in a row; try again"):
        await store.add(["u"], ["ours"], days(TODAY), TODAY)


async def test_a_foreign_value_is_a_store_error(store: SeenStore, client: redis.asyncio.Redis) -> None:
    await client.set("toys:v1:seen:u", b"12345678" * 30)
    with pytest.raises(StoreError, match="run the materialize job"):
        await store.read(["u"], TODAY)
