"""Values that are legal for their type and wrong for their column."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts import columns as c
from contracts import records as r
from contracts.columns import Column, Kind, TableSchema
from contracts.errors import SchemaError
from tests.fixtures.raw_tables import START, write_table
from training.tables import find_table, pieces, read_files, read_piece

INF, BEYOND = float("inf"), 2**53
SCHEMAS = (c.USERS, c.ITEMS, c.INTERACTIONS, c.IMPRESSIONS, r.INTERACTIONS, r.USER_ACTIVITY, r.SNAPSHOTS, r.TOMBSTONES)


def read_second(tmp_path: Path, column: Column, values: pa.Array) -> list[Any]:
    """Reads a column of a table that has one, after a first file without fault."""
    schema = TableSchema("things", (Column("id", Kind.STRING), column))
    write_table(tmp_path / "things", {"id": ["a"], column.name: pa.nulls(1)}, "a.parquet")
    write_table(tmp_path / "things", {"id": ["x"] * len(values), column.name: values}, "b.parquet")
    return read_files(find_table(tmp_path, schema))[column.name].to_pylist()[1:]


@pytest.mark.parametrize(
    ("values", "value", "row"),
    [
        (pa.array([1.0, INF]), "inf", 1),
        (pa.array([-INF, 1.0]), "-inf", 0),
        (pa.array([1.0, 2.0, 1e300]), "1e+300", 2),
        (pa.array([0, BEYOND]), str(BEYOND), 1),
        (pa.array([0, -BEYOND]), str(-BEYOND), 1),
        (pa.array([2**64 - 1, None], pa.uint64()), str(2**64 - 1), 0),
        (pa.array([1.0, INF], pa.float32()), "inf", 1),
        (pa.array(np.array([1, np.inf], np.float16)), "inf", 1),
        (pa.array([Decimal("1.5"), Decimal(10) ** 30], pa.decimal128(38, 2)), f"{10**30}.00", 1),
        (pa.array([Decimal(10) ** 60], pa.decimal256(70, 0)), str(10**60), 0),
        (pa.array([1.0, INF]).dictionary_encode(), "inf", 1),
    ],
)
def test_any_column_of_floats_is_finite_and_exact(tmp_path: Path, values: pa.Array, value: str, row: int) -> None:
    expected = (
        rf"b.parquet: column 'weight' is {value} in row {row}; expected -9007199254740991 to 9007199254740991; cor"
    )
    with pytest.raises(SchemaError, match=expected.replace("+", r"\+")):
        read_second(tmp_path, Column("weight", Kind.FLOAT), values)


def test_any_column_of_integers_fits_int64(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=rf"b.parquet: column 'stock' is {2**63} in row 1; expected -{2**63} to"):
        read_second(tmp_path, Column("stock", Kind.INT), pa.array([0, 2**63], pa.uint64()))
    assert read_second(tmp_path, Column("stock", Kind.INT), pa.array([2**63 - 1], pa.uint64())) == [2**63 - 1]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2.0, float("nan"), None]),
        pa.array([2.0, np.nan, None], pa.float32(), from_pandas=False),
        pa.array(np.array([2, np.nan, np.nan], np.float16)),
        pa.array([2.0, float("nan"), None]).dictionary_encode(),
        pa.array([Decimal(2), None, None]),
        pa.array([2, None, None], pa.uint8()),
    ],
)
def test_nan_is_a_missing_value_in_every_type(tmp_path: Path, values: pa.Array) -> None:
    assert read_second(tmp_path, Column("weight", Kind.FLOAT), values) == [2.0, None, None]


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        (c.ITEMS, c.PRICE, -0.01, r"column 'price' is -0.01 in row 1; expected 0 to 9007199254740991; correct the"),
        (c.USERS, c.AGE, -1.0, r"column 'age' is -1.0 in row 1; expected 0 to"),
        (
            c.ITEMS,
            c.LAUNCHED_AT,
            START * 1000,
            r"expected -62135596800 to 253402300799; divide by 1,000 if these are mil",
        ),
        (c.INTERACTIONS, c.TIMESTAMP, START * 10**9, r"in row 1; .*; divide by 1,000,000,000 if these are nanoseconds"),
        (
            c.INTERACTIONS,
            c.TIMESTAMP,
            -(2**62),
            r"column 'timestamp' is -4611686018427387904 in row 1; .*; correct the value$",
        ),
        (c.INTERACTIONS, c.LABEL, 5.0, r"column 'label' is 5.0 in row 1; expected 0 to 1; correct the value, or leave"),
        (c.INTERACTIONS, c.LABEL, -1.0, r"column 'label' is -1.0 in row 1; expected 0 to 1"),
        (c.IMPRESSIONS, c.POSITION, -1, r"column 'position' is -1 in row 1; expected 0 to"),
    ],
)
def test_columns_that_mean_less_than_their_kind(
    tmp_path: Path, table: TableSchema, column: str, value: float, message: str
) -> None:
    columns: dict[str, list[Any]] = {
        "user_id": ["u1", "u2"],
        "item_id": ["i1", "i2"],
        "request_id": ["r", "r"],
        "timestamp": [START, START],
        "position": [0, 1],
    }
    columns[column] = [columns.get(column, [None])[0], value]
    folder = tmp_path / table.name / ("day=2024-10-04" if table.partitioned else "")
    write_table(folder, {name: values for name, values in columns.items() if name in table.names})
    raw = find_table(tmp_path, table)
    with pytest.raises(SchemaError, match=rf"part-0.parquet: .*{message}"):
        list(read_piece(raw, pieces(raw)[0]))


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: f"{schema.name}-{len(schema.columns)}")
def test_every_column_of_numbers_has_a_range(schema: TableSchema) -> None:
    for column in schema.columns:
        numeric = column.kind in (Kind.INT, Kind.FLOAT, Kind.VECTOR)
        assert (column.range is not None) == numeric
        if column.range is not None:
            assert float("inf") not in column.range
            assert float("nan") not in column.range
