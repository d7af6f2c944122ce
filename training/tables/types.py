"""Arrow types of raw columns: the canonical type of each column, and the types that files may have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import pyarrow as pa

from contracts.columns import Column, Kind


def arrow_type(column: Column) -> pa.DataType:
    """The canonical type of a column."""
    value = pa.type_for_alias(column.kind.arrow)
    return pa.list_(value, column.length or -1) if column.kind.is_list else value


def accepts(column: Column, found: pa.DataType) -> bool:
    """Whether a column accepts a type; texts and numbers may also be dictionary-encoded."""
    plain = _plain(found)
    if pa.types.is_null(plain):
        return column.nullable
    rule = _RULES[column.kind]
    if not column.kind.is_list:
        return _is_one_of(plain, rule.accepted)
    if not _is_one_of(plain, _LISTS):
        return False
    if column.length is not None and pa.types.is_fixed_size_list(plain) and plain.list_size != column.length:
        return False
    return _is_one_of(_plain(plain.value_type), (*rule.accepted, pa.types.is_null))


def expected(column: Column) -> str:
    """Text for errors about a column of another type: the expected type and the fix."""
    rule = _RULES[column.kind]
    name = rule.name if column.length is None else f"{rule.name} of {column.length} numbers"
    return f"expected {name}; {rule.fix} in the table"


_Predicate = Callable[[pa.DataType], bool]


class _Rule(NamedTuple):
    """The types of a kind.

    Attributes:
        name: the expected type, in words.
        fix: what the user can do.
        accepted: types that files may have; for lists, types of their values.
    """

    name: str
    fix: str
    accepted: tuple[_Predicate, ...]


_TEXT: Final = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_NUMBER: Final = (pa.types.is_floating, pa.types.is_integer)
_LISTS: Final = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_RULES: Final = {
    Kind.STRING: _Rule("string", "cast it to string", _TEXT),
    Kind.INT: _Rule("int64", "cast it to int64 (times are Unix seconds, UTC)", (pa.types.is_integer,)),
    Kind.FLOAT: _Rule("float64", "cast it to float64", (*_NUMBER, pa.types.is_decimal)),
    Kind.BOOL: _Rule("bool", "cast it to bool", (pa.types.is_boolean,)),
    Kind.CATEGORY: _Rule(
        "string, int64 or bool",
        "cast it to string or int64",
        (*_TEXT, pa.types.is_integer, pa.types.is_boolean),
    ),
    Kind.STRINGS: _Rule("list<string>", "cast it to list<string>", _TEXT),
    Kind.VECTOR: _Rule("list<float>", "cast it to list<float>", _NUMBER),
}


def _is_one_of(found: pa.DataType, predicates: Iterable[_Predicate]) -> bool:
    return any(is_one(found) for is_one in predicates)


def _plain(found: pa.DataType) -> pa.DataType:
    return found.value_type if pa.types.is_dictionary(found) else found
