"""Columns that a shop declares in its config: which files must have them, and what is told of those that do not."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from contracts import columns as c
from contracts.columns import Column, Kind
from contracts.errors import SchemaError
from tests.fixtures.raw_tables import START, write_events, write_table
from training.records import read_records
from training.tables import arrow_type, empty_table, find_table, pieces, read_files, read_piece

BRAND = Column("brand", Kind.CATEGORY, declared=True)
ITEMS = c.ITEMS.with_columns([BRAND])


def write_parts(folder: Path, *brands: str | None, name: str = "brand") -> None:
    """One file for each brand, with one item; None = the file has no such column."""
    for number, brand in enumerate(brands):
        columns = {"item_id": [f"i{number}"]} | ({} if brand is None else {name: [brand]})
        write_table(folder / "items", columns, f"part-{number}.parquet")


def test_a_column_that_no_file_has_is_refused_with_what_there_is_and_the_fix(tmp_path: Path) -> None:
    write_parts(tmp_path, "acme", "acme", "acme", name="marke")
    with pytest.raises(SchemaError) as caught:
        find_table(tmp_path, ITEMS)
    assert caught.value.message == (
        f"{tmp_path}/items/part-0.parquet: no column 'brand' for items.brand, which the config declares; none of 3 "
        "files has it, this one has ['item_id', 'marke']; correct the name in features.columns, map it by columns: "
        "{items: {brand: <name>}}, or take it out of the config"
    )
    with pytest.raises(SchemaError, match=r"no column 'brnd' for items.brand, which the config declares"):
        find_table(tmp_path, ITEMS, {"brand": "brnd"})
    assert read_files(find_table(tmp_path, ITEMS, {"brand": "marke"}))["brand"].to_pylist() == ["acme"] * 3


@pytest.mark.parametrize("name", ["brand", "marke"])
def test_rows_of_files_that_lack_a_column_have_no_value_and_that_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    write_parts(tmp_path, "acme", None, "bolt", None, name=name)
    with caplog.at_level(logging.WARNING):
        raw = find_table(tmp_path, ITEMS, {"brand": name})
        assert read_files(raw)["brand"].to_pylist() == ["acme", None, "bolt", None]
    assert [record.getMessage() for record in caplog.records] == [
        f"items.brand: 2 of 4 files have no column {name!r}, the first is {tmp_path}/items/part-1.parquet; the values "
        "of their rows are missing"
    ]
    assert "items.brand" not in raw.missing


@pytest.mark.parametrize("strict", [{"required": True}, {"nullable": False}])
def test_a_file_that_lacks_a_column_which_every_row_needs_is_refused(tmp_path: Path, strict: dict[str, bool]) -> None:
    write_parts(tmp_path, "acme", None)
    with pytest.raises(SchemaError, match=r"part-1.parquet: no column 'brand' for items.brand; the file has \['item"):
        find_table(tmp_path, c.ITEMS.with_columns([replace(BRAND, **strict)]))


@pytest.mark.parametrize("table", ["items", "interactions"])
def test_a_declared_column_that_every_row_needs_has_no_nulls(tmp_path: Path, table: str) -> None:
    write_table(tmp_path / "items", {"item_id": ["i1", "i2"], "brand": ["acme", None]})
    row = {"at": 0, "user_id": "u1", "item_id": "i1"}
    write_events(tmp_path, [{**row, "brand": "acme"}, {**row, "brand": None}])
    schema = {"items": c.ITEMS, "interactions": c.INTERACTIONS}[table]
    raw = find_table(tmp_path, schema.with_columns([replace(BRAND, nullable=False)]))
    with pytest.raises(SchemaError, match=r"column 'brand' is null in row 1; every row needs a value"):
        list(read_piece(raw, pieces(raw)[0]))
    (narrow,) = read_piece(raw.of_columns(["item_id"]), pieces(raw)[0])
    assert narrow["brand"].null_count == 2  # it is not asked for


def test_records_may_be_older_than_the_declaration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    schema = replace(c.INTERACTIONS, columns=(*c.INTERACTIONS.columns, BRAND, Column("style", Kind.VECTOR, length=2)))
    old = {"user_id": ["u1"], "item_id": ["i1"], "timestamp": [START]}
    write_table(tmp_path / "interactions" / "day=2024-10-04", old, "a.parquet")
    assert read_records(tmp_path, schema)["brand"].to_pylist() == [None]
    write_table(tmp_path / "interactions" / "day=2024-10-04", {**old, "brand": ["acme"]}, "b.parquet")
    strict = replace(schema, columns=(*c.INTERACTIONS.columns, replace(BRAND, required=True, nullable=False)))
    assert read_records(tmp_path, strict)["brand"].to_pylist() == [None, "acme"]
    assert caplog.records == []
    assert read_records(tmp_path / "none", schema).schema == empty_table(schema).schema


def test_an_empty_table_has_the_canonical_types() -> None:
    columns = [
        Column(kind.value, kind, length=3 if kind is Kind.VECTOR else None) for kind in Kind if kind is not Kind.STRING
    ]
    table = empty_table(c.USERS.with_columns(columns))
    assert {name: str(table.schema.field(name).type) for name in table.column_names[3:]} == {
        "int64": "int64",
        "float64": "double",
        "bool": "bool",
        "category": "string",
        "strings": "list<item: string>",
        "vector": "fixed_size_list<item: float>[3]",
    }
    assert [arrow_type(column) for column in columns] == table.schema.types[3:]
