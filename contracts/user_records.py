"""What the stores know about the subjects of requests: raw values by column, and recent interactions."""

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
"""Unix seconds that arrays can hold."""


class RecentItems(Struct, frozen=True, array_like=True):
    """A subject's last interactions, newest first, repeats kept.

    Attributes:
        item_ids: raw ids; in the list of categories those, empty = none.
        timestamps: Unix seconds, one an item.
    """

    item_ids: tuple[str, ...] = ()
    timestamps: tuple[Timestamp, ...] = ()

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return zip(self.item_ids, self.timestamps, strict=True)

    def with_newer(
        self, item_ids: Sequence[str], timestamps: Sequence[int], *, max_age_s: int, length: int | None = None
    ) -> RecentItems:
        """With more interactions, trimmed.

        Args:
            item_ids: in the order of acceptance: of equal times the one accepted later is the newer.
            timestamps: Unix seconds; interactions that come late take the place that their time gives them.
            max_age_s: seconds before the newest one that are kept.
            length: interactions that are kept at most; None = all.
        """
        items = (*reversed(item_ids), *self.item_ids)
        times = (*reversed(timestamps), *self.timestamps)
        if any(newer < older for newer, older in pairwise(times[: len(timestamps) + 1])):  # the others are in order
            order = sorted(range(len(times)), key=lambda place: -times[place])  # stable
            items, times = tuple(items[place] for place in order), tuple(times[place] for place in order)
        items, times = items[:length], times[:length]
        kept = len(times)
        while kept and times[0] - times[kept - 1] > max_age_s:
            kept -= 1
        return RecentItems(items[:kept], times[:kept])


@dataclass(frozen=True)
class UserFeatures:
    """What the feature store knows about U users.

    Attributes:
        known: [U] whether the user is in the store at all.
        columns: raw values [U] by column of the feature views.
        unreadable: places of users about whom the store holds something that cannot be read; they count as unknown.
    """

    known: BoolArray
    columns: Mapping[str, Values]
    unreadable: frozenset[int] = frozenset()

    def of(self, places: Sequence[int]) -> dict[str, Values]:
        """Raw values [B] by column of some of the users, by places; -1 = nothing is known."""
        return {name: _picked(values, places) for name, values in self.columns.items()}


@dataclass(frozen=True)
class UserRecords:
    """What the stores know about the subjects of B requests.

    Attributes:
        known: [B] whether the user is in the store.
        columns: raw values [B] by column of the feature views; one that is not there is known of nobody.
        recent: [B] recent interactions of each subject.
        degraded: per request, stores that it needed and that did not answer.
    """

    known: BoolArray
    columns: Mapping[str, Values]
    recent: Sequence[RecentItems]
    degraded: tuple[tuple[str, ...], ...]

    @classmethod
    def anonymous(cls, size: int) -> UserRecords:
        """Nobody is known."""
        return cls(np.zeros(size, dtype=np.bool_), {}, (RecentItems(),) * size, ((),) * size)


def _picked(values: Values, places: Sequence[int]) -> Values:
    if not isinstance(values, np.ndarray):
        return tuple(None if place < 0 else values[place] for place in places)
    missing = np.nan if values.ndim == 1 else 0.0
    given = (np.array(places) >= 0).reshape(-1, *[1] * (values.ndim - 1))
    picked: AnyArray = np.where(given, values[list(places)], missing)
    return picked
