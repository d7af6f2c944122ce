from __future__ import annotations

import pyarrow as pa
import pytest
import redis.asyncio

from contracts.errors import SchemaError
from serving.stores.config import StoreConfig
from serving.stores.recent import RecentItems, RecentItemStore, decode, encode
from serving.stores.table_values import recent_lists

DAY_S = 86_400


def table(*rows: tuple[str, str, int, str | None]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    return pa.table(dict(zip(("subject_id", "item_id", "timestamp", "category_l1"), columns, strict=True)))


def lists(rows: pa.Table, config: StoreConfig) -> dict[str, RecentItems]:
    return {key: decode(entries) for key, entries in recent_lists(rows, config)}


async def fill(client: redis.asyncio.Redis, rows: pa.Table, config: StoreConfig) -> None:
    for key, entries in recent_lists(rows, config):
        await client.rpush(key, *entries)


def test_an_entry_is_the_time_and_the_text() -> None:
    assert encode(258, "ä") == b"\x02\x01\0\0\0\0\0\0\xc3\xa4"
    assert decode([encode(-1, ""), encode(5, "x")]) == RecentItems(("", "x"), (-1, 5))


async def test_reads_of_a_batch_are_newest_first_with_repeats(client: redis.asyncio.Redis, config: StoreConfig) -> None:
    rows = table(("u", "a", 10, None), ("v", "b", 5, None), ("u", "c", 30, None), ("u", "a", 20, None))
    await fill(client, rows, config)
    store = RecentItemStore(config, "redis://test", client)
    assert await store.read(["u", "nobody", "v", "u"]) == [
        RecentItems(("c", "a", "a"), (30, 20, 10)),
        RecentItems(),
        RecentItems(("b",), (5,)),
        RecentItems(("c", "a", "a"), (30, 20, 10)),
    ]
    assert await store.read([]) == []


def test_of_equal_times_the_last_row_is_the_newest(config: StoreConfig) -> None:
    rows = table(("u", "first", 10, None), ("u", "second", 10, None))
    assert lists(rows, config)["toys:v1:recent:u"].item_ids == ("second", "first")


def test_recent_items_are_trimmed_by_count_and_age(config: StoreConfig) -> None:
    few = config.model_copy(update={"history_length": 2, "history_days": 3})
    rows = table(("u", "a", 1, None), ("u", "b", 2, None), ("u", "c", 3, None), ("v", "old", 9, None))
    rows = pa.concat_tables([rows, table(("v", "edge", 10, None), ("v", "new", 10 + 3 * DAY_S, None))])
    found = lists(rows, few)
    assert found["toys:v1:recent:u"].item_ids == ("c", "b")
    assert found["toys:v1:recent:v"].item_ids == ("new", "edge")


def test_categories_are_those_of_the_24_hours_that_end_at_the_last_event(config: StoreConfig) -> None:
    few = config.model_copy(update={"history_length": 1})
    last = 10 * DAY_S
    rows = table(
        ("u", "a", last - DAY_S, "out"), ("u", "b", last - DAY_S + 1, "in"), ("u", "c", last, None), ("u", "d", 5, "x")
    )
    found = lists(rows, few)["toys:v1:day:u"]
    assert found == RecentItems(("", "in"), (last, last - DAY_S + 1))


def test_an_empty_table_fills_nothing(config: StoreConfig) -> None:
    assert lists(table(), config) == {}


def test_a_missing_column_is_named(config: StoreConfig) -> None:
    with pytest.raises(SchemaError, match=r"the recent table lacks \['timestamp'\]; it has \['subject_id'"):
        lists(table(("u", "a", 1, None)).drop_columns(["timestamp"]), config)


def test_a_wrong_type_is_named(config: StoreConfig) -> None:
    wrong = table(("u", "a", 1, None)).set_column(2, "timestamp", pa.array(["noon"]))
    with pytest.raises(SchemaError, match="the recent table has a column of a wrong type"):
        lists(wrong, config)
