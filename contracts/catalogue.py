"""What models know of the catalogue's items, by ItemRow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.encoded import EncodedColumns
from contracts.ids import BoolArray, LongArray, check_array


@dataclass(frozen=True)
class ItemFeatures:
    """Item side of the model inputs; I items, row = ItemRow. The encoded item id is apart because it is per model.

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
        """[I]: whether the item is launched at a time in Unix seconds."""
        return self.launched_at <= now
