"""Reads rows of raw tables, in canonical names, order and types; fails if fewer arrive than the footers promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.columns import Column, TableSchema
from contracts.errors import DataError, SchemaError
from training.tables.files import parquet_files
from training.tables.table import ColumnMap, RawTable, check_files
from training.tables.texts import check_ids
from training.tables.types import arrow_type
from training.tables.values import canonical_column

_ROWS_AT_ONCE: Final = 500_000
_ROWS_OF_A_FILE: Final = 300
"""Opening a file takes about as long as reading and encoding this many rows."""


@dataclass(frozen=True)
class FilePart:
    """Some row groups of a file.

    Attributes:
        path: the file.
        row_groups: their numbers.
        first_row: number of their first row in the file.
        num_rows: their rows by the footer.
    """

    path: Path
    row_groups: tuple[int, ...]
    first_row: int
    num_rows: int


class _Rows(NamedTuple):
    """Rows of a file, and the number of the first one in the file."""

    table: pa.Table
    path: Path
    first_row: int


Piece = tuple[FilePart, ...]
"""What one task reads: parts of many small files, or a part of a large one."""


def pieces(raw: RawTable) -> list[Piece]:
    """Cuts a table into pieces of about equal work, for any number of files.

    Their number grows with the rows, and by one per 1,700 files.
    """
    cut: list[Piece] = []
    waiting: list[FilePart] = []
    work = 0
    for path in raw.files:
        first_row = 0
        for number, num_rows in enumerate(raw.row_groups[path]):
            waiting.append(FilePart(path, (number,), first_row, num_rows))
            work += num_rows + (_ROWS_OF_A_FILE if number == 0 else 0)
            first_row += num_rows
            if work >= _ROWS_AT_ONCE:
                cut.append(tuple(waiting))
                waiting, work = [], 0
    return [*cut, tuple(waiting)] if waiting else cut


def read_piece(raw: RawTable, piece: Piece) -> Iterator[pa.Table]:
    """Canonical tables of the rows of a piece, of at most about a million rows.

    Raises:
        DataError: a file cannot be read, or has other rows than its footer promised.
        SchemaError: a value is not legal in its column.
    """
    waiting: list[_Rows] = []
    num_rows = 0
    for part in piece:
        for rows in _read(raw, part):
            waiting.append(rows)
            num_rows += len(rows.table)
            if num_rows >= _ROWS_AT_ONCE:
                yield _together(raw, waiting)
                waiting, num_rows = [], 0
    if waiting:
        yield _together(raw, waiting)


def read_table(path: Path, schema: TableSchema, columns: ColumnMap | None = None) -> pa.Table:
    """Reads a whole small table, canonical and with its key checked.

    Args:
        path: a Parquet file, or a folder of them.
        schema: of the table.
        columns: names of the shop's columns by our names.

    Raises:
        DataError: no file, or a key that occurs twice.
        SchemaError: a column is missing or of a wrong type, an id is null, or a value is not legal in its column.
    """
    files = parquet_files(path) if path.exists() else ()
    if not files:
        raise DataError(f"no Parquet file at {path}; the table {schema.name!r} needs at least one")
    return read_files(RawTable(schema, files, *check_files(files, schema, columns or {})))


def read_files(raw: RawTable) -> pa.Table:
    """All rows of a checked table, canonical, with the key and the non-null columns checked."""
    tables = []
    for path in raw.files:
        groups = raw.row_groups[path]
        parts = [empty_table(raw.schema)]
        first_row = 0
        for rows in _read(raw, FilePart(path, tuple(range(len(groups))), 0, sum(groups))):
            part = _canonical(raw, rows)
            _check_rows(raw, part, path, first_row)
            parts.append(part)
            first_row += len(part)
        tables.append(pa.concat_tables(parts))
    table = pa.concat_tables(tables).combine_chunks()
    if raw.schema.key is not None:
        _check_unique(table, raw.schema.key, raw.schema.name, raw.files, [len(part) for part in tables])
    return table


def _read(raw: RawTable, part: FilePart) -> Iterator[_Rows]:
    """Rows of a part as in the file, only the columns of the table."""
    row = part.first_row
    try:
        with pq.ParquetFile(part.path) as file:
            there = file.schema_arrow.names
            names = [name for name in raw.source_names.values() if name in there]
            groups = list(part.row_groups)  # Ray already runs a task on every core
            for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=groups, columns=names, use_threads=False):
                yield _Rows(pa.Table.from_batches([batch]), part.path, row)
                row += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{part.path} cannot be read: {error}") from error
    if row != part.first_row + part.num_rows:
        raise DataError(
            f"{part.path}: {row - part.first_row} rows arrived, its footer promised {part.num_rows}; the file was "
            "changed while it was read, or is damaged; run the job again, or write the file again"
        )


def _together(raw: RawTable, parts: Sequence[_Rows]) -> pa.Table:
    """Canonical rows of parts; parts of one schema as one chunk, so that many small parts are as fast as one."""
    groups = [list(group) for _, group in groupby(parts, lambda part: part.table.schema)]
    try:
        whole = [pa.concat_tables([part.table for part in group]).combine_chunks() for group in groups]
        return pa.concat_tables(
            [_canonical(raw, _Rows(table, group[0].path, 0)) for table, group in zip(whole, groups, strict=True)]
        )
    except SchemaError:  # again one by one, to name file and row
        return pa.concat_tables([_canonical(raw, part) for part in parts])


def _canonical(raw: RawTable, rows: _Rows) -> pa.Table:
    """Rows in the table's names, order and types; columns that the file lacks are null."""
    table, path, first_row = rows
    columns = []
    for column in raw.schema.columns:
        source = raw.source_names.get(column.name)
        if source is not None and source in table.column_names:
            columns.append(canonical_column(table[source], column, source, path, first_row))
            if column.declared:  # nulls of other columns are counted later, if the table has no key
                _check_given(columns[-1], column, path, first_row)
        else:
            columns.append(pa.nulls(len(table), arrow_type(column)))
    return pa.table(columns, names=list(raw.schema.names))


def _check_rows(raw: RawTable, rows: pa.Table, path: Path, first_row: int) -> None:
    for column in raw.schema.columns:
        _check_given(rows[column.name], column, path, first_row)
    if raw.schema.key is not None:
        check_ids(rows, raw.schema, raw.source_names, path, first_row)


def _check_given(values: pa.ChunkedArray, column: Column, path: Path, first_row: int) -> None:
    if not column.nullable and values.null_count:
        row = first_row + int(np.flatnonzero(values.is_null().to_numpy())[0])
        raise SchemaError(f"{path}: column {column.name!r} is null in row {row}; every row needs a value")


def empty_table(schema: TableSchema) -> pa.Table:
    """A table without rows, in canonical names, order and types."""
    return pa.table({column.name: pa.array([], arrow_type(column)) for column in schema.columns})


def _check_unique(table: pa.Table, key: str, name: str, files: tuple[Path, ...], lengths: list[int]) -> None:
    counts = pc.value_counts(table[key])
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated) == 0:
        return
    value = repeated[0]["values"].as_py()
    row = int(np.flatnonzero(pc.equal(table[key], value).to_numpy())[1])
    path = files[int(np.searchsorted(np.cumsum(lengths), row, side="right"))]
    raise DataError(
        f"{path}: {key} {value!r} occurs {repeated[0]['counts'].as_py()} times in {name} "
        f"({len(repeated)} repeated ids in all); ids must be distinct, keep one row of each"
    )
