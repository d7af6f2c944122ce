"""Popularity of items at the start of the request's day: an input of the ranker."""

from __future__ import annotations

import numpy as np

from contracts.bundle import Bundle
from contracts.bundle_layout import POPULARITY
from contracts.clock import ShopCalendar, name_to_day
from contracts.features import item_age_bucket
from contracts.ids import FloatArray, IntArray, LongArray
from contracts.messages import Candidates, Pairs, QueryFeatures


class ItemPopularity:
    """Looks up the popularity that the ranker was trained with.

    Args:
        by_day: [D, I] float32, `training.popularity.relative_popularity` as of the start of each day.
        last_day: shop-local day of its last row, which also serves later days.
        calendar: the shop's.
    """

    def __init__(self, by_day: FloatArray, last_day: int, calendar: ShopCalendar) -> None:
        self._by_day = by_day
        self._first_day = last_day + 1 - len(by_day)
        self._calendar = calendar

    @classmethod
    def open(cls, bundle: Bundle) -> ItemPopularity | None:
        """The table of a bundle; None if its ranker does not read it."""
        if not bundle.manifest.reads_popularity:
            return None
        after_data = name_to_day(bundle.manifest.last_day) + 1
        return cls(bundle.array(POPULARITY), after_data, bundle.transforms.calendar)

    def since(self, day: int) -> FloatArray:
        """The table from a day on, [D, I]."""
        return self._by_day[day - self._first_day :]

    def of(self, rows: IntArray, owners: LongArray, now: LongArray) -> FloatArray:
        """Popularity [T] of candidates [T] of B queries.

        Args:
            rows: ItemRows [T].
            owners: the query of each [T].
            now: Unix seconds [B]; earlier days than those of the table read its first row.
        """
        days = np.clip(self._calendar.day(now) - self._first_day, 0, len(self._by_day) - 1)
        return self._by_day[days[owners], rows]


def pairs_of(
    queries: QueryFeatures, candidates: Candidates, launched_at: LongArray, popularity: ItemPopularity | None
) -> Pairs:
    """The inputs of a ranker for pairs of query and candidate.

    Args:
        queries: B queries.
        candidates: of them, with retrieval scores.
        launched_at: Unix seconds by ItemRow, [I].
        popularity: of the items; None if the ranker does not read it.
    """
    owners, rows = candidates.owners, candidates.rows
    ages = item_age_bucket(launched_at[rows], queries.now[owners])
    found = None if popularity is None else popularity.of(rows, owners, queries.now)
    return Pairs(owners, rows, candidates.scores, ages, found)
