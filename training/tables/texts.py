"""String columns: refuses bytes that are no UTF-8 and illegal ids, by file, row and value; "" is a missing value.

`recommender_api.values` defines legal ids; categories, device types and the like obey the same rule, because requests
name them. Only free text does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.columns import TableSchema
from contracts.errors import SchemaError
from contracts.ids import BoolArray
from recommender_api.values import MAX_ID_CHARS, id_fault

_SHOWN_CHARS: Final = 60


def text_column(values: pa.ChunkedArray, *, nullable: bool, source: str, path: Path, first_row: int) -> pa.ChunkedArray:
    """A string column, checked for UTF-8; "" becomes null if the column is nullable.

    Args:
        values: [n] strings.
        nullable: whether values may be missing.
        source: the column's name in the file.
        path: the file.
        first_row: row of the first value in the file.

    Raises:
        SchemaError: bytes that are no UTF-8.
    """
    check_text(values, source, path, lambda place: first_row + place)
    empty = pc.equal(values, "")
    if nullable and pc.any(empty).as_py():
        return pc.if_else(empty, pa.scalar(None, values.type), values)
    return values


def check_text(values: pa.ChunkedArray, source: str, path: Path, row_of: Callable[[int], int]) -> None:
    """Refuses bytes that are no UTF-8.

    Args:
        values: [n] strings.
        source: the column's name in the file.
        path: the file.
        row_of: row in the file of the value at a place.

    Raises:
        SchemaError: names file, column, row and value.
    """
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        place, content = _first_broken(values)
        raise SchemaError(
            f"{path}: column {source!r} is {content[:_SHOWN_CHARS]!r} in row {row_of(place)}, which is no UTF-8; "
            "write the column in UTF-8"
        ) from None


def _first_broken(values: pa.ChunkedArray) -> tuple[int, bytes]:
    place = 0
    for chunk in values.chunks:
        for content in chunk.cast(pa.binary()).to_pylist():
            try:
                (content or b"").decode()
            except UnicodeDecodeError:
                return place, content
            place += 1
    raise AssertionError("Arrow found bytes that are no UTF-8, Python found none")


def check_ids(
    table: pa.Table, schema: TableSchema, source_names: Mapping[str, str], path: Path, first_row: int
) -> None:
    """Refuses illegal ids, and categories and the like that are not legal ids.

    Args:
        table: canonical rows.
        schema: of the rows.
        source_names: names of the columns in the file.
        path: the file.
        first_row: row of the first one in the file.

    Raises:
        SchemaError: names file, column, row and value.
    """
    for column in schema.columns:
        if not column.holds_ids or column.name not in table.column_names:
            continue
        rows = np.flatnonzero(illegal_ids(table[column.name]))
        if len(rows):
            value = first_illegal(table[column.name][int(rows[0])].as_py())
            raise SchemaError(
                f"{path}: column {source_names[column.name]!r} is {value[:_SHOWN_CHARS]!r} in row "
                f"{first_row + int(rows[0])}: {id_fault(value)}; expected 1 to {MAX_ID_CHARS} characters without "
                f"control characters, neither '.' nor '..' ({len(rows)} such rows)"
            )


def first_illegal(value: str | Sequence[str]) -> str:
    """The illegal id in a value: the value itself, or the first one in a list."""
    return value if isinstance(value, str) else next(text for text in value if id_fault(text) is not None)


def illegal_ids(values: pa.ChunkedArray) -> BoolArray:
    """Whether each value [n] is an illegal id, or a list with one; null is not illegal."""
    illegal = [_illegal(chunk) for chunk in values.chunks]
    return np.concatenate([np.zeros(0, dtype=bool), *illegal])


def _illegal(values: pa.Array) -> BoolArray:
    if pa.types.is_list(values.type):
        rows = np.zeros(len(values), dtype=bool)
        rows[pc.list_parent_indices(values).to_numpy()[_illegal(pc.list_flatten(values))]] = True
        return rows
    if not _may_be_illegal(values):
        return np.zeros(len(values), dtype=bool)
    encoded = values.dictionary_encode()
    faults = np.array([id_fault(text) is not None for text in encoded.dictionary.to_pylist()] + [False])
    illegal: BoolArray = faults[pc.fill_null(encoded.indices, len(faults) - 1).to_numpy()]
    return illegal


def _may_be_illegal(values: pa.Array) -> bool:
    """A fast check of the bytes: the full rule is applied only to columns that fail it."""
    if len(values) == 0 or pa.types.is_null(values.type):
        return False
    text = values.cast(pa.large_string())
    _, ends, content = text.buffers()
    offsets = np.frombuffer(ends, np.int64)[text.offset : text.offset + len(text) + 1]
    data = np.frombuffer(content or b"", np.uint8)[offsets[0] : offsets[-1]]
    controls = (data < 0x20) | (data == 0x7F) | (data == 0xC2)  # the last one leads U+0080 to U+00BF
    return bool(
        np.diff(offsets).max() > MAX_ID_CHARS
        or controls.any()
        or pc.any(pc.is_in(values, value_set=pa.array(["", ".", ".."]))).as_py()
    )
