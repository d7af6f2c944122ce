from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from contracts import columns as c
from contracts.clock import DAY_S
from contracts.errors import DataError, SchemaError
from tests.fixtures.raw_tables import FIRST_DAY, START, write_events, write_shop, write_table
from training.tables import find_table, read_files, read_table


def test_a_table_is_read_in_canonical_names_order_and_types(tmp_path: Path) -> None:
    dictionary = pa.array(["a", "b"]).dictionary_encode()
    large = pa.array(["x", None], pa.large_string())
    table = pa.table({"price": pa.array([3, 4], pa.int32()), "name": large, "extra": [1, 2], "item_id": dictionary})
    read = read_table(write_table(tmp_path, table), c.ITEMS, {"title": "name"})
    assert read.column_names == list(c.ITEMS.names)
    assert read["item_id"].to_pylist() == ["a", "b"]
    assert read["title"].to_pylist() == ["x", None]
    assert read["price"].to_pylist() == [3.0, 4.0]
    assert read["launched_at"].null_count == 2
    assert [str(read.schema.field(name).type) for name in ("item_id", "title", "price", "launched_at")] == [
        "string",
        "string",
        "double",
        "int64",
    ]


def test_days_are_found_and_empty_ones_have_no_file(tmp_path: Path) -> None:
    write_shop(tmp_path)
    (tmp_path / "interactions" / "day=2024-10-09").mkdir()
    raw = find_table(tmp_path, c.INTERACTIONS)
    assert sorted(raw.days) == [*range(FIRST_DAY, FIRST_DAY + 5), FIRST_DAY + 5]
    assert raw.days[FIRST_DAY + 5] == ()
    assert len(raw.files) == 5
    assert raw.missing == (
        "interactions.event",
        "interactions.event_id",
        "interactions.request_id",
        "interactions.label",
    )


def test_a_column_of_some_files_counts_as_present(tmp_path: Path) -> None:
    write_events(
        tmp_path, [{"at": 0, "user_id": "u", "item_id": "i"}, {"at": 1, "user_id": "u", "item_id": "i", "label": 1.0}]
    )
    raw = find_table(tmp_path, c.INTERACTIONS)
    assert "label" in raw.source_names
    assert read_files(raw)["label"].to_pylist() == [None, 1.0]


def test_a_missing_folder_and_a_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*items; expected the table 'items' as Parquet files"):
        find_table(tmp_path, c.ITEMS)
    (tmp_path / "items").mkdir()
    with pytest.raises(DataError, match=r"no Parquet file in .*items; the table 'items' needs at least one"):
        find_table(tmp_path, c.ITEMS)
    (tmp_path / "interactions" / "day=2024-01-01").mkdir(parents=True)
    with pytest.raises(DataError, match="no Parquet file in day=YYYY-MM-DD folders of"):
        find_table(tmp_path, c.INTERACTIONS)
    with pytest.raises(DataError, match=r"no Parquet file at .*nothing; the table 'users' needs at least one"):
        read_table(tmp_path / "nothing", c.USERS)


def test_a_missing_column_names_file_column_and_what_there_is(tmp_path: Path) -> None:
    write_table(tmp_path / "items", {"sku": ["a"], "title": ["t"]})
    expected = r"part-0.parquet: no column 'item_id' for items.item_id; the file has \['sku', 'title'\]; name it in the"
    with pytest.raises(SchemaError, match=expected):
        find_table(tmp_path, c.ITEMS)
    assert find_table(tmp_path, c.ITEMS, {"item_id": "sku"}).source_names == {"item_id": "sku", "title": "title"}


