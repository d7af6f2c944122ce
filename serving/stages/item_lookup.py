"""Item lookup: price, categories and gender of items by ItemRow, from mapped arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.bundle import Bundle
from contracts.ids import IntArray


@dataclass(frozen=True)
class ItemLookup:
    """Columns of the catalogue; every replica of a machine shares one copy.

    Reference model: 5a feast_item_lookup
    Input: ItemRows
    Output: codes of categories and gender, prices
    Artifacts: `items/categorical`, `items/price`, mapped
    Failure: none once opened: nothing leaves the machine
    Cadence: each bundle

    Attributes:
        codes: [I, 3] int32 encoded ids, columns `ITEM_CATEGORICALS`; 0 = the item has none.
        prices: [I] float64, NaN = the item has none.
    """

    codes: IntArray
    prices: NDArray[np.float64]

    @classmethod
    def open(cls, bundle: Bundle) -> ItemLookup:
        """Maps the columns of a bundle."""
        return cls(bundle.items.categorical, bundle.array("items/price"))

    def take(self, rows: IntArray) -> ItemLookup:
        """The columns of some items, by ItemRow."""
        return ItemLookup(self.codes[rows], self.prices[rows])
