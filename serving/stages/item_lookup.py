"""Item lookup: raw values of items by ItemRow, from mapped arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.bundle import Bundle
from contracts.ids import IntArray, LongArray
from contracts.item_values import Categories, ItemValues


class Listed(NamedTuple):
    """The N codes of all items' lists.

    Attributes:
        rows: ItemRow of each, [N] int64, ascending.
        codes: [N] int32.
    """

    rows: LongArray
    codes: IntArray


@dataclass(frozen=True)
class ItemLookup:
    """Columns of the catalogue; all replicas of a machine share one copy.

    Reference model: 5a feast_item_lookup
    Input: ItemRows
    Output: raw categories by their codes, numbers
    Artifacts: `values`, mapped
    Failure: none once opened: no other machine is involved
    Cadence: each bundle

    Attributes:
        values: of the columns for filters and answers.
        num_items: I.
    """

    values: ItemValues
    num_items: int

    @classmethod
    def open(cls, bundle: Bundle) -> ItemLookup:
        """Maps the columns of a bundle."""
        return cls(bundle.values, bundle.num_items)

    def codes(self, column: str) -> IntArray:
        """Codes of a column, [I], or [I, L] for lists; 0 = none, also if the catalogue lacks the column."""
        values = self.values.get(column)
        return values.codes if isinstance(values, Categories) else np.zeros(self.num_items, dtype=np.int32)

    def listed(self, column: str) -> Listed | None:
        """The codes of a column of lists, concatenated; None = it is no column of lists."""
        return self._listed.get(column)

    @cached_property
    def _listed(self) -> dict[str, Listed]:
        found = {}
        for column, values in self.values.items():
            if isinstance(values, Categories) and values.codes.ndim == 2:
                rows, places = np.nonzero(values.codes > 0)  # `PAD_CODE` ends a list
                found[column] = Listed(rows, values.codes[rows, places])
        return found

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Numbers of a column [I]; NaN = none, also if the catalogue lacks the column."""
        values = self.values.get(column)
        return np.full(self.num_items, np.nan) if values is None or isinstance(values, Categories) else values
