from __future__ import annotations

import pytest

from contracts import columns as c
from contracts.columns import Column, Kind

BRAND = Column("brand", Kind.CATEGORY, declared=True)
TAGS = Column("tags", Kind.STRINGS, declared=True)


def test_a_table_with_more_columns_has_them_at_its_end_and_keeps_the_rest() -> None:
    table = c.INTERACTIONS.with_columns([BRAND, TAGS])
    assert table.columns == (*c.INTERACTIONS.columns, BRAND, TAGS)
    assert (table.name, table.partitioned, table.at_least_one_of) == ("interactions", True, ("user_id", "session_id"))
    assert c.INTERACTIONS.with_columns([]) == c.INTERACTIONS


@pytest.mark.parametrize(
    ("extra", "taken", "name"),
    [
        ([BRAND, Column("price", Kind.FLOAT)], (), "price"),
        ([BRAND, TAGS, BRAND], (), "brand"),
        ([TAGS, BRAND], ("brand",), "brand"),
    ],
)
def test_a_name_that_is_taken_is_refused(extra: list[Column], taken: tuple[str, ...], name: str) -> None:
    expected = rf"items.{name}: the name is taken .*features.columns, .* columns: {{items: {{<new name>: {name}}}}}$"
    with pytest.raises(ValueError, match=expected):
        c.ITEMS.with_columns(extra, taken)


@pytest.mark.parametrize(
    ("kind", "length"), [(Kind.VECTOR, None), (Kind.VECTOR, 0), (Kind.VECTOR, -1), (Kind.STRINGS, 3), (Kind.FLOAT, 0)]
)
def test_vectors_have_a_length_and_no_other_kind_has(kind: Kind, length: int | None) -> None:
    expected = rf"column 'style' is a {kind} of length {length}; a vector needs a length of 1 or more, other kinds have"
    with pytest.raises(ValueError, match=expected):
        Column("style", kind, length=length)


def test_names_are_as_ids_are() -> None:
    assert [kind for kind in Kind if Column("x", kind, length=1 if kind is Kind.VECTOR else None).holds_ids] == [
        Kind.STRING,
        Kind.CATEGORY,
        Kind.STRINGS,
    ]


def test_an_optional_column_is_the_same_but_for_what_files_must_have() -> None:
    needed = Column("style", Kind.VECTOR, required=True, nullable=False, length=16, declared=True)
    assert needed.optional() == Column("style", Kind.VECTOR, length=16)
