from __future__ import annotations

import numpy as np
import pyarrow as pa

from contracts.columns import Column, Kind, TableSchema
from serving.interactions.day_files import arrow_schema, by_day
from training.tables import arrow_type


def test_rows_of_a_day_keep_their_order() -> None:
    rows = pa.table({"name": ["a", "b", "c"]})
    found = [(folder, some["name"].to_pylist()) for folder, some in by_day(rows, np.array([20_001, 20_000, 20_001]))]
    assert found == [("day=2024-10-04", ["b"]), ("day=2024-10-05", ["a", "c"])]
    assert list(by_day(rows.slice(0, 0), np.array([], dtype=np.int64))) == []


def test_every_kind_of_column_has_an_arrow_type_and_it_is_that_of_training() -> None:
    columns = [Column(kind.value, kind, length=2 if kind is Kind.VECTOR else None) for kind in Kind]
    types = arrow_schema(TableSchema("all", tuple(columns))).types
    assert list(map(str, types)) == [
        *("string", "int64", "double", "bool", "string", "list<item: string>"),
        "fixed_size_list<item: float>[2]",
    ]
    assert types == [arrow_type(column) for column in columns]
