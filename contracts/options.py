"""What requests may ask for beyond who they are: limits on the items, and given items to rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.features import ITEM_CATEGORICALS
from contracts.ids import IntArray, LongArray, check_array


@dataclass(frozen=True)
class Ragged:
    """Lists of whole numbers, one after the other.

    Attributes:
        values: [T] int32.
        lengths: [n] int32, summing to T.
    """

    values: IntArray
    lengths: IntArray

    def __post_init__(self) -> None:
        check_array("lengths", self.lengths, (len(self.lengths),), np.int32)
        check_array("values", self.values, (int(self.lengths.sum()),), np.int32)

    @classmethod
    def of(cls, lists: Sequence[Sequence[int] | IntArray]) -> Ragged:
        """Packs lists."""
        values = [np.asarray(one, dtype=np.int32) for one in lists]
        return cls(
            np.concatenate([np.zeros(0, dtype=np.int32), *values]), np.array([len(v) for v in values], dtype=np.int32)
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def owners(self) -> LongArray:
        """[T] int64: the list that each value belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


@dataclass(frozen=True)
class Constraints:
    """The items that F requests of a batch limit themselves to; the other requests take every eligible item.

    Attributes:
        requests: [F] int32, ascending: places in the batch.
        excluded: F lists of ItemRows that must not come back.
        codes: by column of `ITEM_CATEGORICALS`, F lists of encoded ids of which an item must have one; empty = any.
        prices: [F, 2] float64, lowest and highest price, both inside; infinite on both sides = items without a price
            as well.
    """

    requests: IntArray
    excluded: Ragged
    codes: tuple[Ragged, ...]
    prices: NDArray[np.float64]

    def __post_init__(self) -> None:
        size = len(self.requests)
        check_array("requests", self.requests, (size,), np.int32)
        check_array("prices", self.prices, (size, 2), np.float64)
        if len(self.codes) != len(ITEM_CATEGORICALS):
            raise ValueError(f"codes has {len(self.codes)} columns, expected {list(ITEM_CATEGORICALS)}")
        for lists in (self.excluded, *self.codes):
            if len(lists) != size:
                raise ValueError(f"a constraint has {len(lists)} lists, expected {size}, one a limited request")
