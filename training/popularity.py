"""Popular items with time decay: the fallback of retrieval, and lists by category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from contracts.clock import DAY_S
from contracts.ids import AnyArray, FloatArray, IntArray, LongArray
from contracts.top_k import top_k

HALF_LIFE_DAYS: Final = 3.0
"""An interaction counts half after this many days."""
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
