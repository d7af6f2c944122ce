"""Canonical columns with several values per row: tags and vectors. No Python loop runs over rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.columns import MAX_LIST, Column
from contracts.errors import SchemaError
from training.tables.texts import check_text


def string_lists(values: pa.Array, source: str, path: Path, first_row: int) -> pa.Array:
    """Distinct strings of each row, in their first order; nulls and "" within a list are dropped, null stays null.

    Args:
        values: [n] lists of strings.
        source: the column's name in the file.
        path: the file.
        first_row: row of the first value in the file.

    Raises:
        SchemaError: bytes that are no UTF-8, or more than `MAX_LIST` distinct strings in a row.
    """
    texts, row = pc.list_flatten(values).cast(pa.string()), pc.list_parent_indices(values).to_numpy()
    check_text(pa.chunked_array([texts]), source, path, lambda place: first_row + int(row[place]))
    given = pc.fill_null(pc.not_equal(texts, ""), False)
    texts, row = texts.filter(given), row[given.to_numpy(zero_copy_only=False)]
    encoded = texts.dictionary_encode()
    pairs = row * len(encoded.dictionary) + encoded.indices.to_numpy()
    first = np.sort(np.unique(pairs, return_index=True)[1])
    texts, row = texts.take(pa.array(first)), row[first]
    lengths = np.bincount(row, minlength=len(values))
    too_long = np.flatnonzero(lengths > MAX_LIST)
    if len(too_long):
        raise SchemaError(
            f"{path}: column {source!r} has {lengths[too_long[0]]} distinct values in row {first_row + too_long[0]}; "
            f"expected at most {MAX_LIST}; keep those that matter most ({len(too_long)} such rows)"
        )
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), texts, mask=values.is_null())


def vectors(values: pa.Array, column: Column, source: str, path: Path, first_row: int) -> pa.Array:
    """Vectors of float32, all of the column's length; null stays null.

    Args:
        values: [n] lists of numbers.
        column: their column.
        source: the column's name in the file.
        path: the file.
        first_row: row of the first value in the file.

    Raises:
        SchemaError: a row of another length, or a number that is null, NaN, or out of the column's range.
    """
    assert column.length is not None
    assert column.range is not None
    lengths, given = pc.list_value_length(values), values.is_valid().to_numpy(zero_copy_only=False)
    or_null = ", or null where they are not known" if column.nullable else ""
    wrong = np.flatnonzero(pc.fill_null(pc.not_equal(lengths, column.length), False))
    if len(wrong):
        row = int(wrong[0])
        raise SchemaError(
            f"{path}: column {source!r} has {lengths[row]} numbers in row {first_row + row}; expected {column.length}; "
            f"write {column.length} numbers in every row{or_null}, or correct the length in the config "
            f"({len(wrong)} such rows)"
        )
    numbers = pc.list_flatten(values)
    floats = pc.fill_null(numbers.cast(pa.float32(), safe=False), float("nan")).to_numpy()
    broken = np.flatnonzero(~(np.abs(floats) <= column.range.high))
    if len(broken):
        number, (vector, component) = numbers[int(broken[0])], divmod(int(broken[0]), column.length)
        or_left_out = ", or leave the whole vector out (null)" if column.nullable else ""
        raise SchemaError(
            f"{path}: column {source!r} is {number if number.is_valid else 'null'} in row "
            f"{first_row + np.flatnonzero(given)[vector]}, component {component}; expected numbers from "
            f"{column.range}; correct the value{or_left_out}"
        )
    rows = np.zeros((len(values), column.length), np.float32)
    rows[given] = floats.reshape(-1, column.length)
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), column.length, mask=values.is_null())
