from __future__ import annotations

import pyarrow as pa
import pytest

from contracts.columns import Column, Kind
from contracts.records import CONTEXT
from training.recorded_context import with_context

COUNTRY, WORDS = Column("country", Kind.CATEGORY), Column("words", Kind.STRINGS)
SPEND, PLACE = Column("spend", Kind.FLOAT), Column("place", Kind.VECTOR, length=2)


def read(column: Column, *contexts: str | None) -> list[object]:
    rows = pa.table({CONTEXT: pa.array(contexts, pa.string()), column.name: pa.nulls(len(contexts))})
    return with_context(rows, [column])[column.name].to_pylist()


@pytest.mark.parametrize(
    ("column", "contexts", "values"),
    [
        (COUNTRY, [None, '{"country": "de"}', '{"land": "fr"}', '{"country": 7}'], [None, "de", None, None]),
        (WORDS, ['{"words": ["a", 7, "b"]}', '{"words": "a"}'], [["a", "b"], None]),
        (SPEND, ['{"spend": 2.5}', '{"spend": 1e300}', '{"spend": "7"}'], [2.5, None, None]),
        (PLACE, ['{"place": [1, -2]}', '{"place": [1]}', '{"place": [1e300, 0]}'], [[1.0, -2.0], None, None]),
    ],
    ids=["category", "list", "number", "vector"],
)
def test_a_value_that_the_column_cannot_have_is_missing(
    column: Column, contexts: list[str | None], values: list[object]
) -> None:
    assert read(column, *contexts) == values
