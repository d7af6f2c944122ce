"""The declared columns: those that a feature schema reads from the raw tables in addition to the fixed ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from contracts import columns as c
from contracts.feature import Feature, FeatureKind, Source
from contracts.schema import FeatureSchema

_KINDS: Final[Mapping[FeatureKind, c.Kind]] = {
    FeatureKind.CATEGORICAL: c.Kind.CATEGORY,
    FeatureKind.CATEGORIES: c.Kind.STRINGS,
    FeatureKind.NUMERIC: c.Kind.FLOAT,
    FeatureKind.CYCLIC: c.Kind.FLOAT,
    FeatureKind.VECTOR: c.Kind.VECTOR,
    FeatureKind.LABEL: c.Kind.FLOAT,
}
_TABLES: Final[Mapping[Source, tuple[c.TableSchema, ...]]] = {
    "users": (c.USERS,),
    "items": (c.ITEMS,),
    "context": (c.INTERACTIONS, c.IMPRESSIONS),
}
_NUMBERS: Final = (c.Kind.INT, c.Kind.FLOAT)
_KNOWN_BEFORE: Final = (c.DEVICE_TYPE,)
"""Fixed columns of interactions and impressions that are known at the time of the request."""


def declared_columns(schema: FeatureSchema) -> dict[str, tuple[c.Column, ...]]:
    """Declared columns by table; impressions may lack those of the context.

    Raises:
        ValueError: a feature reads a fixed column as another kind.
    """
    found: dict[str, list[c.Column]] = {}
    for source, tables in _TABLES.items():
        for feature in schema.read_from(source):
            for table in tables:
                if (column := _declared(feature, table)) is not None:
                    found.setdefault(table.name, []).append(column)
    return {table: tuple(columns) for table, columns in found.items()}


def unknown_renames(renames: Mapping[str, Mapping[str, str]], schema: FeatureSchema) -> str | None:
    """Says what is wrong with the shop's column names, a mapping by table and our name; None if nothing is."""
    declared = declared_columns(schema)
    for table in (c.USERS, c.ITEMS, c.INTERACTIONS, c.IMPRESSIONS):
        legal = [*table.names, *(column.name for column in declared.get(table.name, ()))]
        for name in renames.get(table.name, ()):
            if name not in legal:
                return f"unknown column {name!r} of {table.name}; legal: {', '.join(legal)}"
    return None


def _declared(feature: Feature, table: c.TableSchema) -> c.Column | None:
    """The column that a feature reads; None if it is a fixed column of the table."""
    kind, name = _KINDS[feature.kind], feature.column_name
    if name in table.names:
        _check_fixed(feature, next(column for column in table.columns if column.name == name), table)
        return None
    column = c.Column(name, kind, nullable=feature.nullable, length=feature.length, declared=True)
    return column.optional() if table is c.IMPRESSIONS else column


def _check_fixed(feature: Feature, column: c.Column, table: c.TableSchema) -> None:
    legal: Sequence[FeatureKind] = ()
    if feature.origin == "context" and column.name not in _KNOWN_BEFORE:
        legal = ()
    elif column.kind in _NUMBERS:
        legal = (FeatureKind.NUMERIC, FeatureKind.CYCLIC)
    elif column.holds_ids:
        legal = (FeatureKind.CATEGORICAL,)
    if not legal:
        raise ValueError(
            f"{feature.name}: the column {table.name}.{column.name} is not a feature; remove it from features.columns, "
            "or name another column by `column`"
        )
    if feature.kind not in legal:
        raise ValueError(
            f"{feature.name}: the column {table.name}.{column.name} is a {column.kind.value}, not {feature.kind}; "
            f"legal kinds: {', '.join(legal)}"
        )
