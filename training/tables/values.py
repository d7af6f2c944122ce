"""Converts columns to canonical types; refuses illegal values by file, row and value."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from contracts.columns import UNIX_SECONDS, Column, Kind
from contracts.errors import SchemaError
from training.tables.lists import string_lists, vectors
from training.tables.texts import text_column
from training.tables.types import arrow_type

_FINER: Final = {1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}


def canonical_column(
    values: pa.ChunkedArray, column: Column, source: str, path: Path, first_row: int = 0
) -> pa.ChunkedArray:
    """A column in the type of its kind; NaN and "" become null.

    Args:
        values: [n], of a type that the kind accepts.
        column: their column.
        source: the column's name in the file.
        path: the file.
        first_row: row of the first value in the file.

    Raises:
        SchemaError: a value is not legal in the column, or is no UTF-8.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if column.kind.is_list:
        return _lists(values, column, source, path, first_row)
    if pa.types.is_float16(values.type):
        values = values.cast(pa.float32())
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    legal = column.range
    if legal is not None and not pa.types.is_null(values.type):
        for extreme in pc.min_max(values).values():
            value = extreme.as_py()
            if value is not None and value not in legal:
                row = first_row + pc.index(values, extreme).as_py()
                raise SchemaError(
                    f"{path}: column {source!r} is {value} in row {row}; expected {legal}{_hint(value, column)}"
                )
    values = values.cast(arrow_type(column), safe=legal is None)  # numbers are within the range
    if column.kind not in (Kind.STRING, Kind.CATEGORY):
        return values
    return text_column(values, nullable=column.nullable, source=source, path=path, first_row=first_row)


def _lists(values: pa.ChunkedArray, column: Column, source: str, path: Path, first_row: int) -> pa.ChunkedArray:
    if pa.types.is_null(values.type):
        return values.cast(arrow_type(column))
    chunks = []
    for chunk in values.chunks:
        if column.kind is Kind.VECTOR:
            chunks.append(vectors(chunk, column, source, path, first_row))
        else:
            chunks.append(string_lists(chunk, source, path, first_row))
        first_row += len(chunk)
    return pa.chunked_array(chunks, arrow_type(column))


def _hint(value: float | Decimal, column: Column) -> str:
    if column.range is UNIX_SECONDS and value > 0:
        for factor, unit in _FINER.items():
            if value // factor in UNIX_SECONDS:
                return f"; divide by {factor:,} if these are {unit}"
    return "; correct the value" + (", or leave it out (null) where it is not known" if column.nullable else "")
