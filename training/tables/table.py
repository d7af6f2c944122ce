"""A raw table: its files and days, with checked schemas. Reads footers only."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.columns import DAY, Column, TableSchema
from contracts.errors import DataError, SchemaError
from training.tables.files import day_files, parquet_files
from training.tables.types import accepts, expected

logger = logging.getLogger(__name__)

ColumnMap = Mapping[str, str]
"""Names of the shop's columns by our names, for example `{"title": "name"}`."""

RowGroups = dict[Path, tuple[int, ...]]
"""Rows of each row group of each file, from the footers."""


@dataclass(frozen=True)
class RawTable:
    """The files of a raw table, all of usable schema.

    Attributes:
        schema: of the table.
        files: all Parquet files, sorted.
        source_names: names in the files, by canonical name, of columns that at least one file has.
        row_groups: rows of each row group of each file.
        days: files of each shop-local day; empty unless the table is partitioned. A day may have no file.
    """

    schema: TableSchema
    files: tuple[Path, ...]
    source_names: dict[str, str]
    row_groups: RowGroups
    days: dict[int, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """Columns that no file has, as `table.column`."""
        return tuple(f"{self.schema.name}.{name}" for name in self.schema.names if name not in self.source_names)

    @property
    def num_rows(self) -> int:
        """Rows of all files, from their footers."""
        return sum(sum(self.row_groups[path]) for path in self.files)

    def of_files(self, files: Sequence[Path]) -> RawTable:
        """Some of the files, without their days."""
        return replace(self, files=tuple(files), days={})

    def of_days(self, days: Collection[int]) -> RawTable:
        """The files of some days."""
        found = {day: files for day, files in self.days.items() if day in days}
        return replace(self, files=tuple(path for files in found.values() for path in files), days=found)

    def of_columns(self, names: Sequence[str]) -> RawTable:
        """The same table, but only some columns are read; the others are null."""
        return replace(
            self, source_names={name: self.source_names[name] for name in names if name in self.source_names}
        )


def is_given(raw_dir: Path, schema: TableSchema) -> bool:
    """Whether a shop has an optional table.

    Raises:
        SchemaError: there is no folder of that name, but a file or folder with a similar name.
    """
    folder = raw_dir / schema.name
    if folder.is_dir():
        return True
    alike = [path for path in sorted(raw_dir.iterdir()) if path.name.lower().partition(".")[0] == schema.name]
    if alike:
        raise SchemaError(f"{alike[0]} is not read; the table {schema.name!r} is a folder, move the files to {folder}/")
    return False


def find_table(raw_dir: Path, schema: TableSchema, columns: ColumnMap | None = None) -> RawTable:
    """Finds the files of `raw_dir/<table>` and checks their schemas.

    Args:
        raw_dir: folder of the raw tables.
        schema: the table to find.
        columns: names of the shop's columns by our names.

    Raises:
        DataError: no folder, no Parquet file, or one that cannot be read.
        SchemaError: a column is missing, misnamed or of a wrong type, or a file is in no folder of a day.
    """
    folder = raw_dir / schema.name
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; expected the table {schema.name!r} as Parquet files in it")
    days = day_files(folder) if schema.partitioned else {}
    files = tuple(path for day in sorted(days) for path in days[day]) if schema.partitioned else parquet_files(folder)
    if not files:
        where = f"{DAY}=YYYY-MM-DD folders of {folder}" if schema.partitioned else str(folder)
        raise DataError(f"no Parquet file in {where}; the table {schema.name!r} needs at least one")
    return RawTable(schema, files, *check_files(files, schema, columns or {}), days)


def check_files(files: tuple[Path, ...], schema: TableSchema, columns: ColumnMap) -> tuple[dict[str, str], RowGroups]:
    """Checks the schemas of files; warns if some files lack a declared column.

    Returns:
        The name in the files of each canonical column that some file has, and the rows of each row group.

    Raises:
        DataError: a file cannot be read.
        SchemaError: a column is missing, misnamed or of a wrong type, or no file has a declared column.
    """
    unknown = set(columns) - set(schema.names)
    if unknown:
        raise SchemaError(
            f"columns.{schema.name} maps {sorted(unknown)}, which the table does not know; "
            f"legal names: {', '.join(schema.names)}"
        )
    found: dict[str, str] = {}
    row_groups: RowGroups = {}
    lacking: dict[Column, list[Path]] = {column: [] for column in schema.columns if column.declared}
    for path in files:
        types, row_groups[path] = _read_footer(path)
        names = types.names
        for column in schema.columns:
            source = columns.get(column.name, column.name)
            if source in names:
                _check_type(path, source, types, column)
                found[column.name] = source
            elif column.required or not column.nullable or (column.name in columns and not column.declared):
                raise SchemaError(
                    f"{path}: no column {source!r} for {schema.name}.{column.name}; the file has {sorted(names)}; "
                    f"name it in the config, columns: {{{schema.name}: {{{column.name}: <name>}}}}"
                )
            elif column.declared:
                lacking[column].append(path)
    for column, without in lacking.items():
        if without:
            _tell_lacking(columns.get(column.name, column.name), column, schema, without, len(files))
    if schema.at_least_one_of and not set(schema.at_least_one_of) & set(found):
        raise SchemaError(
            f"{files[0]}: none of the columns {list(schema.at_least_one_of)} for {schema.name}; expected at least one"
        )
    return {name: found[name] for name in schema.names if name in found}, row_groups


def _tell_lacking(source: str, column: Column, schema: TableSchema, without: Sequence[Path], num_files: int) -> None:
    """Refuses a declared column that no file has, and warns of one that some files lack."""
    if len(without) == num_files:
        raise SchemaError(
            f"{without[0]}: no column {source!r} for {schema.name}.{column.name}, which the config declares; none of "
            f"{num_files} files has it, this one has {sorted(_read_footer(without[0])[0].names)}; correct the name in "
            f"features.columns, map it by columns: {{{schema.name}: {{{column.name}: <name>}}}}, or take it out of the "
            "config"
        )
    logger.warning(
        "%s.%s: %d of %d files have no column %r, the first is %s; the values of their rows are missing",
        schema.name,
        column.name,
        len(without),
        num_files,
        source,
        without[0],
    )


def _read_footer(path: Path) -> tuple[pa.Schema, tuple[int, ...]]:
    try:
        with pq.ParquetFile(path) as file:
            groups = range(file.metadata.num_row_groups)
            return file.schema_arrow, tuple(file.metadata.row_group(number).num_rows for number in groups)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}") from error


def _check_type(path: Path, source: str, types: pa.Schema, column: Column) -> None:
    if types.names.count(source) > 1:
        raise SchemaError(
            f"{path}: {types.names.count(source)} columns are called {source!r}; expected one, rename them"
        )
    found = types.field(source).type
    if not accepts(column, found):
        raise SchemaError(f"{path}: column {source!r} is {found}, {expected(column)}")
