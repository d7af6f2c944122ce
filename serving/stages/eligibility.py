"""Which items may be recommended to a request, and what their age adds to the retrieval score."""

from __future__ import annotations

import numpy as np

from contracts.bundle import Bundle
from contracts.clock import ShopCalendar
from contracts.features import item_age_bucket
from contracts.ids import BoolArray, FloatArray, LongArray
from contracts.options import Constraints, Ragged
from serving.stages.item_lookup import ItemLookup


class Eligibility:
    """Launched and not withdrawn items, by time, under the limits of requests.

    The set of all requests changes only when an item is launched, so the mask of the last launch is kept.

    Args:
        launched_at: [I] int64 Unix seconds.
        withdrawn: [I].
        items: what filters compare.
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

    def of(self, nows: LongArray, constraints: Constraints | None = None) -> BoolArray:
        """The mask [I] that all queries share, or [B, I] where their times [B] or limits make a difference."""
        launches = np.searchsorted(self._launches, nows, side="right")
        if (launches == launches[0]).all():
            mask = self.at(int(nows[0]))
        else:
            mask = (self._launched_at <= nows[:, None]) & ~self._withdrawn
        if constraints is None:
            return mask
        mask = np.broadcast_to(mask, (len(nows), len(self._launched_at))).copy()
        mask[constraints.requests] &= self._allowed(constraints)
        return mask

    def _allowed(self, constraints: Constraints) -> BoolArray:
        """[F, I]: what each limited request allows."""
        mask = np.ones((len(constraints.requests), len(self)), dtype=np.bool_)
        for column, bounds in constraints.ranges.items():
            lowest, highest = bounds.T[:, :, None]
            numbers, any_number = self._items.numbers(column), np.isinf(lowest) & np.isinf(highest)
            mask &= any_number | ((numbers >= lowest) & (numbers <= highest))
        for column, legal in constraints.codes.items():
            mask &= self._having(column, legal) | (legal.lengths == 0)[:, None]
        mask[constraints.excluded.owners, constraints.excluded.values] = False
        return mask

    def _having(self, column: str, legal: Ragged) -> BoolArray:
        """[F, I]: whether an item has one of the codes that each limited request allows."""
        codes, listed = self._items.codes(column), self._items.listed(column)
        table = np.zeros((len(legal), max(codes.max(initial=0), legal.values.max(initial=0)) + 1), dtype=np.bool_)
        table[legal.owners, legal.values] = True
        if listed is None:
            return table[:, codes]
        found = np.zeros((len(legal), len(self)), dtype=np.bool_)
        for wanted, has in zip(table, found, strict=True):  # one by one: a table by request, item and place is large
            has[listed.rows[wanted[listed.codes]]] = True
        return found


class AgeBias:
    """The additive retrieval bias by item age; it changes at each shop-local day only."""

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
        """The bias [I] that all queries share, or [B, I] where their days make a difference."""
        days, inverse = np.unique(self._calendar.day(nows), return_inverse=True)
        if len(days) == 1:
            return self.at(int(days[0]))
        return np.stack([self.at(int(day)) for day in days])[inverse]
