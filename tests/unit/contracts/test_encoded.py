"""Encoded columns: their shapes, some of their rows, and parts side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contracts.encoded import PAD_CODE, EncodedColumns, joined, padded
from contracts.schema import SideLayout


def columns(**changes: Any) -> EncodedColumns:
    values: dict[str, Any] = {
        "codes": np.array([[1, 2], [3, 4], [5, 6]], dtype=np.int32),
        "numbers": np.array([[0.5], [1.5], [2.5]], dtype=np.float32),
        "lists": (np.array([[1, PAD_CODE], [PAD_CODE, PAD_CODE], [2, 3]], dtype=np.int32),),
        "vectors": (np.eye(3, dtype=np.float32),),
    }
    return EncodedColumns("d", **(values | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": np.zeros((3, 2))}, r"codes is float64\[3, 2\], expected int32\[3, 2\]"),
        ({"codes": np.zeros(3, np.int32)}, r"codes is int32\[3\], expected int32\[3, 3\]"),
        ({"numbers": np.zeros((2, 1), np.float32)}, r"numbers is float32\[2, 1\], expected float32\[3, 1\]"),
        ({"numbers": np.zeros((3, 1))}, r"numbers is float64\[3, 1\], expected float32\[3, 1\]"),
        ({"lists": (np.zeros((2, 4), np.int32),)}, r"a list is int32\[2, 4\], expected int32\[3, 4\]"),
        ({"vectors": (np.zeros((3, 4)),)}, r"a vector is float64\[3, 4\], expected float32\[3, 4\]"),
    ],
)
def test_other_shapes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        columns(**changes)


def test_some_of_the_rows() -> None:
    some = columns().take(np.array([2, 0, 2]))
    assert (len(some), some.digest) == (3, "d")
    assert some.codes.tolist() == [[5, 6], [1, 2], [5, 6]]
    assert some.numbers.tolist() == [[2.5], [0.5], [2.5]]
    assert some.lists[0].tolist() == [[2, 3], [1, -1], [2, 3]]
    assert some.vectors[0].tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]


def test_rows_without_any_column() -> None:
    nothing = EncodedColumns("d", np.zeros((4, 0), np.int32), np.zeros((4, 0), np.float32))
    assert len(nothing.take(np.array([1, 3]))) == 2


def test_parts_come_in_the_order_of_the_layout() -> None:
    first = SideLayout(("a", "c"), ("x",), ("tags",), ("style",))
    second = SideLayout(("b",), ("y", "z"), ("more",), ())
    other = columns(
        codes=np.array([[7], [8], [9]], dtype=np.int32),
        numbers=np.array([[10, 20], [11, 21], [12, 22]], dtype=np.float32),
        lists=(np.zeros((3, 1), dtype=np.int32),),
        vectors=(),
    )
    layout = SideLayout(("a", "b", "c"), ("z", "x", "y"), ("more", "tags"), ("style",))
    both = joined([(first, columns()), (second, other)], layout)
    assert both.codes.tolist() == [[1, 7, 2], [3, 8, 4], [5, 9, 6]]
    assert both.numbers.tolist() == [[20, 0.5, 10], [21, 1.5, 11], [22, 2.5, 12]]
    assert [values.tolist() for values in both.lists] == [other.lists[0].tolist(), columns().lists[0].tolist()]
    assert both.vectors[0].tolist() == np.eye(3).tolist()


def test_lists_are_padded() -> None:
    def lengths(values: list[str]) -> np.ndarray[Any, Any]:
        return np.array(list(map(len, values)), dtype=np.int32)

    assert padded([["a", "bb"], (), ["ccc"]], 3, lengths).tolist() == [[1, 2, -1], [-1, -1, -1], [3, -1, -1]]
    assert padded([], 2, lengths).shape == (0, 2)
    assert padded([(), ()], 0, lengths).shape == (2, 0)
