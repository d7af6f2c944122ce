"""String columns: UTF-8, missing values and legal ids, whatever type Parquet gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import columns as c
from contracts.errors import SchemaError
from recommender_api.values import id_fault
from tests.fixtures.raw_tables import write_table
from training.tables import illegal_ids, read_table

TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["", ".", "..", "x" * 257])
TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]


def latin(texts: list[str], row: int) -> pa.Array:
    """Strings, one of which is "Café" in Latin-1."""
    contents = [text.encode() for text in texts]
    contents[row] = "Café".encode("latin-1")
    offsets = np.cumsum([0, *map(len, contents)]).astype(np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(contents), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(contents))]
    )


@given(st.lists(TEXTS), st.integers(0, 3))
@settings(deadline=None)
def test_columns_and_the_one_rule_agree(texts: list[str | None], start: int) -> None:
    column = pa.chunked_array([pa.array(texts, pa.string()).slice(start), pa.array(texts, pa.string())])
    expected = [text is not None and id_fault(text) is not None for text in column.to_pylist()]
    assert illegal_ids(column).tolist() == expected


@pytest.mark.parametrize("column", ["item_id", "title", "category_l1", "image_path"])
def test_bytes_that_are_no_utf8_are_refused_by_file_column_row_and_value(tmp_path: Path, column: str) -> None:
    items = {"item_id": [f"i{row}" for row in range(5)], column: latin([f"i{row}" for row in range(5)], 3)}
    path = write_table(tmp_path, pa.table(items))
    with pytest.raises(SchemaError) as caught:
        read_table(path, c.ITEMS)
    assert caught.value.message == (
        f"{path}: column '{column}' is b'Caf\\xe9' in row 3, which is no UTF-8; write the column in UTF-8"
    )


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_empty_strings_are_missing_whatever_their_type(tmp_path: Path, kind: pa.DataType) -> None:
    texts = pa.array(["", "a", None, ""]).cast(kind)
    path = write_table(tmp_path, pa.table({"item_id": ["i1", "i2", "i3", "i4"], "title": texts, "gender": texts}))
    table = read_table(path, c.ITEMS)
    assert table["title"].to_pylist() == table["gender"].to_pylist() == [None, "a", None, None]


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("item_id", "", "it is empty"),
        ("item_id", "e" * 300, "it has 300 characters, at most 256 are taken"),
        ("item_id", "a\nb", r"it has the control character U\+000A"),
        ("item_id", "..", "programs take it for a folder in a path"),
        ("category_l1", "c" * 257, "it has 257 characters, at most 256 are taken"),
        ("category_l2", "\x85", r"it has the control character U\+0085"),
        ("gender", ".", "programs take it for a folder in a path"),
    ],
)
def test_what_no_request_could_name_is_refused(tmp_path: Path, column: str, value: str, says: str) -> None:
    items = {"item_id": ["i1", "i2", "i3"], column: ["i1", "i2", value]}
    path = write_table(tmp_path, items)
    with pytest.raises(
        SchemaError, match=rf"part-0.parquet: column '{column}' is .* in row 2: {says}; expected 1 to 256"
    ):
        read_table(path, c.ITEMS)


def test_free_text_may_be_anything(tmp_path: Path) -> None:
    path = write_table(tmp_path, {"item_id": ["i1"], "title": ["t" * 999], "description": ["a\nb\x00."]})
    assert read_table(path, c.ITEMS)["description"].to_pylist() == ["a\nb\x00."]
