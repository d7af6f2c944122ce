"""Which items may be recommended at a time, and what their age adds to the retrieval score."""

from __future__ import annotations

import numpy as np

from contracts.bundle import Bundle
from contracts.clock import ShopCalendar
from contracts.features import item_age_bucket
from contracts.ids import BoolArray, FloatArray, LongArray


class Eligibility:
    """Launched and not withdrawn items, by time.

    The set changes only when an item is launched, so the mask of the last launch is kept.
    """

    def __init__(self, launched_at: LongArray, withdrawn: BoolArray) -> None:
        self._launched_at = launched_at
        self._withdrawn = withdrawn
        self._launches = np.unique(launched_at)
        self._kept: tuple[int, BoolArray] | None = None

    @classmethod
    def open(cls, bundle: Bundle) -> Eligibility:
        """Reads the columns of a bundle."""
        return cls(np.asarray(bundle.items.launched_at), np.asarray(bundle.array("items/withdrawn")))

    def at(self, now: int) -> BoolArray:
        """[I]: whether an item may be recommended at a time in Unix seconds."""
        launches = int(np.searchsorted(self._launches, now, side="right"))
        if self._kept is None or self._kept[0] != launches:
            self._kept = (launches, (self._launched_at <= now) & ~self._withdrawn)
        return self._kept[1]

    def of(self, nows: LongArray) -> BoolArray:
        """The mask [I] that all queries share, or [B, I] where their times [B] make a difference."""
        launches = np.searchsorted(self._launches, nows, side="right")
        if (launches == launches[0]).all():
            return self.at(int(nows[0]))
        return (self._launched_at <= nows[:, None]) & ~self._withdrawn


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
