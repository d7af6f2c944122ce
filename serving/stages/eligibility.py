"""Which items may be recommended to a request, and what their age adds to the retrieval score."""

from __future__ import annotations

import numpy as np

from contracts.bundle import Bundle
from contracts.clock import ShopCalendar
from contracts.features import item_age_bucket
from contracts.ids import BoolArray, FloatArray, LongArray
from contracts.options import ItemFilters, Ragged
from serving.stages.item_lookup import ItemLookup


class Eligibility:
    """Masks of the items that are launched, not withdrawn, and pass the filters of a request.

    Without filters the mask changes only when an item is launched, so it is cached until then.

    Args:
        launched_at: [I] int64 Unix seconds.
        withdrawn: [I].
        items: the columns that filters compare.
    """

    def __init__(self, launched_at: LongArray, withdrawn: BoolArray, items: ItemLookup) -> None:
        self._launched_at = launched_at
        self._withdrawn = withdrawn
        self._items = items
        self._launches = np.unique(launched_at)
        self._kept: tuple[int, BoolArray] | None = None

    @classmethod
    def open(cls, bundle: Bundle) -> Eligibility:
        """Reads the columns of a bundle."""
        return cls(
            np.asarray(bundle.items.launched_at), np.asarray(bundle.array("items/withdrawn")), ItemLookup.open(bundle)
        )

    def __len__(self) -> int:
        return len(self._launched_at)

    def at(self, now: int) -> BoolArray:
        """[I]: whether an item may be recommended at a time in Unix seconds."""
        launches = int(np.searchsorted(self._launches, now, side="right"))
        if self._kept is None or self._kept[0] != launches:
            self._kept = (launches, (self._launched_at <= now) & ~self._withdrawn)
        return self._kept[1]

    def of(self, nows: LongArray, filters: ItemFilters | None = None) -> BoolArray:
        """One mask [I] for all queries, or [B, I] where their times [B] or filters differ."""
        launches = np.searchsorted(self._launches, nows, side="right")
        if (launches == launches[0]).all():
            mask = self.at(int(nows[0]))
        else:
            mask = (self._launched_at <= nows[:, None]) & ~self._withdrawn
        if filters is None:
            return mask
        mask = np.broadcast_to(mask, (len(nows), len(self._launched_at))).copy()
        mask[filters.requests] &= self._mask_of(filters)
        return mask

    def _mask_of(self, filters: ItemFilters) -> BoolArray:
        """[F, I]: whether an item passes the filters of a request."""
        mask = np.ones((len(filters.requests), len(self)), dtype=np.bool_)
        for column, bounds in filters.ranges.items():
            lowest, highest = bounds.T[:, :, None]
            numbers, any_number = self._items.numbers(column), np.isinf(lowest) & np.isinf(highest)
            mask &= any_number | ((numbers >= lowest) & (numbers <= highest))
        for column, wanted in filters.codes.items():
            mask &= self._having(column, wanted) | (wanted.lengths == 0)[:, None]
        mask[filters.excluded.owners, filters.excluded.values] = False
        return mask

    def _having(self, column: str, wanted: Ragged) -> BoolArray:
        """[F, I]: whether an item has one of the codes that a request wants."""
        codes, listed = self._items.codes(column), self._items.listed(column)
        table = np.zeros((len(wanted), max(codes.max(initial=0), wanted.values.max(initial=0)) + 1), dtype=np.bool_)
        table[wanted.owners, wanted.values] = True
        if listed is None:
            return table[:, codes]
        mask = np.zeros((len(wanted), len(self)), dtype=np.bool_)
        for wants, has in zip(table, mask, strict=True):  # one request at a time, to save memory
            has[listed.rows[wants[listed.codes]]] = True
        return mask


class AgeBias:
    """The additive retrieval bias by item age; it changes once each shop-local day."""

    def __init__(self, by_bucket: FloatArray, launched_at: LongArray, calendar: ShopCalendar) -> None:
        self._by_bucket = by_bucket
        self._launched_at = launched_at
        self._calendar = calendar
        self._kept: tuple[int, FloatArray] | None = None

    def at(self, day: int) -> FloatArray:
        """[I] float32: the bias of every item on a shop-local day."""
        if self._kept is None or self._kept[0] != day:
            start = np.array(self._calendar.start_of_day(day), dtype=np.int64)
            self._kept = (day, self._by_bucket[item_age_bucket(self._launched_at, start)])
        return self._kept[1]

    def of(self, nows: LongArray) -> FloatArray:
        """One bias [I] for all queries, or [B, I] where their days differ."""
        days, inverse = np.unique(self._calendar.day(nows), return_inverse=True)
        if len(days) == 1:
            return self.at(int(days[0]))
        return np.stack([self.at(int(day)) for day in days])[inverse]
