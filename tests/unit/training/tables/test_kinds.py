"""Categories, lists of strings and vectors: every spelling that Arrow has for them, and what is refused."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.columns import MAX_LIST, Column, Kind, TableSchema
from contracts.errors import SchemaError
from tests.fixtures.raw_tables import write_table
from training.tables import arrow_type, find_table, illegal_ids, pieces, read_files, read_piece
from training.tables.values import canonical_column

BRAND = Column("brand", Kind.CATEGORY)
TAGS = Column("tags", Kind.STRINGS)
STYLE = Column("style", Kind.VECTOR, length=2)
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
NUMBERS = [pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.int64(), pa.uint64()]


def lists_of(values: pa.DataType, length: int) -> list[pa.DataType]:
    return [pa.list_(values), pa.large_list(values), pa.list_(values, length)]


def read(folder: Path, column: Column, values: pa.Array) -> pa.ChunkedArray:
    """A column, read whole and in pieces; one file has nulls of no type, one no rows."""
    schema = TableSchema("things", (Column("id", Kind.STRING), column), key="id")
    if column.nullable:
        write_table(folder / "things", {"id": ["first"], column.name: pa.nulls(1)}, "a.parquet")
    ids = [str(row) for row in range(len(values))]
    write_table(folder / "things", pa.table({"id": ids, column.name: values}), "b.parquet")
    write_table(folder / "things", pa.table({"id": [], column.name: values[:0]}), "c.parquet")
    raw = find_table(folder, schema)
    whole = read_files(raw)[column.name]
    in_pieces = pa.concat_tables(part for piece in pieces(raw) for part in read_piece(raw, piece))[column.name]
    assert whole.type == in_pieces.type == arrow_type(column)
    assert whole.to_pylist() == in_pieces.to_pylist()
    return whole[1:]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        *((pa.array(["acme", "", None, "42"]).cast(kind), ["acme", None, None, "42"]) for kind in TEXTS),
        (pa.array([42, None, -7]), ["42", None, "-7"]),
        (pa.array([42, 0], pa.uint8()), ["42", "0"]),
        (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
        (pa.array([42, None]).dictionary_encode(), ["42", None]),
        (pa.array([True, None, False]), ["true", None, "false"]),
        (pa.nulls(2), [None, None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_categories_are_names_whatever_their_type(tmp_path: Path, values: pa.Array, expected: list[Any]) -> None:
    assert read(tmp_path, BRAND, values).to_pylist() == expected


@pytest.mark.parametrize(
    "kind", [of for text in TEXTS for of in lists_of(text, 3)], ids=lambda kind: str(kind).replace(", ordered=0", "")
)
def test_lists_of_strings_are_sets_in_their_first_order(tmp_path: Path, kind: pa.DataType) -> None:
    values = pa.array([["b", "a", "b"], None, ["", None, "a"], ["", "", ""], ["c", "c", "c"]], kind)
    assert read(tmp_path, TAGS, values).to_pylist() == [["b", "a"], None, ["a"], [], ["c"]]


def test_empty_lists_and_lists_of_nulls_have_no_values(tmp_path: Path) -> None:
    assert read(tmp_path, TAGS, pa.array([[], None, ["a"]])).to_pylist() == [[], None, ["a"]]
    assert read(tmp_path, TAGS, pa.array([[], [None], None])).to_pylist() == [[], [], None]
    assert read(tmp_path, TAGS, pa.nulls(1)).to_pylist() == [None]


@pytest.mark.parametrize("kind", [of for number in NUMBERS for of in lists_of(number, 2)], ids=str)
def test_vectors_are_float32_whatever_their_type(tmp_path: Path, kind: pa.DataType) -> None:
    rows = [[1, 2], None, [3, 4]]
    values = pa.array([row and [np.float16(number) for number in row] for row in rows] if "half" in str(kind) else rows)
    assert read(tmp_path, STYLE, values.cast(kind)).to_pylist() == [[1.0, 2.0], None, [3.0, 4.0]]


def test_vectors_of_nulls_only(tmp_path: Path) -> None:
    assert read(tmp_path, STYLE, pa.array([None, None], pa.list_(pa.float64()))).to_pylist() == [None, None]
    assert read(tmp_path, STYLE, pa.nulls(1)).to_pylist() == [None]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (BRAND, pa.array([1.5]), "'brand' is double, expected string, int64 or bool; cast it to string or int64 in"),
        (BRAND, pa.array([Decimal(1)], pa.decimal128(3)), r"is decimal128\(3, 0\), expected string, int64 or bool"),
        (BRAND, pa.array([b"a"]), "is binary, expected string, int64 or bool"),
        (BRAND, pa.array([["a"]]), "'brand' is list<element: string>, expected string, int64 or bool"),
        (TAGS, pa.array(["a"]), "'tags' is string, expected list<string>; cast it to list<string> in the table"),
        (TAGS, pa.array([[1]]), "'tags' is list<element: int64>, expected list<string>"),
        (TAGS, pa.array([[["a"]]]), "'tags' is list<element: list<element: string>>, expected list<string>"),
        (STYLE, pa.array([1.5]), "'style' is double, expected list<float> of 2 numbers; cast it to list<float> in"),
        (STYLE, pa.array([["a"]]), "'style' is list<element: string>, expected list<float> of 2 numbers"),
        (STYLE, pa.array([[True, False]]), "'style' is list<element: bool>, expected list<float> of 2 numbers"),
        (
            STYLE,
            pa.array([[1.0] * 3], pa.list_(pa.float64(), 3)),
            r"is fixed_size_list<element: double>\[3\], expected",
        ),
        (Column("style", Kind.VECTOR, nullable=False, length=2), pa.nulls(1), "'style' is null, expected list<float>"),
    ],
)
def test_a_wrong_type_names_what_there_is_and_the_fix(
    tmp_path: Path, column: Column, values: pa.Array, message: str
) -> None:
    write_table(tmp_path / "things", {column.name: values})
    with pytest.raises(SchemaError, match=rf"part-0.parquet: column .*{message}"):
        find_table(tmp_path, TableSchema("things", (column,)))


MANY = [f"t{number}" for number in range(MAX_LIST + 1)]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (BRAND, pa.array(["a", "."]), "column 'brand' is '.' in row 1: programs take it for a folder in a path; exp"),
        (
            BRAND,
            pa.array(["a", "b\x07"]).dictionary_encode(),
            r"column 'brand' is 'b\\x07' in row 1: it has the control character U\+0007; expected 1 to 256 characters",
        ),
        (TAGS, pa.array([["a"], None, ["b", "x" * 257]]), r"'x{60}' in row 2: it has 257 characters, at most 256"),
        (
            TAGS,
            pa.array([["a"], [], MANY, MANY]),
            r"column 'tags' has 101 distinct values in row 2; expected at most 100; keep those that matter most \(2",
        ),
        (
            STYLE,
            pa.array([None, [1.0, 2.0], [1.0], []]),
            r"column 'style' has 1 numbers in row 2; expected 2; write 2 numbers in every row, or null where they are "
            r"not known, or correct the length in the config \(2 such rows\)",
        ),
        (
            STYLE,
            pa.array([None, [1.0, 2.0], [1.0, float("nan")]]),
            r"column 'style' is nan in row 2, component 1; expected numbers from -9007199254740991 to "
            r"9007199254740991; correct the v",
        ),
        (STYLE, pa.array([[1.0, 2.0], [-float("inf"), 0]]), "is -inf in row 1, component 0; expected"),
        (STYLE, pa.array([[1, 2], [3, None]], pa.list_(pa.int32(), 2)), "is null in row 1, component 1; expected num"),
        (STYLE, pa.array([[1e300, 2.0]]), r"is 1e\+300 in row 0, component 0; .*, or leave the whole vector out \(nul"),
        (Column("style", Kind.VECTOR, nullable=False, length=2), pa.array([[1.0]]), "in every row, or correct the le"),
        (Column("style", Kind.VECTOR, nullable=False, length=1), pa.array([[np.inf]]), "correct the value$"),
    ],
)
def test_a_wrong_value_names_file_row_and_what_was_expected(
    tmp_path: Path, column: Column, values: pa.Array, message: str
) -> None:
    with pytest.raises(SchemaError, match=rf"b.parquet: .*{message}"):
        read(tmp_path, column, values)


def test_bytes_that_are_no_utf8_are_refused_within_lists(tmp_path: Path) -> None:
    content = pa.array([b"a", b"b", b"Caf\xe9"])
    texts = pa.Array.from_buffers(pa.string(), 3, content.buffers())
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 1, 3], pa.int32()), texts)
    with pytest.raises(SchemaError, match=r"b.parquet: column 'tags' is b'Caf\\xe9' in row 2, which is no UTF-8"):
        read(tmp_path, TAGS, lists)


LISTS = st.none() | st.lists(st.none() | st.sampled_from(["", "a", "b", "c", ".", "x" * 257]), max_size=6)


@given(st.lists(LISTS), st.integers(0, 3), st.sampled_from(TEXTS))
@settings(deadline=None)
def test_lists_of_strings_are_what_python_makes_of_them(
    rows: list[list[str | None] | None], start: int, text: pa.DataType
) -> None:
    chunk = pa.array(rows, pa.list_(text))
    column = canonical_column(pa.chunked_array([chunk.slice(start), chunk]), TAGS, "tags", Path("file"))
    expected = [row if row is None else list(dict.fromkeys(text for text in row if text)) for row in rows]
    assert column.to_pylist() == expected[start:] + expected
    illegal = [any(text == "." or len(text) > 256 for text in row or ()) for row in expected]
    assert illegal_ids(column).tolist() == illegal[start:] + illegal


VECTORS = st.none() | st.lists(st.sampled_from([0.5, -2.0, float("nan"), float("inf"), None]), min_size=1, max_size=3)


@given(st.lists(st.none() | st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=2)), st.integers(0, 3))
@settings(deadline=None)
def test_vectors_are_what_they_were(rows: list[list[float] | None], start: int) -> None:
    chunk = pa.array(rows, pa.list_(pa.float32()))
    column = canonical_column(pa.chunked_array([chunk.slice(start), chunk]), STYLE, "style", Path("file"))
    assert column.to_pylist() == rows[start:] + rows


@given(st.lists(VECTORS, min_size=1), st.integers(0, 3), st.integers(0, 100))
@settings(deadline=None)
def test_the_first_vector_at_fault_is_told(rows: list[list[float | None] | None], start: int, first_row: int) -> None:
    values = pa.chunked_array([pa.array(rows, pa.list_(pa.float64())).slice(start)])
    wrong = [row is not None and len(row) != 2 for row in rows[start:]]
    broken = [row is not None and not np.isfinite(np.array(row, float)).all() for row in rows[start:]]
    fault = wrong if any(wrong) else broken
    if any(fault):
        with pytest.raises(SchemaError, match=rf"file: column 'style' .* in row {first_row + fault.index(True)}[;,]"):
            canonical_column(values, STYLE, "style", Path("file"), first_row)
    else:
        canonical_column(values, STYLE, "style", Path("file"), first_row)
