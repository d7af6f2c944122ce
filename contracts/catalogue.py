"""Features of the catalogue's items, by ItemRow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.encoded import EncodedColumns
from contracts.ids import BoolArray, LongArray, check_array


@dataclass(frozen=True)
class ItemFeatures:
    """Item side of the model inputs of I items, row = ItemRow. Encoded item ids differ by model, so they are elsewhere.

    Attributes:
        columns: of the item side.
        launched_at: [I] int64 Unix seconds; 0 = always there.
    """

    columns: EncodedColumns
    launched_at: LongArray

    def __post_init__(self) -> None:
        check_array("launched_at", self.launched_at, (len(self.columns),), np.int64)

    def __len__(self) -> int:
        return len(self.launched_at)

    def launched(self, now: int) -> BoolArray:
        """Whether each item is launched at `now`, Unix seconds: [I]."""
        return self.launched_at <= now
