"""Encoded columns: the model inputs of n rows of one side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np

from contracts.ids import AnyArray, FloatArray, IntArray, LongArray, check_array
from contracts.schema import SideLayout

PAD_CODE = -1
"""Ends a list of encoded ids."""
_ValueT = TypeVar("_ValueT")


@dataclass(frozen=True)
class EncodedColumns:
    """Model inputs of n rows, with columns in the order of `contracts.schema.SideLayout`.

    Attributes:
        digest: of the schema that defines the columns.
        codes: [n, C] int32 encoded ids; 0 = out of vocabulary.
        numbers: [n, F] float32.
        lists: for each list feature [n, L] int32 encoded ids, padded with `PAD_CODE`.
        vectors: for each vector feature [n, D] float32; zeros where it is missing.
    """

    digest: str
    codes: IntArray
    numbers: FloatArray
    lists: tuple[IntArray, ...] = ()
    vectors: tuple[FloatArray, ...] = ()

    def __post_init__(self) -> None:
        size = len(self.codes)
        check_array("codes", self.codes, (size, self.codes.shape[-1]), np.int32)
        check_array("numbers", self.numbers, (size, self.numbers.shape[-1]), np.float32)
        for name, arrays, dtype in (("a list", self.lists, np.int32), ("a vector", self.vectors, np.float32)):
            for values in arrays:
                check_array(name, values, (size, values.shape[-1]), dtype)

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: LongArray | IntArray) -> Self:
        """The rows at these indices."""
        return self.map(lambda values: values[rows])

    def map(self, change: Callable[[AnyArray], AnyArray]) -> Self:
        """Applies `change` to every array."""
        lists, vectors = tuple(map(change, self.lists)), tuple(map(change, self.vectors))
        return type(self)(self.digest, change(self.codes), change(self.numbers), lists, vectors)


def padded(lists: Sequence[Sequence[_ValueT]], length: int, encode: Callable[[list[_ValueT]], AnyArray]) -> IntArray:
    """Encodes n lists, [n, length] int32, padded with `PAD_CODE`.

    Args:
        lists: none longer than `length`.
        length: of a row.
        encode: encodes the values of all lists in one call.
    """
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    codes = np.full((len(lists), length), PAD_CODE, dtype=np.int32)
    codes[np.arange(length) < lengths[:, None]] = encode([value for one in lists for value in one])
    return codes


def joined(parts: Sequence[tuple[SideLayout, EncodedColumns]], layout: SideLayout) -> EncodedColumns:
    """Joins columns of several parts, side by side, in the order of a layout with all of them.

    Args:
        parts: layouts and columns of the same n rows.
        layout: of the result.
    """
    size = len(parts[0][1])
    codes = np.zeros((size, len(layout.codes)), dtype=np.int32)
    numbers = np.zeros((size, len(layout.numbers)), dtype=np.float32)
    lists: dict[str, IntArray] = {}
    vectors: dict[str, FloatArray] = {}
    for names, columns in parts:
        codes[:, [layout.codes.index(name) for name in names.codes]] = columns.codes
        numbers[:, [layout.numbers.index(name) for name in names.numbers]] = columns.numbers
        lists |= zip(names.lists, columns.lists, strict=True)
        vectors |= zip(names.vectors, columns.vectors, strict=True)
    in_order = tuple(lists[name] for name in layout.lists), tuple(vectors[name] for name in layout.vectors)
    return EncodedColumns(parts[0][1].digest, codes, numbers, *in_order)
