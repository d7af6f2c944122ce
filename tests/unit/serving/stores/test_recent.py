from __future__ import annotations

import pyarrow as pa
import pytest
import redis.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import SchemaError, StoreError
from contracts.user_records import RecentItems
from serving.stores.config import StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.recent import RecentItemStore, decode, encode
from serving.stores.table_values import recent_lists

DAY_S = 86_400


def table(*rows: tuple[str, str, int, str | None]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    return pa.table(dict(zip(("subject_id", "item_id", "timestamp", "category_l1"), columns, strict=True)))


def lists(rows: pa.Table, config: StoreConfig) -> dict[str, RecentItems]:
    return {key: decode(value) for key, value in recent_lists(rows, config)}


async def fill(client: redis.asyncio.Redis, rows: pa.Table, config: StoreConfig) -> None:
    for key, value in recent_lists(rows, config):
        await client.set(key, value)


def test_a_value_is_two_arrays_in_messagepack() -> None:
    value = encode(RecentItems(("ä", ""), (258, -1)))
    assert value == b"\x92\x92\xa2\xc3\xa4\xa0\x92\xcd\x01\x02\xff"
    assert decode(value) == RecentItems(("ä", ""), (258, -1))
    assert decode(None) == RecentItems()


@pytest.mark.parametrize("value", [b"", b"[]", b"\x92\x91\xa1a\x90", b"\x92\x91\x01\x91\x01"])
def test_other_values_are_refused(value: bytes) -> None:
    with pytest.raises(StoreError, match=r"recent items cannot be read: .*; run the materialize job"):
        decode(value)


async def test_reads_of_a_batch_are_newest_first_with_repeats(client: redis.asyncio.Redis, config: StoreConfig) -> None:
    rows = table(("u", "a", 10, None), ("v", "b", 5, None), ("u", "c", 30, None), ("u", "a", 20, None))
    await fill(client, rows, config)
    store = RecentItemStore(StoreConnection(config, "redis://test", client))
    assert await store.read(["u", "nobody", "v", "u"]) == [
        RecentItems(("c", "a", "a"), (30, 20, 10)),
        RecentItems(),
        RecentItems(("b",), (5,)),
        RecentItems(("c", "a", "a"), (30, 20, 10)),
    ]
    assert await store.read([]) == []


def test_of_equal_times_the_last_row_is_the_newest(config: StoreConfig) -> None:
    rows = table(("u", "first", 10, None), ("u", "second", 10, None))
    assert lists(rows, config)["toys:v3:recent:u"].item_ids == ("second", "first")


def test_recent_items_are_trimmed_by_count_and_age(config: StoreConfig) -> None:
    few = config.model_copy(update={"history_length": 2, "history_days": 3})
    rows = table(("u", "a", 1, None), ("u", "b", 2, None), ("u", "c", 3, None), ("v", "old", 9, None))
    rows = pa.concat_tables([rows, table(("v", "edge", 10, None), ("v", "new", 10 + 3 * DAY_S, None))])
    found = lists(rows, few)
    assert found["toys:v3:recent:u"].item_ids == ("c", "b")
    assert found["toys:v3:recent:v"].item_ids == ("new", "edge")


def test_categories_are_those_of_the_24_hours_that_end_at_the_last_event(config: StoreConfig) -> None:
    few = config.model_copy(update={"history_length": 1})
    last = 10 * DAY_S
    rows = table(
        ("u", "a", last - DAY_S, "out"), ("u", "b", last - DAY_S + 1, "in"), ("u", "c", last, None), ("u", "d", 5, "x")
    )
    found = lists(rows, few)["toys:v3:day:u"]
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


def test_newer_interactions_come_first_and_of_equal_times_the_one_accepted_later() -> None:
    old = RecentItems(("b", "a"), (20, 10))
    newer = old.with_newer(["c", "d", "a"], [20, 30, 30], max_age_s=100)
    assert newer == RecentItems(("a", "d", "c", "b", "a"), (30, 30, 20, 20, 10))


def test_a_late_interaction_takes_the_place_that_its_time_gives_it() -> None:
    old = RecentItems(("c", "a"), (30, 10))
    assert old.with_newer(["b"], [20], max_age_s=100) == RecentItems(("c", "b", "a"), (30, 20, 10))
    assert old.with_newer(["older"], [5], max_age_s=100, length=2) == old
    assert old.with_newer(["too old"], [-71], max_age_s=100) == old


def test_what_is_too_far_before_the_newest_goes() -> None:
    old = RecentItems(("b", "a"), (20, 10))
    assert old.with_newer(["c"], [110], max_age_s=100) == RecentItems(("c", "b", "a"), (110, 20, 10))
    assert old.with_newer(["c"], [111], max_age_s=100) == RecentItems(("c", "b"), (111, 20))
    assert RecentItems().with_newer([], [], max_age_s=1) == RecentItems()


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), max_size=30),
    st.integers(0, 30),
    st.integers(1, 20),
    st.integers(1, 60),
)
@settings(deadline=None)
def test_one_by_one_or_at_once_is_the_same(
    events: list[tuple[str, int]], split: int, length: int, max_age_s: int
) -> None:
    items, times = [item for item, _ in events], [time for _, time in events]
    at_once = RecentItems().with_newer(items, times, max_age_s=max_age_s, length=length)
    in_two = RecentItems().with_newer(items[:split], times[:split], max_age_s=max_age_s, length=length)
    in_two = in_two.with_newer(items[split:], times[split:], max_age_s=max_age_s, length=length)
    assert in_two == at_once
    assert list(at_once.timestamps) == sorted(at_once.timestamps, reverse=True)
