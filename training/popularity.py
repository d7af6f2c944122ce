"""Popular items with time decay: the fallback of retrieval, lists by category, and an input of the ranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from contracts.clock import DAY_S, ShopCalendar
from contracts.features import HALF_LIFE_DAYS
from contracts.ids import AnyArray, FloatArray, IntArray, LongArray
from contracts.top_k import top_k

LIST_LENGTH: Final = 500


def decayed_counts(rows: IntArray, timestamps: LongArray, num_items: int, now: int) -> FloatArray:
    """Interactions of each item, halved every `HALF_LIFE_DAYS`, [I] float32.

    Args:
        rows: ItemRow [n].
        timestamps: Unix seconds [n], not after `now`.
        num_items: size of the catalogue.
        now: Unix seconds.
    """
    weights = np.exp2((timestamps - now) / (HALF_LIFE_DAYS * DAY_S))
    return np.asarray(np.bincount(rows, weights=weights, minlength=num_items), dtype=np.float32)


def counts_by_day(
    rows: IntArray, timestamps: LongArray, num_items: int, calendar: ShopCalendar, first_day: int, last_day: int
) -> FloatArray:
    """`decayed_counts` as of the start of each shop-local day, [D, I] float32: what is known when the day begins.

    Args:
        rows: ItemRow [n].
        timestamps: Unix seconds [n], in any order, before the first day or after the last one, too.
        num_items: size of the catalogue.
        calendar: the shop's.
        first_day: day of the first row of the result.
        last_day: day of its last row.
    """
    order = np.argsort(timestamps, kind="stable")
    rows, timestamps = rows[order], timestamps[order]
    starts = [calendar.start_of_day(day) for day in range(first_day, last_day + 1)]
    ends = np.searchsorted(timestamps, starts)
    counts = np.zeros((len(starts), num_items), dtype=np.float32)
    counted, before = 0, starts[0]
    for day, (start, end) in enumerate(zip(starts, ends, strict=True)):
        faded = counts[day - 1] * np.exp2((before - start) / (HALF_LIFE_DAYS * DAY_S)) if day else 0
        counts[day] = faded + decayed_counts(rows[counted:end], timestamps[counted:end], num_items, start)
        counted, before = end, start
    return counts


def relative_popularity(counts: FloatArray) -> FloatArray:
    """The ranker's input: log(1 + count / mean count of the items), [..., I] float32.

    It does not depend on the size of the shop.

    Args:
        counts: [..., I], not negative; 0 everywhere gives 0 everywhere.
    """
    mean = counts.mean(axis=-1, keepdims=True)
    return np.log1p(counts / np.where(mean > 0, mean, 1)).astype(np.float32)


def popular_items(counts: FloatArray, among: AnyArray | None = None) -> IntArray:
    """ItemRows by falling count, at most `LIST_LENGTH`; items without a count are left out.

    Args:
        counts: [I] float32.
        among: ItemRows to choose from; None = all.
    """
    rows = np.flatnonzero(counts > 0) if among is None else among[counts[among] > 0]
    best, _ = top_k(counts[rows][None], rows.astype(np.int32), LIST_LENGTH)
    return np.asarray(best[0])


def popular_by_category(
    counts: FloatArray, columns: Mapping[str, Sequence[str | None]]
) -> dict[str, dict[str, list[int]]]:
    """Popular items of each category: {column: {category: ItemRows, best first}}.

    Args:
        counts: [I] float32.
        columns: category of each item by column name, None for missing.
    """
    lists: dict[str, dict[str, list[int]]] = {}
    for column, values in columns.items():
        members: dict[str, list[int]] = {}
        for row, value in enumerate(values):
            if value is not None:
                members.setdefault(value, []).append(row)
        lists[column] = {
            value: popular_items(counts, np.array(rows)).tolist() for value, rows in sorted(members.items())
        }
    return lists
