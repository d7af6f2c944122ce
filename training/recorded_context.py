"""The context of recorded rows, in the columns that the schema declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeGuard

import pyarrow as pa
import pyarrow.compute as pc

from contracts.columns import Column, Kind
from contracts.interactions import read_context
from contracts.messages import ContextValue
from contracts.records import CONTEXT
from training.tables import arrow_type


def with_context(rows: pa.Table, columns: Sequence[Column]) -> pa.Table:
    """Recorded rows with the values of their context; a value that the column cannot have is missing.

    Args:
        rows: with `CONTEXT`, and the columns.
        columns: of the context.
    """
    texts = rows[CONTEXT].combine_chunks().dictionary_encode()
    contexts = [{}, *map(read_context, texts.dictionary.to_pylist())]
    places = pc.add(pc.fill_null(texts.indices, -1), 1)
    for column in columns:
        read = _READERS.get(column.kind, _number)
        values = [read(one.get(column.name), column) for one in contexts]
        found = pa.array(values, arrow_type(column)).take(places)
        rows = rows.set_column(rows.schema.get_field_index(column.name), column.name, found)
    return rows


def _category(value: ContextValue | None, column: Column) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: ContextValue | None, column: Column) -> float | None:
    return float(value) if _is_legal(value, column) else None


def _strings(value: ContextValue | None, column: Column) -> list[str] | None:
    return [one for one in value if isinstance(one, str)] if isinstance(value, tuple) else None


def _vector(value: ContextValue | None, column: Column) -> list[float] | None:
    if not isinstance(value, tuple) or len(value) != column.length:
        return None
    numbers = [float(one) for one in value if _is_legal(one, column)]
    return numbers if len(numbers) == len(value) else None


def _is_legal(value: ContextValue | None, column: Column) -> TypeGuard[float]:
    return isinstance(value, int | float) and (column.range is None or value in column.range)


_READERS: Final[Mapping[Kind, Callable[[ContextValue | None, Column], object]]] = {
    Kind.CATEGORY: _category,
    Kind.STRINGS: _strings,
    Kind.VECTOR: _vector,
}
