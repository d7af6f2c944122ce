"""What models know of the catalogue's items, by ItemRow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.features import ITEM_CATEGORICALS, ITEM_CONTINUOUS
from contracts.ids import BoolArray, FloatArray, IntArray, LongArray


@dataclass(frozen=True)
class ItemFeatures:
    """Item side of the model inputs; I items, row = ItemRow.

    Attributes:
        categorical: [I, 3] int32 encoded ids, columns `ITEM_CATEGORICALS`.
        continuous: [I, 1] float32, columns `ITEM_CONTINUOUS`.
        text: [I, D] float32 embeddings after the PCA; zeros where there is no text.
        image: [I, D] float32 embeddings after the PCA; zeros where there is no picture.
        launched_at: [I] int64 Unix seconds; 0 = always there.
    """

    categorical: IntArray
    continuous: FloatArray
    text: FloatArray
    image: FloatArray
    launched_at: LongArray

    def __post_init__(self) -> None:
        size = len(self.launched_at)
        expected = {
            "categorical": ((size, len(ITEM_CATEGORICALS)), np.int32),
            "continuous": ((size, len(ITEM_CONTINUOUS)), np.float32),
            "text": ((size, self.text.shape[-1]), np.float32),
            "image": ((size, self.image.shape[-1]), np.float32),
            "launched_at": ((size,), np.int64),
        }
        for name, (shape, dtype) in expected.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"{name} is {array.dtype}{list(array.shape)}, expected {np.dtype(dtype)}{list(shape)}")

    def __len__(self) -> int:
        return len(self.launched_at)

    def launched(self, now: int) -> BoolArray:
        """[I]: whether the item is launched at a time in Unix seconds."""
        return self.launched_at <= now
