"""Raw tables: which files there are, whether their schemas are usable, and their canonical form.

Every column is checked before any row is read, so that a wrong table costs seconds and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.clock import day_to_name, name_to_day
from contracts.columns import DAY, Column, Kind, TableSchema
from contracts.errors import DataError, SchemaError

ColumnMap = Mapping[str, str]
"""Names of the shop's columns by our names, for example `{"title": "name"}`."""

ARROW_TYPES: Final = {
    Kind.STRING: pa.string(),
    Kind.INT: pa.int64(),
    Kind.FLOAT: pa.float64(),
    Kind.BOOL: pa.bool_(),
}
_FIXES: Final = {
    Kind.STRING: "cast it to string",
    Kind.INT: "cast it to int64 (times are Unix seconds, UTC)",
    Kind.FLOAT: "cast it to float64",
    Kind.BOOL: "cast it to bool",
}


@dataclass(frozen=True)
class RawTable:
    """The files of a raw table, all of usable schema.

    Attributes:
        schema: what the table must look like.
        files: all Parquet files, sorted.
        source_names: name in the files of each canonical column that at least one file has.
        days: files of each shop-local day; empty unless the table is partitioned. A day may have no file.
    """

    schema: TableSchema
    files: tuple[Path, ...]
    source_names: dict[str, str]
    days: dict[int, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """Columns that no file has, as `table.column`."""
        return tuple(f"{self.schema.name}.{name}" for name in self.schema.names if name not in self.source_names)

    @property
    def source_schema(self) -> pa.Schema:
        """The present columns under the names of the files, in canonical types."""
        kinds = {column.name: column.kind for column in self.schema.columns}
        return pa.schema([(source, ARROW_TYPES[kinds[name]]) for name, source in self.source_names.items()])

    def of_days(self, days: Collection[int]) -> RawTable:
        """The part of a partitioned table with the files of some days; the same columns are present."""
        files = {day: paths for day, paths in self.days.items() if day in days}
        return replace(self, files=tuple(path for paths in files.values() for path in paths), days=files)

    def canonical(self, table: pa.Table) -> pa.Table:
        """A table of some of the files in canonical names, order and types; absent columns are null."""
        columns = []
        for column in self.schema.columns:
            target, source = ARROW_TYPES[column.kind], self.source_names.get(column.name)
            present = source in table.column_names
            columns.append(table[source].cast(target) if present else pa.nulls(len(table), target))
        return pa.table(columns, names=list(self.schema.names))


def find_table(raw_dir: Path, schema: TableSchema, columns: ColumnMap | None = None) -> RawTable:
    """Finds the files of `raw_dir/<table>` and checks their schemas.

    Args:
        raw_dir: folder of the raw tables.
        schema: the table to find.
        columns: names of the shop's columns by our names.

    Raises:
        DataError: no folder, no Parquet file, or one that cannot be read.
        SchemaError: a column is missing, misnamed or of a wrong type, or a day folder has no date.
    """
    folder = raw_dir / schema.name
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; expected the table {schema.name!r} as Parquet files in it")
    days = _find_days(folder) if schema.partitioned else {}
    files = tuple(path for day in sorted(days) for path in days[day]) if schema.partitioned else _parquet_files(folder)
    if not files:
        where = f"{DAY}=YYYY-MM-DD folders of {folder}" if schema.partitioned else str(folder)
        raise DataError(f"no Parquet file in {where}; the table {schema.name!r} needs at least one")
    return RawTable(schema, files, check_files(files, schema, columns or {}), days)


def read_table(path: Path, schema: TableSchema, columns: ColumnMap | None = None) -> pa.Table:
    """Reads a whole small table, canonical and with its key checked.

    Args:
        path: a Parquet file, or a folder of them.
        schema: what the table must look like.
        columns: names of the shop's columns by our names.

    Raises:
        DataError: no file, or a key that occurs twice.
        SchemaError: a column is missing or of a wrong type, or an id is null.
    """
    files = (path,) if path.is_file() else _parquet_files(path)
    if not files:
        raise DataError(f"no Parquet file at {path}; the table {schema.name!r} needs at least one")
    return read_files(RawTable(schema, files, check_files(files, schema, columns or {})))


def read_files(raw: RawTable) -> pa.Table:
    """All rows of a checked table, canonical, with the key and the non-null columns checked."""
    parts = []
    for path in raw.files:
        part = raw.canonical(_read(path, list(raw.source_names.values())))
        for column in raw.schema.columns:
            if not column.nullable and part[column.name].null_count:
                row = int(np.flatnonzero(part[column.name].is_null().to_numpy())[0])
                raise SchemaError(f"{path}: column {column.name!r} is null in row {row}; every row needs a value")
        parts.append(part)
    table = pa.concat_tables(parts).combine_chunks()
    if raw.schema.key is not None:
        _check_unique(table, raw.schema.key, raw.schema.name, raw.files, [len(part) for part in parts])
    return table


def check_files(files: tuple[Path, ...], schema: TableSchema, columns: ColumnMap) -> dict[str, str]:
    """Checks the schemas of files; returns the name in the files of each canonical column that some file has."""
    unknown = set(columns) - set(schema.names)
    if unknown:
        raise SchemaError(
            f"columns.{schema.name} maps {sorted(unknown)}, which the table does not know; "
            f"legal names: {', '.join(schema.names)}"
        )
    found: dict[str, str] = {}
    for path in files:
        types = _types(path)
        for column in schema.columns:
            source = columns.get(column.name, column.name)
            if source in types:
                _check_type(path, source, types[source], column)
                found[column.name] = source
            elif column.required or column.name in columns:
                raise SchemaError(
                    f"{path}: no column {source!r} for {schema.name}.{column.name}; the file has "
                    f"{sorted(types)}; name it in the config, columns: {{{schema.name}: {{{column.name}: <name>}}}}"
                )
    if schema.at_least_one_of and not set(schema.at_least_one_of) & set(found):
        raise SchemaError(
            f"{files[0]}: none of the columns {list(schema.at_least_one_of)} for {schema.name}; expected at least one"
        )
    return {name: found[name] for name in schema.names if name in found}


def _find_days(folder: Path) -> dict[int, tuple[Path, ...]]:
    days: dict[int, tuple[Path, ...]] = {}
    for path in sorted(folder.glob(f"{DAY}=*")):
        text = path.name.removeprefix(f"{DAY}=")
        try:
            day = name_to_day(text)
        except ValueError as error:
            raise SchemaError(f"{path}: {text!r} is no date; expected {DAY}=YYYY-MM-DD, as {DAY}=2025-01-31") from error
        if day_to_name(day) != text:
            raise SchemaError(f"{path}: the date is written {text!r}, expected {day_to_name(day)!r}")
        days[day] = _parquet_files(path)
    return days


def _parquet_files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.rglob("*.parquet") if not path.name.startswith((".", "_"))))


def _types(path: Path) -> dict[str, pa.DataType]:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}") from error
    return dict(zip(schema.names, schema.types, strict=True))


def _read(path: Path, names: list[str]) -> pa.Table:
    try:
        file = pq.ParquetFile(path)
        return file.read(columns=[name for name in names if name in file.schema_arrow.names])
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _check_type(path: Path, source: str, found: pa.DataType, column: Column) -> None:
    plain = found.value_type if pa.types.is_dictionary(found) else found
    legal = {
        Kind.STRING: pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain),
        Kind.INT: pa.types.is_integer(plain),
        Kind.FLOAT: pa.types.is_floating(plain) or pa.types.is_integer(plain) or pa.types.is_decimal(plain),
        Kind.BOOL: pa.types.is_boolean(plain),
    }
    if not (legal[column.kind] or (pa.types.is_null(plain) and column.nullable)):
        raise SchemaError(
            f"{path}: column {source!r} is {found}, expected {column.kind.value}; {_FIXES[column.kind]} in the table"
        )


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
