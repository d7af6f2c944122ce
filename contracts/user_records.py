"""Stored data of the subjects of requests: raw values by column, and recent interactions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final

import numpy as np
from msgspec import Meta, Struct

from contracts.encoders import Values
from contracts.ids import AnyArray, BoolArray

_FARTHEST: Final = 2**62
Timestamp = Annotated[int, Meta(ge=-_FARTHEST, le=_FARTHEST)]
"""Unix seconds in the range of the arrays."""


class RecentItems(Struct, frozen=True, array_like=True):
    """The last interactions of a subject, newest first, with repeats.

    Attributes:
        item_ids: raw ids; in the list of categories, raw categories, where "" = none.
        timestamps: Unix seconds of each.
    """

    item_ids: tuple[str, ...] = ()
    timestamps: tuple[Timestamp, ...] = ()

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return zip(self.item_ids, self.timestamps, strict=True)

    def with_newer(
        self, item_ids: Sequence[str], timestamps: Sequence[int], *, max_age_s: int, length: int | None = None
    ) -> RecentItems:
        """Adds interactions and trims the list.

        Args:
            item_ids: in the order of acceptance; of equal times the one accepted later counts as newer.
            timestamps: Unix seconds; late interactions are sorted in by time.
            max_age_s: interactions older than this, counted from the newest, are removed.
            length: most interactions to keep; None = all.
        """
        items = (*reversed(item_ids), *self.item_ids)
        times = (*reversed(timestamps), *self.timestamps)
        if any(
            newer < older for newer, older in pairwise(times[: len(timestamps) + 1])
        ):  # older ones are sorted already
            order = sorted(range(len(times)), key=lambda place: -times[place])  # stable
            items, times = tuple(items[place] for place in order), tuple(times[place] for place in order)
        items, times = items[:length], times[:length]
        kept = len(times)
        while kept and times[0] - times[kept - 1] > max_age_s:
            kept -= 1
        return RecentItems(items[:kept], times[:kept])


@dataclass(frozen=True)
class UserFeatures:
    """Data of U users in the feature store.

    Attributes:
        known: [U] whether the store has the user.
        columns: raw values [U] by column of the feature views.
        unreadable: indices of users with unreadable data in the store; they count as unknown.
    """

    known: BoolArray
    columns: Mapping[str, Values]
    unreadable: frozenset[int] = frozenset()

    def of(self, places: Sequence[int]) -> dict[str, Values]:
        """Raw values [B] by column of the users at these indices; -1 = missing values."""
        return {name: _picked(values, places) for name, values in self.columns.items()}


@dataclass(frozen=True)
class UserRecords:
    """Data of the subjects of B requests in the stores.

    Attributes:
        known: [B] whether the feature store has the user.
        columns: raw values [B] by column of the feature views; absent columns are missing for all.
        recent: [B] recent interactions of each subject.
        degraded: for each request, the stores that it needed and that did not answer.
    """

    known: BoolArray
    columns: Mapping[str, Values]
    recent: Sequence[RecentItems]
    degraded: tuple[tuple[str, ...], ...]

    @classmethod
    def anonymous(cls, size: int) -> UserRecords:
        """Records of B unknown subjects."""
        return cls(np.zeros(size, dtype=np.bool_), {}, (RecentItems(),) * size, ((),) * size)


def _picked(values: Values, places: Sequence[int]) -> Values:
    if not isinstance(values, np.ndarray):
        return tuple(None if place < 0 else values[place] for place in places)
    missing = np.nan if values.ndim == 1 else 0.0
    given = (np.array(places) >= 0).reshape(-1, *[1] * (values.ndim - 1))
    picked: AnyArray = np.where(given, values[list(places)], missing)
    return picked