def test_a_mapped_column_must_exist_and_its_name_be_known(tmp_path: Path) -> None:
    write_table(tmp_path / "items", {"item_id": ["a"]})
    with pytest.raises(SchemaError, match=r"no column 'name' for items.title"):
        find_table(tmp_path, c.ITEMS, {"title": "name"})
    with pytest.raises(SchemaError, match=r"columns.items maps \['colour'\], which the table does not know; legal"):
        find_table(tmp_path, c.ITEMS, {"colour": "color"})


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("item_id", pa.array([1]), "column 'item_id' is int64, expected string; cast it to string"),
        ("price", pa.array(["9.99"]), "column 'price' is string, expected float64; cast it to float64"),
        (
            "launched_at",
            pa.array([0], pa.timestamp("us")),
            r"'launched_at' is timestamp\[us\], expected int64; cast it",
        ),
        ("launched_at", pa.array([1.5]), "column 'launched_at' is double, expected int64"),
        ("item_id", pa.nulls(1), "column 'item_id' is null, expected string"),
    ],
)
def test_a_wrong_type_names_file_column_and_fix(tmp_path: Path, column: str, values: pa.Array, message: str) -> None:
    write_table(tmp_path / "items", {"item_id": ["a"], column: values})
    with pytest.raises(SchemaError, match=message):
        find_table(tmp_path, c.ITEMS)


def test_a_column_of_nulls_only_is_a_missing_value(tmp_path: Path) -> None:
    write_table(tmp_path / "items", {"item_id": ["a"], "price": pa.nulls(1)})
    assert read_files(find_table(tmp_path, c.ITEMS))["price"].to_pylist() == [None]


def test_a_wrong_bool_is_refused(tmp_path: Path) -> None:
    row = {"request_id": ["r"], "user_id": ["u"], "item_id": ["i"], "position": [0], "timestamp": [START]}
    write_table(tmp_path / "impressions" / "day=2024-10-04", {**row, "clicked": [1]})
    with pytest.raises(SchemaError, match="column 'clicked' is int64, expected bool; cast it to bool"):
        find_table(tmp_path, c.IMPRESSIONS)


def test_interactions_need_a_subject_column(tmp_path: Path) -> None:
    write_table(tmp_path / "interactions" / "day=2024-10-04", {"item_id": ["i"], "timestamp": [START]})
    with pytest.raises(SchemaError, match=r"none of the columns \['user_id', 'session_id'\] for interactions"):
        find_table(tmp_path, c.INTERACTIONS)


@pytest.mark.parametrize(
    ("name", "message"),
    [("day=today", "'today' is no date; expected day=YYYY-MM-DD"), ("day=20241004", "written '20241004', expected")],
)
def test_a_day_folder_needs_a_date(tmp_path: Path, name: str, message: str) -> None:
    write_table(tmp_path / "interactions" / name, {"user_id": ["u"], "item_id": ["i"], "timestamp": [START]})
    with pytest.raises(SchemaError, match=message):
        find_table(tmp_path, c.INTERACTIONS)


def test_a_repeated_id_names_file_value_and_count(tmp_path: Path) -> None:
    write_table(tmp_path / "users", {"user_id": ["u1", "u2"]}, "a.parquet")
    write_table(tmp_path / "users", {"user_id": ["u3", "u2", "u2", "u1"]}, "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet: user_id 'u\d' occurs \d times in users \(2 repeated ids in all\)"):
        read_files(find_table(tmp_path, c.USERS))


def test_a_null_id_names_file_and_row(tmp_path: Path) -> None:
    write_table(tmp_path / "users", {"user_id": ["u1", None]})
    with pytest.raises(
        SchemaError, match=r"part-0.parquet: column 'user_id' is null in row 1; every row needs a value"
    ):
        read_files(find_table(tmp_path, c.USERS))


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "a.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"a.parquet is no readable Parquet file"):
        find_table(tmp_path, c.USERS)


def test_a_file_whose_pages_are_damaged(tmp_path: Path) -> None:
    path = write_table(tmp_path / "users", {"user_id": [f"user number {n}" for n in range(1000)]})
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"part-0.parquet cannot be read"):
        read_files(find_table(tmp_path, c.USERS))


def test_start_is_the_first_second_of_the_first_day() -> None:
    assert START % DAY_S == 0
