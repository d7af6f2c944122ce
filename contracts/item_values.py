"""Raw values of items, for filters and answers.

They are independent of the models' encodings: requests can also filter by a category that is hashed or too rare for a
vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.encoded import padded
from contracts.feature import Feature, FeatureKind
from contracts.ids import IntArray
from contracts.vocabulary import Vocabulary


@dataclass(frozen=True)
class Categories:
    """The categories of I items.

    Attributes:
        vocabulary: all categories of the items.
        codes: [I] int32, 0 = none; for lists [I, L], padded with -1.
    """

    vocabulary: Vocabulary
    codes: IntArray

    @classmethod
    def of_values(cls, values: Sequence[str | None]) -> Categories:
        """Categories of items with one value each, or none."""
        vocabulary = Vocabulary.fit(values)
        return cls(vocabulary, vocabulary.encode(values))

    @classmethod
    def of_lists(cls, values: Sequence[Sequence[str] | None]) -> Categories:
        """Categories of items with a list each, or none."""
        lists = [one or () for one in values]
        vocabulary = Vocabulary.fit(value for one in lists for value in one)
        return cls(vocabulary, padded(lists, max(map(len, lists), default=0), vocabulary.encode))

    def of_item(self, row: int) -> str | list[str] | None:
        """The raw value of an item, or its list."""
        if self.codes.ndim == 1:
            code = int(self.codes[row])
            return self.vocabulary.tokens[code - 1] if code else None
        return [self.vocabulary.tokens[code - 1] for code in self.codes[row].tolist() if code > 0]


ItemValues = Mapping[str, Categories | NDArray[np.float64]]
"""By column: categories, or numbers [I], NaN = none."""


def save_values(values: ItemValues, folder: Path) -> None:
    """Writes raw values into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for column, of_column in values.items():
        if isinstance(of_column, Categories):
            of_column.vocabulary.save(folder / column)
            np.save(folder / f"{column}.codes.npy", of_column.codes)
        else:
            np.save(folder / f"{column}.npy", of_column)


def value_arrays(features: Sequence[Feature]) -> Iterator[tuple[str, str, int]]:
    """Name, type and number of dimensions of the arrays by ItemRow that `save_values` writes for these features."""
    for feature in features:
        if feature.kind is FeatureKind.NUMERIC:
            yield feature.column_name, "float64", 1
        else:
            yield f"{feature.column_name}.codes", "int32", 1 if feature.kind is FeatureKind.CATEGORICAL else 2
