"""Rows by shop-local day, as raw tables have them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from contracts import columns as c
from contracts.clock import day_to_name
from contracts.columns import Column, TableSchema
from contracts.ids import LongArray


def arrow_schema(table: TableSchema) -> pa.Schema:
    """Arrow types of a table's columns."""
    return pa.schema([(column.name, _arrow_type(column)) for column in table.columns])


def _arrow_type(column: Column) -> pa.DataType:
    value = pa.type_for_alias(column.kind.arrow)
    return pa.list_(value, column.length or -1) if column.kind.is_list else value


def day_folder(day: int) -> str:
    """Name of the folder of a day's rows."""
    return f"{c.DAY}={day_to_name(day)}"


def by_day(rows: pa.Table, days: LongArray) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each day, with the name of their folder; `days` [n] are shop-local."""
    for day in np.unique(days).tolist():
        yield day_folder(day), rows.filter(pa.array(days == day))
