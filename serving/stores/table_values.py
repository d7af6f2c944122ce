"""Turns Arrow tables into values of the online store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from contracts import columns as c
from contracts.bloom import item_hashes
from contracts.clock import DAY_S
from contracts.errors import SchemaError
from contracts.features import TOP_CATEGORY_EVENTS, TOP_CATEGORY_WINDOW_S, FeatureViewSpec
from contracts.ids import LongArray, Words
from contracts.user_records import RecentItems
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys
from serving.stores.recent import encode
from serving.stores.seen import ring_layout

_TYPES = {
    "float": pa.float64(),
    "string": pa.string(),
    "strings": pa.list_(pa.string()),
    "floats": pa.list_(pa.float32()),
}
_TIME = pa.timestamp("us", tz="UTC")


def feature_rows(view: FeatureViewSpec, table: pa.Table) -> pa.Table:
    """A view's rows as Feast stores them, `event_timestamp` in microseconds.

    Raises:
        SchemaError: a column is missing or of a wrong type.
    """
    types = {view.entity_key: pa.string(), **{field.name: _TYPES[field.dtype] for field in view.fields}}
    rows = _select(table, {**types, c.EVENT_TIMESTAMP: pa.timestamp("s", tz="UTC")}, view.name)
    return rows.cast(rows.schema.set(rows.num_columns - 1, pa.field(c.EVENT_TIMESTAMP, _TIME)))


def with_all_users(rows: pa.Table, users: set[str], stamp: pa.Scalar) -> pa.Table:
    """Adds empty rows for users without one, so that older values do not stay online."""
    absent = sorted(users - set(rows[c.USER_ID].to_pylist()))
    empty = {name: pa.nulls(len(absent), rows.schema.field(name).type) for name in rows.column_names}
    empty |= {c.USER_ID: pa.array(absent, pa.string()), c.EVENT_TIMESTAMP: pa.array([stamp] * len(absent), _TIME)}
    return pa.concat_tables([rows, pa.table(empty, schema=rows.schema)])


def recent_lists(table: pa.Table, config: StoreConfig) -> Iterator[tuple[str, bytes]]:
    """Keys and values of the recent items and categories of every subject in a table."""
    types = {c.SUBJECT_ID: pa.string(), c.ITEM_ID: pa.string(), c.TIMESTAMP: pa.int64(), c.CATEGORY_L1: pa.string()}
    rows = _select(table, types, "recent")
    if rows.num_rows == 0:
        return
    keys = Keys(config.shop)
    subjects, codes = _subjects(rows)
    times = rows[c.TIMESTAMP].to_numpy()
    order = np.lexsort((times, codes))  # stable: equal times keep their order
    items, categories = rows[c.ITEM_ID].to_pylist(), rows[c.CATEGORY_L1].to_pylist()
    ends = np.cumsum(np.bincount(codes, minlength=len(subjects)))
    for subject, of_subject in zip(subjects, np.split(order, ends[:-1]), strict=True):
        newest_first = of_subject[::-1]
        age_s = times[newest_first[0]] - times[newest_first]
        kept = newest_first[age_s <= config.history_days * DAY_S][: config.history_length].tolist()
        yield keys.recent(subject), encode(_recent(items, times, kept))
        of_day = newest_first[age_s < TOP_CATEGORY_WINDOW_S][:TOP_CATEGORY_EVENTS].tolist()
        yield keys.day(subject), encode(_recent(categories, times, of_day))


def seen_rings(table: pa.Table, config: StoreConfig) -> Iterator[tuple[str, bytes]]:
    """Keys and rings of every subject in a table."""
    rows = _seen_rows(table)
    if rows.num_rows == 0:
        return
    keys = Keys(config.shop)
    subjects, owners = _subjects(rows)
    rings = ring_layout(config).build(owners, _hashes(rows), rows[c.DAY].to_numpy(), len(subjects))
    yield from ((keys.seen(subject), ring) for subject, ring in zip(subjects, rings, strict=True))


def seen_days(table: pa.Table, first_day: int) -> Iterator[tuple[str, dict[int, Words]]]:
    """Hashes of the items, [n, 2], that every subject in a table saw on each day from `first_day` on."""
    rows = _seen_rows(table)
    if rows.num_rows == 0:
        return
    subjects, owners = _subjects(rows)
    hashes, days = _hashes(rows), rows[c.DAY].to_numpy()
    order = np.lexsort((days, owners))
    ends = np.cumsum(np.bincount(owners, minlength=len(subjects)))
    for subject, of_subject in zip(subjects, np.split(order, ends[:-1]), strict=True):
        found, starts = np.unique(days[of_subject], return_index=True)
        filed = zip(found.tolist(), np.split(of_subject, starts[1:]), strict=True)
        yield subject, {day: hashes[of_day] for day, of_day in filed if day >= first_day}


def items_by_day(table: pa.Table) -> Counter[tuple[int, str]]:
    """Interactions of a table of the seen window, by shop-local day and item."""
    rows = _select(table, {c.ITEM_ID: pa.string(), c.DAY: pa.int64()}, "seen")
    counts = rows.group_by([c.DAY, c.ITEM_ID]).aggregate([([], "count_all")])
    days, items, numbers = (counts[name].to_pylist() for name in (c.DAY, c.ITEM_ID, "count_all"))
    return Counter(dict(zip(zip(days, items, strict=True), numbers, strict=True)))


def _recent(texts: Sequence[str | None], times: LongArray, rows: list[int]) -> RecentItems:
    return RecentItems(tuple(texts[row] or "" for row in rows), tuple(times[rows].tolist()))


def _seen_rows(table: pa.Table) -> pa.Table:
    return _select(table, {c.SUBJECT_ID: pa.string(), c.ITEM_ID: pa.string(), c.DAY: pa.int64()}, "seen")


def _hashes(rows: pa.Table) -> Words:
    """Hashes of each row's item, [n, 2]."""
    items = rows[c.ITEM_ID].combine_chunks().dictionary_encode()
    hashes: Words = item_hashes(items.dictionary.to_pylist())[np.asarray(items.indices)]
    return hashes


def _subjects(rows: pa.Table) -> tuple[list[str], LongArray]:
    """Distinct subjects, and each row's number among them."""
    encoded = rows[c.SUBJECT_ID].combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def _select(table: pa.Table, types: Mapping[str, pa.DataType], name: str) -> pa.Table:
    absent = [column for column in types if column not in table.column_names]
    if absent:
        raise SchemaError(f"the {name} table lacks {absent}; it has {table.column_names}")
    try:
        return table.select(list(types)).cast(pa.schema(list(types.items())))
    except pa.ArrowException as error:
        raise SchemaError(f"the {name} table has a column of a wrong type: {error}; expected {dict(types)}") from error
